"""Graph -> which of its weighted operators are integer, and in which schemes.

    S1 QDQ: the weight and the activation come out of DequantizeLinear (scales of those nodes)
    S2 integer operators with static scales: QLinearConv, QLinearMatMul, QGemm
    S3 integer operators whose activations are quantized while they run: "dynamic"
    S4 weights in integers, activations in floats: quantized weights only

Source: ONNX QuantizeLinear-21 and QLinearConv-10; the words are those of targets/README.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir

from edgekit.ir.contents import FLOAT, Quantization, scheme, schemes_in_words
from edgekit.ir.cost import INTEGER_WEIGHTS, dequantize_of, parameters_of, root_of
from edgekit.ir.graph import constant, walk
from edgekit.ir.macs import multiplies

DYNAMIC = "dynamic"
# S2: operator -> inputs that are the activation's zero point, the weight, its scale, its zero point
_STATIC: Mapping[str, tuple[int, int, int, int]] = {
    "QLinearConv": (2, 3, 4, 5),
    "QLinearMatMul": (2, 3, 4, 5),
    "QGemm": (2, 3, 4, 5),
}
_FLOAT_ACTIVATIONS = frozenset({"MatMulNBits"})  # S4


def quantization(model: ir.Model) -> Quantization:
    """Count the operators that multiply with constant weights by scheme; ``model`` is not changed."""
    found = [_schemes_of(node) for node in walk(model) if multiplies(node) and parameters_of(node)]
    schemes = Counter(schemes_in_words(weights, activations) for weights, activations in found)
    return Quantization(
        weighted=len(found),
        quantized=sum(FLOAT not in pair for pair in found),
        schemes=dict(sorted(schemes.items())),
    )


def _schemes_of(node: ir.Node) -> tuple[str, str]:
    """Scheme of the weights and of the activations."""
    if node.op_type in _STATIC:
        zero, weight, scale, weight_zero = (_input(node, index) for index in _STATIC[node.op_type])
        return _scheme(weight, scale, weight_zero), _scheme(zero, None, zero)
    if node.op_type in INTEGER_WEIGHTS:
        weights = _scheme(_input(node, INTEGER_WEIGHTS[node.op_type][0]), None, None)
        return weights, FLOAT if node.op_type in _FLOAT_ACTIVATIONS else DYNAMIC
    weights = activations = FLOAT
    for value in node.inputs:
        pair = dequantize_of(value)
        if pair is None:
            continue
        found = _scheme(*(_input(pair, index) for index in range(3)))
        if root_of(value) is None:
            activations = found
        elif weights == FLOAT:  # the bias comes after the weight
            weights = found
    return weights, activations


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _scheme(stored: ir.Value | None, scale: ir.Value | None, zero: ir.Value | None) -> str:
    typed = next((each for each in (stored, zero) if each is not None and each.dtype is not None), None)
    # QuantizeLinear without a zero point makes uint8
    name = typed.dtype.name.lower() if typed is not None and typed.dtype is not None else "uint8"
    zeros, scales = constant(zero), constant(scale)
    channels = any(each is not None and each.size > 1 for each in (zeros, scales))
    points = [] if zeros is None else [int(each) for each in zeros.ravel()]
    return scheme(name, zero_points=points, channels=channels)
