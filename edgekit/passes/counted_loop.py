"""A Loop of the main graph and its body -> what of it is outside, constant, or a step of a sequence.

    x[t]     Gather(sequence, t) with t from 0 in steps of 1
    weights  values that each iteration hands on unchanged, and constant parts of them
    T        the loop runs as often as ``sequence`` has steps: the trip count and every condition say so

Source: onnx Loop-21; the loops that tf2onnx makes of tf.while_loop.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx, shape_of

Array = npt.NDArray[np.generic]
_CARRIED = ("Cast", "Identity", "Squeeze", "Unsqueeze")  # a length stays a length through them


class CountedLoop:
    """A Loop and its body: what values of the body are outside."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.body = node.attributes["body"].as_graph()
        self._outside = dict(zip(self.body.inputs[2:], node.inputs[2:], strict=True))
        self.handed_through = {
            value: outer
            for value, given in zip(self.body.inputs[2:], self.body.outputs[1:], strict=False)
            if plain(given) is value and (outer := self._outside[value]) is not None
        }

    def outside(self, value: ir.Value) -> ir.Value | None:
        """The value of the outer graph that ``value`` always is; None where it changes."""
        if value in self.handed_through:
            return self.handed_through[value]
        maker = value.producer()
        owner = maker.graph if maker is not None else value.graph
        return None if owner is self.body or value in self.body.inputs else value

    def array(self, value: ir.Value | None) -> Array | None:
        """The constant that ``value`` is, through the ways in which bodies take weights apart."""
        if value is None:
            return None
        known = constant(value)
        if known is not None:
            return known
        outer = self.handed_through.get(value)
        if outer is not None:
            return constant(outer)
        node = value.producer()
        if node is None or node.graph is not self.body:
            return None
        source = self.array(node.inputs[0]) if node.inputs else None
        if source is None:
            return None
        if is_onnx(node, "Identity"):
            return source
        if is_onnx(node, "Squeeze"):
            axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
            return None if axes is None else np.squeeze(source, tuple(int(axis) for axis in axes.ravel()))
        if is_onnx(node, "Split"):
            axis, many = int_attribute(node, "axis", 0), len(node.outputs)
            whole = source.shape[axis] % many == 0 and (len(node.inputs) < 2 or node.inputs[1] is None)
            return np.split(source, many, axis)[value.index() or 0] if whole else None
        if is_onnx(node, "Slice"):
            bounds = last_axis(node, source.ndim)
            return None if bounds is None else source[..., bounds[0] : bounds[1]]
        return None


def plain(value: ir.Value) -> ir.Value:
    """``value`` in front of every Identity."""
    node = value.producer()
    while node is not None and is_onnx(node, "Identity") and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def pairs(value: ir.Value, operator: str) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Both orders of the operands of ``operator``, if that makes ``value``."""
    node = plain(value).producer()
    if node is not None and is_onnx(node, operator):
        one, other = node.inputs
        if one is not None and other is not None:
            yield plain(one), plain(other)
            yield plain(other), plain(one)


def last_axis(node: ir.Node, ndim: int) -> tuple[int, int] | None:
    """(start, end) of a Slice that cuts the last axis alone, in steps of one."""
    arrays = [constant(value) for value in node.inputs[1:]]
    if len(arrays) < 2 or any(array is None for array in arrays):
        return None
    starts, ends, *more = ([int(each) for each in array.ravel()] for array in arrays if array is not None)
    axes = [axis % ndim for axis in more[0]] if more else list(range(len(starts)))
    if len(more) > 1 and any(step != 1 for step in more[1]):
        return None
    bounds: tuple[int, int] | None = None
    for axis, start, end in zip(axes, starts, ends, strict=True):
        if axis == ndim - 1:
            bounds = start, end
        elif start != 0 or end < np.iinfo(np.int32).max:
            return None
    return bounds if bounds is not None and 0 <= bounds[0] < bounds[1] else None


def gathered(loop: CountedLoop, step: ir.Value) -> tuple[ir.Value | None, ir.Value | None]:
    """(sequence, counter) of ``step = sequence[counter]``, counter from 0 in steps of 1."""
    node = step.producer()
    if node is None or not is_onnx(node, "Gather") or int_attribute(node, "axis", 0):
        return None, None
    sequence, counter = node.inputs
    outer = loop.outside(sequence) if sequence is not None else None
    if outer is None or counter is None:
        return None, None
    inputs = list(loop.body.inputs)
    if counter is inputs[0]:
        return outer, counter
    if counter not in inputs[2:]:
        return None, None
    place = inputs.index(counter) - 2
    first = constant(loop.node.inputs[2 + place])
    steps = _plus(loop, loop.body.outputs[1 + place], counter)
    return (outer, counter) if first is not None and np.all(first == 0) and steps == 1 else (None, None)


def _plus(loop: CountedLoop, value: ir.Value, counter: ir.Value) -> int | None:
    """K of ``value = counter + k``."""
    value = plain(value)
    if value is counter:
        return 0
    node = value.producer()
    if node is not None and is_onnx(node, "Cast") and node.inputs[0] is not None:
        return _plus(loop, node.inputs[0], counter)
    for one, other in pairs(value, "Add"):
        added = loop.array(other)
        if one is counter and added is not None and added.size == 1:
            return int(added.ravel()[0])
    return None


def runs_over(loop: CountedLoop, sequence: ir.Value, counter: ir.Value) -> bool:
    """R2: at least one condition ends the loop behind the last step, and none before it."""
    limit = loop.node.inputs[0]
    if limit is not None and not _is_length(loop, limit, sequence):
        return False
    iteration = loop.body.inputs[0]
    pending, ahead = [loop.body.outputs[0]], []
    while pending:
        node = plain(pending.pop()).producer()
        if node is None:
            return False
        if is_onnx(node, "And"):
            pending += [value for value in node.inputs if value is not None]
            continue
        left, right = node.inputs[0], node.inputs[-1]
        if not is_onnx(node, "Less") or left is None or right is None:
            return False
        if not _is_length(loop, right, sequence):
            return False
        steps = [_plus(loop, left, each) for each in (iteration, counter)]
        known = [step for step in steps if step is not None]
        if not known or known[0] > 1:
            return False
        ahead.append(known[0])
    return limit is not None or 1 in ahead


def _is_length(loop: CountedLoop, value: ir.Value, sequence: ir.Value) -> bool:
    """Whether ``value`` is the size of the first axis of ``sequence``."""
    value = loop.handed_through.get(value, value)
    known, shape = constant(value), shape_of(sequence) or (None,)
    if known is not None:
        return known.size == 1 and isinstance(shape[0], int) and int(known.ravel()[0]) == shape[0]
    node = value.producer()
    if node is None or node.inputs[0] is None:
        return False
    if is_onnx(node, *_CARRIED):
        return _is_length(loop, node.inputs[0], sequence)
    first = constant(node.inputs[1]) if is_onnx(node, "Slice", "Gather") else None
    if first is None or first.size != 1 or int(first.ravel()[0]) != 0:
        return False
    if is_onnx(node, "Slice"):
        end = constant(node.inputs[2])
        if end is None or end.size != 1 or int(end.ravel()[0]) != 1:
            return False
    source: ir.Node | None = node.inputs[0].producer()
    while source is not None and is_onnx(source, "Cast") and source.inputs[0] is not None:
        source = source.inputs[0].producer()
    return source is not None and is_onnx(source, "Shape") and source.inputs[0] is sequence
