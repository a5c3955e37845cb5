"""QuantizeLinear and DequantizeLinear in all their spellings -> the one that rule table QDQ describes.

Scales and zero points are never changed; a model without quantizers is left as it is.

N1 no zero point -> a zero of the type that it has by default (uint8, or the type of the data).
N2 scale and zero point of one element -> scalars: one scale is the scale of the whole tensor. So are the
   equal scales of all channels of an activation (edgekit's own files for ONNX Runtime have them in front of
   operators with float weights).
N3 QuantizeLinear of a constant -> the integers: weights are stored as what they are.
N4 Transpose, Reshape, Squeeze, Unsqueeze, Flatten of a dequantized constant -> of the constant.
N5 DequantizeLinear, then QuantizeLinear with the same parameters -> nothing: the integers come back.
N6 a bias whose scale is not s_input * s_weight -> the reals that it stands for: integer kernels read a bias
   in their own steps, whatever its scale says, so runtimes would each compute something else.

Source: onnx QuantizeLinear-21 (round half to even, saturate), DequantizeLinear-21.
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
    int_attribute,
    ints_attribute,
    is_onnx,
    rank,
    replace_value,
    shape_of,
    walk,
)
from edgekit.passes.base import Pass
from edgekit.passes.dequantized_constant import dequantizer, integers, permuted, reshaped, scale_axis
from edgekit.spec import Array

_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True)
class NormalizeQuantizers(Pass):
    """Give quantizers one form, and quantized constants their integers."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known", "opset-canonical"})
    establishes: ClassVar[frozenset[str]] = frozenset({"quantizers-normal"})

    def apply(self, model: ir.Model) -> ir.Model:
        """N1 to N6, in order of computation."""
        for node in tuple(walk(model)):
            if is_onnx(node, "QuantizeLinear", "DequantizeLinear"):
                _with_zero_point(node)
                _with_scalars(node)
            if is_onnx(node, "QuantizeLinear"):
                _fold(node)
                _drop_round_trip(node)
            elif is_onnx(node, "Transpose", *_RESHAPING):
                _move_into_constant(node)
        for node in tuple(walk(model)):
            if is_onnx(node, "Conv", "ConvTranspose", "Gemm"):
                _real_bias(node)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _graph(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"{node.name} stands outside of a graph")
    return node.graph


def _with_zero_point(node: ir.Node) -> None:
    """N1."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return
    scale, source = node.inputs[1], node.inputs[0]
    array = constant(scale)
    if array is None or scale is None or source is None:
        return
    if node.op_type == "DequantizeLinear":
        kind = source.dtype
    else:
        kind = ir.DataType(int_attribute(node, "output_dtype", int(ir.DataType.UINT8)) or ir.DataType.UINT8)
    if kind is None or not kind.is_integer():
        return
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    zero = np.zeros(array.shape, kind.numpy())
    node.replace_input_with(2, add_initializer(_graph(node), f"{scale.name}_zero_point", zero))
    node.attributes.pop("output_dtype", None)


def _with_scalars(node: ir.Node) -> None:
    """N2."""
    arrays = [constant(value) for value in node.inputs[1:3]]
    is_weight = constant(node.inputs[0]) is not None
    if int_attribute(node, "block_size", 0) or any(
        array is None or array.size == 0 or (array.size > 1 and (is_weight or np.any(array != array.flat[0])))
        for array in arrays
    ):
        return
    for index, array in enumerate(arrays, start=1):
        value = node.inputs[index]
        if array is not None and value is not None and array.ndim:
            scalar = add_initializer(_graph(node), f"{value.name}", array.flat[:1].reshape(()))
            node.replace_input_with(index, scalar)
    node.attributes.pop("axis", None)


def _fold(node: ir.Node) -> None:
    """N3."""
    data, scale = constant(node.inputs[0]), constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if data is None or scale is None or zero is None or int_attribute(node, "block_size", 0):
        return
    result = node.outputs[0]
    if result.is_graph_output() or zero.dtype.kind not in "iu":
        return
    shape: list[int] = []
    if scale.ndim:
        shape = [1] * data.ndim
        shape[int_attribute(node, "axis", 1)] = -1
    limits = np.iinfo(zero.dtype.name)
    ratio = np.asarray(data, np.float32) / np.asarray(scale, np.float32).reshape(shape)
    steps = np.rint(ratio).astype(np.float64) + np.asarray(zero, np.float64).reshape(shape)
    folded: Array = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
    replace_value(result, add_initializer(_graph(node), f"{result.name}", folded))


def _drop_round_trip(node: ir.Node) -> None:
    """N5."""
    value = node.inputs[0]
    before = None if value is None else value.producer()
    if before is None or not is_onnx(before, "DequantizeLinear") or node.outputs[0].is_graph_output():
        return
    source = before.inputs[0]
    mine, other = ([constant(each) for each in n.inputs[1:3]] for n in (node, before))
    same = len(mine) == len(other) == 2 and all(
        left is not None and right is not None and left.dtype == right.dtype and np.array_equal(left, right)
        for left, right in zip(mine, other, strict=True)
    )
    vector = mine[0] is not None and mine[0].ndim > 0
    if (
        source is None
        or not same
        or (vector and int_attribute(node, "axis", 1) != int_attribute(before, "axis", 1))
    ):
        return
    replace_value(node.outputs[0], source)


def _move_into_constant(node: ir.Node) -> None:
    """N4."""
    source = dequantizer(node.inputs[0])
    result = node.outputs[0]
    if source is None or result.is_graph_output() or _graph(node) is not source.graph:
        return
    if node.op_type == "Transpose":
        size = integers(source).ndim
        moved: ir.Value | None = permuted(source, ints_attribute(node, "perm", range(size)[::-1]))
    else:
        shape = shape_of(result)
        if shape is None or any(size is None for size in shape):
            return
        moved = reshaped(source, [size or 0 for size in shape])
    if moved is not None:
        replace_value(result, moved)


def _real_bias(node: ir.Node) -> None:
    """N6."""
    if len(node.inputs) < 3 or rank(node.inputs[2]) is None:
        return
    bias, weight = dequantizer(node.inputs[2]), dequantizer(node.inputs[1])
    data = None if node.inputs[0] is None else node.inputs[0].producer()
    if bias is None or weight is None or data is None or not is_onnx(data, "DequantizeLinear"):
        return
    scales = [constant(each.inputs[1]) for each in (data, weight, bias)]
    if any(scale is None for scale in scales):
        return
    left, right, own = (np.asarray(scale, np.float64) for scale in scales)
    if left.ndim == 0 and np.allclose(left * right, own, rtol=1e-6, atol=0.0):
        return
    zero = np.asarray(constant(bias.inputs[2]), np.float64) if len(bias.inputs) > 2 else np.zeros(())
    shape = [1] * integers(bias).ndim
    axis = scale_axis(bias)
    if axis is not None:
        shape[axis] = -1
        own, zero = own.reshape(shape), zero.reshape(shape)
    real = ((integers(bias).astype(np.float64) - zero) * own).astype(np.float32)
    node.replace_input_with(2, add_initializer(_graph(node), f"{bias.outputs[0].name}", real))
