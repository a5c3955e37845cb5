"""Integer constant -> DequantizeLinear: finding one, and giving it other axes with its scales kept.

    dequantizer(value) -> the DequantizeLinear node, where it reads constants only
    reals(node) -> the constant that it makes
    permuted(node, perm), reshaped(node, shape) -> a new value: the same reals with their axes moved

Source: onnx DequantizeLinear-21: per axis, the scales are a vector along ``axis`` of the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, free_name, int_attribute, is_onnx
from edgekit.spec import Array


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that makes ``value`` out of constants, unless it works in blocks."""
    node = None if value is None else value.producer()
    if node is None or not is_onnx(node, "DequantizeLinear") or int_attribute(node, "block_size", 0):
        return None
    if any(constant(each) is None for each in node.inputs if each is not None):
        return None
    return node


def integers(node: ir.Node) -> Array:
    """The constant that a ``dequantizer`` reads."""
    return np.asarray(constant(node.inputs[0]))


def scale_axis(node: ir.Node) -> int | None:
    """The axis of the scales, counted from 0; None for one scale."""
    if np.ndim(np.asarray(constant(node.inputs[1]))) == 0:
        return None
    size = integers(node).ndim
    return int_attribute(node, "axis", 1) % size if size else None


def reals(node: ir.Node) -> Array:
    """What a ``dequantizer`` makes of its constant: (q - z) s, in the scales' type."""
    data, axis = integers(node), scale_axis(node)
    scale = np.asarray(constant(node.inputs[1]))
    given = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    zero = np.zeros_like(scale, dtype=np.int64) if given is None else given.astype(np.int64)
    shape = [1] * data.ndim
    if axis is not None:
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((data.astype(np.int64) - zero) * scale, scale.dtype)


def permuted(node: ir.Node, perm: Sequence[int]) -> ir.Value:
    """The reals of ``node`` with axis i = old axis perm[i]."""
    axis = scale_axis(node)
    return _moved(node, np.transpose(integers(node), perm), None if axis is None else list(perm).index(axis))


def reshaped(node: ir.Node, shape: Sequence[int]) -> ir.Value | None:
    """The reals of ``node`` in ``shape``; None where the axis of the scales would be split or joined."""
    data, axis = integers(node), scale_axis(node)
    moved = data.reshape(shape)
    if axis is None:
        return _moved(node, moved, None)
    before, size = math.prod(data.shape[:axis]), data.shape[axis]
    for place, other in enumerate(moved.shape):
        if other == size and math.prod(moved.shape[:place]) == before:
            return _moved(node, moved, place)
    return None


def _moved(node: ir.Node, data: Array, axis: int | None) -> ir.Value:
    """A DequantizeLinear of ``data`` beside ``node``, with its scale and zero point."""
    graph, source = node.graph, node.inputs[0]
    if not isinstance(graph, ir.Graph) or source is None:
        raise TypeError("a dequantizer stands in a graph and reads a constant")
    moved = add_initializer(graph, f"{source.name}", np.asarray(data, order="C"))
    attributes = {} if axis is None else {"axis": axis}
    made = ir.node("DequantizeLinear", [moved, *node.inputs[1:]], attributes=attributes)
    result, old = made.outputs[0], node.outputs[0]
    result.name = free_name(graph, f"{old.name}_moved")
    result.type, result.shape = old.type, ir.Shape(data.shape)
    made.name = result.name
    graph.insert_after(node, made)
    return result
