"""Quantized model -> the float model that it stands for: real = scale * (integer - zero point).

    constant integers -> DequantizeLinear    =>  float constant
    x -> QuantizeLinear -> DequantizeLinear  =>  x, or an activation of x

Nothing is rounded any more between operators; weights keep the values that they were rounded to. It is the
float variant of a source that came quantized: what its integer form is compared with in speed.

A quantizer saturates, and exporters leave the activation out where that does its work (QOperator models have
no Relu at all):

D1 the quantizer holds nothing below zero, and a sum stands before it: Relu, or Clip(0, 6) where it ends at 6
D2 every other saturation only cuts what calibration left out: dropped with the pair
D3 an integer input or output of the model keeps its quantizer
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, int_attribute, is_onnx, replace_value
from edgekit.spec import Array

_SUMS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub")
_RELU6 = 6.0


def to_float(model: ir.Model) -> ir.Model:
    """A new model without pairs of QuantizeLinear and DequantizeLinear; ``model`` is untouched."""
    model = model.clone()
    graph = model.graph
    for node in tuple(graph):
        if is_onnx(node, "DequantizeLinear"):
            _dequantize(node, graph)
    for node in reversed(tuple(graph)):
        if is_onnx(node, "QuantizeLinear", "DequantizeLinear") and not _is_used(node):
            graph.remove(node, safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    return model


def _dequantize(node: ir.Node, graph: ir.Graph) -> None:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or result.is_graph_output():
        return
    integers = constant(source)
    if integers is not None:
        replace_value(result, add_initializer(graph, f"{result.name}_float", _real(integers, node)))
        return
    quantizer = source.producer()
    if quantizer is None or not is_onnx(quantizer, "QuantizeLinear") or quantizer.inputs[0] is None:
        return  # D3
    replace_value(result, _activated(quantizer, graph))


def _activated(quantizer: ir.Node, graph: ir.Graph) -> ir.Value:
    """The float value before ``quantizer``, behind an activation in case D1; made once a quantizer."""
    before = quantizer.inputs[0]
    assert before is not None  # noqa: S101  the caller has just looked
    producer = before.producer()
    limits = _limits(quantizer)
    if producer is None or not is_onnx(producer, *_SUMS) or limits is None or limits[0] < 0.0:
        return before
    name = f"{before.name}_activated"
    for use in before.uses():
        if use.node.outputs[0].name == name:
            return use.node.outputs[0]
    step = (limits[1] - limits[0]) / 255
    if abs(limits[1] - _RELU6) <= step:
        bounds = [add_initializer(graph, f"{name}_{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
        node = ir.node("Clip", [before, *bounds], name=name)
    else:
        node = ir.node("Relu", [before], name=name)
    output = node.outputs[0]
    output.name, output.type, output.shape = name, before.type, before.shape
    graph.insert_after(producer, node)
    return output


def _limits(quantizer: ir.Node) -> tuple[float, float] | None:
    """Smallest and largest real value that a per-tensor quantizer holds; None where they are not constant."""
    scale, zero = constant(quantizer.inputs[1]), _zero_point(quantizer)
    if scale is None or scale.size != 1:
        return None
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind.kind not in "iu":
        return None
    info = np.iinfo(kind.name)
    offset = 0 if zero is None else int(zero.reshape(-1)[0])
    step = float(scale.reshape(-1)[0])
    return step * (info.min - offset), step * (info.max - offset)


def _zero_point(node: ir.Node) -> Array | None:
    return constant(node.inputs[2]) if len(node.inputs) > 2 else None


def _real(integers: Array, node: ir.Node) -> Array:
    """``scale * (integers - zero point)`` in float32: per tensor, per axis or in blocks along an axis."""
    scale, zero = constant(node.inputs[1]), _zero_point(node)
    assert scale is not None  # noqa: S101  rule table QDQ: scales are constants
    shift = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    wide = integers.astype(np.int64)
    axis = int_attribute(node, "axis", 1)
    block = int_attribute(node, "block_size", 0)
    if block:
        every = range(wide.shape[axis])  # the last block may be short
        scale = np.repeat(scale, block, axis=axis).take(every, axis)
        shift = np.repeat(shift, block, axis=axis).take(every, axis)
    elif scale.ndim == 1 and wide.ndim:
        shape = [1] * wide.ndim
        shape[axis] = -1
        scale, shift = scale.reshape(shape), shift.reshape(shape)
    return np.asarray((wide - shift).astype(np.float32) * scale.astype(np.float32), np.float32)


def _is_used(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs)
