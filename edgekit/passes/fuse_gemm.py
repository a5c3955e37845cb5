"""MatMul (+ Add) on matrices -> Gemm; every Gemm with constant weights -> one form.

    Add(MatMul(x, W), b)  =  Gemm(x, W^T, b, transB=1)        x: (n, in), W: (in, out), b: (out,)

The one form is alpha = beta = 1, transB = 1, so that the weight is (out, in): the output channel is axis 0
as in Conv, which is also TFLite's FULLY_CONNECTED. Quantization then knows one kind of dense layer, and the
bias has a place in it. The transposed constant is the same numbers; alpha and beta are taken into constants.

C1: x has another rank than 2 -> MatMul stays (a batch of matrices is not a Gemm).
C2: b is not one value per output (or one for all) -> Gemm without bias, Add stays.
C3: alpha != 1 with bias that is not constant, or beta != 1 with such a bias -> left alone.

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


def _gemm_from_matmul(node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 2 or rank(node.inputs[0]) != 2:  # C1
        return
    node.op_type = "Gemm"


def _normalize(node: ir.Node) -> None:
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
    trans_a = int_attribute(node, "transA", 0)
    node.attributes.clear()
    if trans_a:
        node.attributes["transA"] = ir.AttrInt64("transA", trans_a)
    node.attributes["transB"] = ir.AttrInt64("transB", 1)


def _take_bias(node: ir.Node) -> None:
    for value, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        gemm = None if value is None else value.producer()
        bias = constant(other)
        if value is None or other is None or gemm is None or bias is None or not is_onnx(gemm, "Gemm"):
            continue
        weight = constant(gemm.inputs[1])
        has_bias = len(gemm.inputs) > 2 and gemm.inputs[2] is not None
        if (
            weight is None
            or has_bias
            or sole_reader(value) is not node
            or not int_attribute(gemm, "transB", 0)
        ):
            return
        vector = _bias_vector(bias, weight.shape[0])
        if vector is None or not isinstance(gemm.graph, ir.Graph):  # C2
            return
        if not bypass_keeps_result(node, gemm):
            return
        if len(gemm.inputs) < 3:
            gemm.resize_inputs(3)
        gemm.replace_input_with(2, add_initializer(gemm.graph, f"{other.name}", vector))
        return


def _bias_vector(bias: Array, outputs: int) -> Array | None:
    """(outputs,) if ``bias`` is one value per output column, or one for all; None otherwise."""
    if bias.ndim > 2 or bias.size not in (1, outputs) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,)))
