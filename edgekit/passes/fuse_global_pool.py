"""ReduceMean over all spatial axes -> GlobalAveragePool.

    ReduceMean(x, axes=[2, 3], keepdims=1)  ->  GlobalAveragePool(x)              x: (n, c, *spatial)
    ReduceMean(x, axes=[2, 3], keepdims=0)  ->  Squeeze(GlobalAveragePool(x), [2, 3])
    ReduceMean(Transpose(x, [0, 2, 3, 1]), axes=[1, 2], keepdims=0)  ->  the same over [2, 3] of x

The value is the same mean. PyTorch's exporter writes AdaptiveAvgPool2d(1) as ReduceMean, for which ONNX
Runtime has no int8 kernel; for GlobalAveragePool it has one. Keras' exporter takes the mean in its own
layout, behind a Transpose that the mean makes unnecessary.

C1: axes that are not constants, not exactly all from 2 on, or an input of unknown rank or rank below 3
    -> left alone.
C2: a Transpose whose remaining axes change their order, or keepdims = 1 behind one -> left alone.
C3: a mean that is quantized right behind (its only reader is QuantizeLinear) -> the pool is, too, with the
    same parameters, and Squeeze works between DequantizeLinear and QuantizeLinear: a runtime needs the pair
    right behind the pool to choose its integer kernel, and the same parameters twice change nothing.

Source: ONNX operator specification, GlobalAveragePool and ReduceMean-18.
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
    is_float32,
    is_onnx,
    rank,
    sole_reader,
)
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class FuseGlobalPool(Pass):
    """Name global average pooling what it is."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known", "opset-canonical"})
    establishes: ClassVar[frozenset[str]] = frozenset({"global-pool-named"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Rewrite each one in its place."""
        for node in tuple(model.graph):
            if not is_onnx(node, "ReduceMean"):
                continue
            _look_through_transpose(node, model.graph)
            if _is_global(node):
                _rewrite(node, model.graph)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _look_through_transpose(node: ir.Node, graph: ir.Graph) -> None:
    """Take the mean of what is behind a Transpose, over the axes that those were before it."""
    transposed = node.inputs[0]
    transpose = None if transposed is None else transposed.producer()
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if transpose is None or axes is None or not is_onnx(transpose, "Transpose"):
        return
    size = rank(transposed)
    if size is None or axes.size == 0 or int_attribute(node, "keepdims", 1):
        return
    order = ints_attribute(transpose, "perm", range(size)[::-1])
    reduced = {order[int(axis) % size] for axis in axes.ravel()}
    kept = [axis for axis in order if axis not in reduced]
    if kept != sorted(kept):  # C2
        return
    before = add_initializer(graph, f"{node.name}_axes", np.asarray(sorted(reduced), np.int64))
    node.replace_input_with(0, transpose.inputs[0])
    node.replace_input_with(1, before)


def _is_global(node: ir.Node) -> bool:
    size = rank(node.inputs[0])
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if size is None or size < 3 or axes is None or not is_float32(node.inputs[0]):
        return False
    return sorted(int(axis) % size for axis in axes.ravel()) == list(range(2, size))


def _rewrite(node: ir.Node, graph: ir.Graph) -> None:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None:
        return
    keeps = int_attribute(node, "keepdims", 1)
    node.attributes.clear()
    node.resize_inputs(1)
    node.op_type = "GlobalAveragePool"
    if keeps:
        return
    axes = add_initializer(graph, f"{result.name}_axes", np.arange(2, len(source.shape), dtype=np.int64))
    readers = tuple(result.uses())
    pair = _quantizer_pair(result)
    pooled = pair[1].outputs[0] if pair else result
    squeeze = ir.node("Squeeze", [pooled, axes], name=f"{node.name}_squeeze")
    squeezed = squeeze.outputs[0]
    squeezed.type, squeezed.shape = result.type, result.shape
    graph.insert_after(node, [*pair, squeeze])
    for reader, index in readers:
        reader.replace_input_with(index, squeezed)
    for index, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[index] = squeezed
    squeezed.name, result.name = result.name, f"{result.name}_pooled"
    spatial = [1] * (len(source.shape) - 2)
    result.shape = ir.Shape([*source.shape[:2], *spatial])
    for each in pair:
        each.outputs[0].shape = result.shape


def _quantizer_pair(result: ir.Value) -> tuple[ir.Node, ...]:
    """C3: a pair with the parameters of the one QuantizeLinear that reads ``result``; or nothing."""
    reader = sole_reader(result)
    if reader is None or not is_onnx(reader, "QuantizeLinear") or len(reader.inputs) < 3:
        return ()
    quantize = ir.node("QuantizeLinear", [result, *reader.inputs[1:]], name=f"{result.name}_pooled_Q")
    integer = quantize.outputs[0]
    integer.name, integer.type = f"{result.name}_pooled_quantized", reader.outputs[0].type
    dequantize = ir.node("DequantizeLinear", [integer, *reader.inputs[1:]], name=f"{result.name}_pooled_DQ")
    real = dequantize.outputs[0]
    real.name, real.type = f"{result.name}_pooled_dequantized", result.type
    return quantize, dequantize
