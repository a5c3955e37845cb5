"""MatMul (+ Add) on matrices -> Gemm; every Gemm with constant weights -> one form.

    Add(MatMul(x, W), b)  =  Gemm(x, W^T, b, transB=1)        x: (n, in), W: (in, out), b: (out,)

The one form is alpha = beta = 1, transB = 1, so that the weight is (out, in): the output channel is axis 0
as in Conv, which is also TFLite's FULLY_CONNECTED. Quantization then knows one kind of dense layer, and the
bias has a place in it. The transposed constant is the same numbers; alpha and beta are taken into constants.

C1: x has another rank than 2 -> MatMul stays (a batch of matrices is not a Gemm).
C2: b is not one value per output (or one for all) -> Gemm without bias, Add stays.
C3: alpha != 1 with bias that is not constant, or beta != 1 with such a bias -> left alone.
C4: W behind DequantizeLinear (integers with scales) is a constant like any other: the integers are
    transposed, the scales go with their axis. alpha or beta != 1 would change scales -> left alone. A bias
    behind DequantizeLinear has to be (out,) already.

Source: onnxscript/rewriter/rules/common/_matmul_add_to_gemm.py (which takes any rank-2 b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import (
    add_initializer,
    constant,
    float_attribute,
    int_attribute,
    is_onnx,
    rank,
    sole_reader,
)
from edgekit.passes.base import Pass
from edgekit.passes.dequantized_constant import dequantizer, integers, permuted
from edgekit.passes.fold_batchnorm import bypass_keeps_result
from edgekit.spec import Array


@dataclass(frozen=True)
class FuseGemm(Pass):
    """Give dense layers one form."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"gemm-canonical"})

    def apply(self, model: ir.Model) -> ir.Model:
        """MatMul first, then the form of every Gemm, then the Add behind it."""
        for node in tuple(model.graph):
            if is_onnx(node, "MatMul"):
                _gemm_from_matmul(node)
        for node in tuple(model.graph):
            if is_onnx(node, "Gemm"):
                _normalize(node)
        for node in tuple(model.graph):
            if is_onnx(node, "Add"):
                _take_bias(node)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _array(value: ir.Value | None) -> Array | None:
    """A constant, or the integers of one behind DequantizeLinear (C4): for its shape."""
    array, quantized = constant(value), dequantizer(value)
    return integers(quantized) if array is None and quantized is not None else array


def _gemm_from_matmul(node: ir.Node) -> None:
    weight = _array(node.inputs[1])
    if weight is None or weight.ndim != 2 or rank(node.inputs[0]) != 2:  # C1
        return
    node.op_type = "Gemm"


def _normalize(node: ir.Node) -> None:
    if dequantizer(node.inputs[1]) is not None:
        _normalize_quantized(node)
        return
    weight, source = constant(node.inputs[1]), node.inputs[1]
    if weight is None or source is None or not isinstance(node.graph, ir.Graph):
        return
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    bias_array = constant(bias)
    if bias is not None and beta != 1.0 and bias_array is None:  # C3
        return
    transposed = weight if int_attribute(node, "transB", 0) else weight.T
    if transposed is not weight or alpha != 1.0:
        scaled = transposed if alpha == 1.0 else (alpha * transposed.astype(np.float64)).astype(weight.dtype)
        node.replace_input_with(1, add_initializer(node.graph, f"{source.name}", scaled))
    if bias is not None and bias_array is not None:
        full = _bias_vector(beta * bias_array.astype(np.float64), transposed.shape[0])
        if full is not None and (beta != 1.0 or bias_array.shape != full.shape):
            vector = full.astype(bias_array.dtype)
            node.replace_input_with(2, add_initializer(node.graph, f"{bias.name}", vector))
        elif full is None and beta != 1.0:
            scaled_bias = (beta * bias_array.astype(np.float64)).astype(bias_array.dtype)
            node.replace_input_with(2, add_initializer(node.graph, f"{bias.name}", scaled_bias))
    _set_attributes(node)


def _normalize_quantized(node: ir.Node) -> None:
    """C4."""
    quantized, bias = dequantizer(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    plain = float_attribute(node, "alpha", 1.0) == 1.0
    if quantized is None or not plain or (bias is not None and float_attribute(node, "beta", 1.0) != 1.0):
        return
    if not int_attribute(node, "transB", 0):
        node.replace_input_with(1, permuted(quantized, (1, 0)))
    bias_array = constant(bias)
    vector = None if bias_array is None else _bias_vector(bias_array, _outputs(node))
    if (
        bias is not None
        and bias_array is not None
        and vector is not None
        and vector.shape != bias_array.shape
    ):
        node.replace_input_with(2, add_initializer(_graph(node), f"{bias.name}", vector))
    _set_attributes(node)


def _outputs(gemm: ir.Node) -> int:
    """Outputs of a Gemm in the one form."""
    weight = _array(gemm.inputs[1])
    return 0 if weight is None else int(weight.shape[0])


def _graph(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"{node.name} stands outside of a graph")
    return node.graph


def _set_attributes(node: ir.Node) -> None:
    """The one form: alpha = beta = 1, transB = 1; transA as it is."""
    trans_a = int_attribute(node, "transA", 0)
    node.attributes.clear()
    if trans_a:
        node.attributes["transA"] = ir.AttrInt64("transA", trans_a)
    node.attributes["transB"] = ir.AttrInt64("transB", 1)


def _take_bias(node: ir.Node) -> None:
    for value, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        gemm = None if value is None else value.producer()
        bias = _array(other)
        if value is None or other is None or gemm is None or bias is None or not is_onnx(gemm, "Gemm"):
            continue
        has_bias = len(gemm.inputs) > 2 and gemm.inputs[2] is not None
        if has_bias or sole_reader(value) is not node or not int_attribute(gemm, "transB", 0):
            return
        if _outputs(gemm) == 0 or float_attribute(gemm, "alpha", 1.0) != 1.0:
            return
        vector = _bias_vector(bias, _outputs(gemm))
        if vector is None:  # C2
            return
        if constant(other) is None and bias.shape != vector.shape:  # C4
            return
        if not bypass_keeps_result(node, gemm):
            return
        if len(gemm.inputs) < 3:
            gemm.resize_inputs(3)
        if constant(other) is None:
            _move_before(gemm, other)
            gemm.replace_input_with(2, other)
        else:
            gemm.replace_input_with(2, add_initializer(_graph(gemm), f"{other.name}", vector))
        return


def _move_before(node: ir.Node, value: ir.Value) -> None:
    """The DequantizeLinear of a constant may stand behind ``node``: it goes right before it."""
    producer = value.producer()
    if producer is not None:
        _graph(node).remove(producer)
        _graph(node).insert_before(node, producer)


def _bias_vector(bias: Array, outputs: int) -> Array | None:
    """(outputs,) if ``bias`` is one value per output column, or one for all; None otherwise."""
    if bias.ndim > 2 or bias.size not in (1, outputs) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,)))
