"""Activations of TFLite, alone or fused behind another operator -> ONNX.

    fused: NONE, RELU, RELU_N1_TO_1 = clip(x, -1, 1), RELU6 = clip(x, 0, 6), TANH

Source: schema.fbs, ActivationFunctionType; kernels/activations.cc.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import Importer, UnreadableError
from edgekit.frontends.tflite.read import Operator

NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)


def clip(graph: Importer, value: ir.Value, low: float, high: float) -> ir.Value:
    """Clip to constants."""
    bounds = [graph.constant("clip/bound", np.float32(bound)) for bound in (low, high)]
    return graph.node("Clip", [value, *bounds])


def fused(graph: Importer, operator: Operator, value: ir.Value) -> ir.Value:
    """``value`` behind the activation that the operator carries."""
    kind = int(operator.options.get("fusedActivationFunction", NONE))
    if kind == NONE:
        return value
    if kind == RELU:
        return graph.node("Relu", [value])
    if kind == RELU_N1_TO_1:
        return clip(graph, value, -1.0, 1.0)
    if kind == RELU6:
        return clip(graph, value, 0.0, 6.0)
    if kind == TANH:
        return graph.node("Tanh", [value])
    raise UnreadableError(f"its fused activation is number {kind}", "")


def _unary(graph: Importer, operator: Operator, make: Callable[[ir.Value], ir.Value]) -> None:
    """Elementwise: the output has the input's layout."""
    source = operator.inputs[0]
    layout = graph.layout(source)
    graph.produce(operator.outputs[0], make(graph.value(source, layout)), layout)


def plain(op: str) -> Callable[[Importer, Operator], None]:
    """The ONNX operator of one input that computes the same."""

    def lower(graph: Importer, operator: Operator) -> None:
        _unary(graph, operator, lambda x: graph.node(op, [x]))

    return lower


def _between(low: float, high: float) -> Callable[[Importer, Operator], None]:
    def lower(graph: Importer, operator: Operator) -> None:
        _unary(graph, operator, lambda x: clip(graph, x, low, high))

    return lower


def _leaky_relu(graph: Importer, operator: Operator) -> None:
    alpha = float(operator.options.get("alpha", 0.0))
    _unary(graph, operator, lambda x: graph.node("LeakyRelu", [x], alpha=alpha))


def _gelu(graph: Importer, operator: Operator) -> None:
    kind = "tanh" if operator.options.get("approximate") else "none"
    _unary(graph, operator, lambda x: graph.node("Gelu", [x], approximate=kind))


def _rsqrt(graph: Importer, operator: Operator) -> None:
    _unary(graph, operator, lambda x: graph.node("Reciprocal", [graph.node("Sqrt", [x])]))


def _square(graph: Importer, operator: Operator) -> None:
    _unary(graph, operator, lambda x: graph.node("Mul", [x, x]))


def _copy(graph: Importer, operator: Operator) -> None:
    """QUANTIZE and DEQUANTIZE: the pair of either tensor, or none, is all there is to it."""
    _unary(graph, operator, lambda x: x)


def _dequantize(graph: Importer, operator: Operator) -> None:
    """Of a float16 constant too: converters store weights so."""
    source = operator.inputs[0]
    if graph.is_integer(source) and graph.tensor(source).data is None:
        graph.same(operator.outputs[0], source)
        return
    tensor = graph.tensor(source)
    if tensor.dtype != "float16" or tensor.data is not None:
        _copy(graph, operator)
        return
    _unary(graph, operator, lambda x: graph.node("Cast", [x], to=int(ir.DataType.FLOAT)))


def _cast(graph: Importer, operator: Operator) -> None:
    target = graph.tensor(operator.outputs[0])
    if graph.is_integer(operator.inputs[0]) or graph.is_integer(operator.outputs[0]):
        raise UnreadableError("it casts the integers of a quantized tensor", "")
    kind = int(ir.DataType.from_numpy(np.dtype(target.dtype)))
    _unary(graph, operator, lambda x: graph.node("Cast", [x], to=kind))


LOWERINGS: dict[str, Callable[[Importer, Operator], None]] = {
    "ABS": plain("Abs"),
    "CAST": _cast,
    "CEIL": plain("Ceil"),
    "COS": plain("Cos"),
    "DEQUANTIZE": _dequantize,
    "ELU": plain("Elu"),
    "EXP": plain("Exp"),
    "FLOOR": plain("Floor"),
    "GELU": _gelu,
    "HARD_SWISH": plain("HardSwish"),
    "LEAKY_RELU": _leaky_relu,
    "LOG": plain("Log"),
    "LOGICAL_NOT": plain("Not"),
    "LOGISTIC": plain("Sigmoid"),
    "NEG": plain("Neg"),
    "QUANTIZE": _copy,
    "RELU": plain("Relu"),
    "RELU6": _between(0.0, 6.0),
    "RELU_0_TO_1": _between(0.0, 1.0),
    "RELU_N1_TO_1": _between(-1.0, 1.0),
    "ROUND": plain("Round"),
    "RSQRT": _rsqrt,
    "SIGN": plain("Sign"),
    "SIN": plain("Sin"),
    "SQRT": plain("Sqrt"),
    "SQUARE": _square,
    "TANH": plain("Tanh"),
}
