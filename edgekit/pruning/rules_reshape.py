"""Reshape, Flatten -> the channels along the axes of the result.

Axes of both sides are matched in runs of equal size, from both ends inwards.

R1  an axis that stays one axis keeps its channels.
R2  axes that are merged, one of them with channels: each channel becomes a block or a comb of indices
    (flattening feature maps in front of a dense layer; heads that are joined).
R3  one axis with channels that is split: what lies in one place of the outer axis goes together, and the
    outer axis carries the channels (attention heads, groups); the inner axes stay.
R4  anything else stays.
R5  the wanted shape counts channels where it names them; -1 and 0 need no change. A shape that the graph
    computes from parts is rewritten in its parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx, shape_of
from edgekit.pruning.trace import Axis, Trace, is_constant

Size = int | str
Run = tuple[range, range]
"""Input axes and output axes that hold the same elements."""


def reshape(node: ir.Node, trace: Trace) -> bool:
    """R1 to R5."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or is_constant(x) or shape_of(y) is None:
        return False
    axes = trace.axes(x)
    if all(axis is None for axis in axes):
        trace.give(y, (None,) * len(y.shape or ()))
        return True
    before, after = _sizes(x), _same_names(_sizes(x), _sizes(y))
    result: list[Axis] = [None] * len(after)
    for run in _runs(before, after):
        found = _carried(node, trace, axes=axes, run=run, before=before, after=after)
        if found is not None:
            result[found[0]] = found[1]
    if not _count(node, trace, result):
        return False
    trace.give(y, result)
    return True


def _carried(
    node: ir.Node,
    trace: Trace,
    *,
    axes: tuple[Axis, ...],
    run: Run,
    before: list[Size],
    after: list[Size],
) -> tuple[int, Axis] | None:
    """(output axis, its channels) of one run; None where the run carries none."""
    taken, given = run
    carrying = [index for index in taken if axes[index] is not None]
    large_in = [index for index in taken if _is_large(before[index])]
    large_out = [index for index in given if _is_large(after[index])]
    numbers = axes[carrying[0]] if len(carrying) == 1 else None
    if numbers is not None and len(large_out) == 1 and after[large_out[0]] == len(numbers):  # R1
        return large_out[0], numbers
    known = all(isinstance(size, int) for size in (*(before[i] for i in taken), *(after[i] for i in given)))
    if numbers is not None and known and len(large_out) == 1:  # R2
        shape = [len(numbers) if index == carrying[0] else 1 for index in taken]
        full = np.broadcast_to(numbers.reshape(shape), [int(before[index]) for index in taken])
        return large_out[0], full.ravel()
    if numbers is not None and known and large_in == carrying and large_out:  # R3
        blocks = numbers.reshape(int(after[large_out[0]]), -1)
        for column in range(1, blocks.shape[1]):
            trace.ties.tie(blocks[:, 0], blocks[:, column], f"{node.name} splits it with what stays")
        return large_out[0], blocks[:, 0].copy()
    for index in carrying:  # R4
        trace.pin(axes[index], f"{node.name} reshapes it together with others")
    return None


def _is_large(size: Size) -> bool:
    """Whether an axis holds more than one element, as far as known."""
    return size != 1


def _sizes(value: ir.Value) -> list[Size]:
    """A number, or a name that is unique where nothing is known."""
    return [
        dim if isinstance(dim, int) else (dim.value or f"?{value.name}.{index}")
        for index, dim in enumerate(value.shape or ())
    ]


def _same_names(before: list[Size], after: list[Size]) -> list[Size]:
    """Where each side has one unknown size and the known ones multiply to the same, the unknown are one."""
    old, new = _product(before), _product(after)
    if old[0] == new[0] and len(old[1]) == len(new[1]) == 1:
        return [old[1][0] if isinstance(size, str) else size for size in after]
    return after


def _runs(before: list[Size], after: list[Size]) -> Iterator[Run]:
    """The finest runs: equal axes at both ends, then parts of the middle that multiply to the same."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        yield range(head, head + 1), range(head, head + 1)
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    i, j = head, head
    end_i, end_j = len(before) - tail, len(after) - tail
    start_i, start_j = i, j
    left: list[Size] = []
    right: list[Size] = []
    while i < end_i or j < end_j:
        if j >= end_j or (i < end_i and _number(left) <= _number(right)):
            left.append(before[i])
            i += 1
        else:
            right.append(after[j])
            j += 1
        if left and right and _product(left) == _product(right) and (i, j) != (end_i, end_j):
            yield range(start_i, i), range(start_j, j)
            start_i, start_j, left, right = i, j, [], []
    if start_i < end_i or start_j < end_j:
        yield range(start_i, end_i), range(start_j, end_j)
    for back in range(tail, 0, -1):
        yield (
            range(len(before) - back, len(before) - back + 1),
            range(len(after) - back, len(after) - back + 1),
        )


def _number(sizes: list[Size]) -> int:
    found = 1
    for size in sizes:
        found *= size if isinstance(size, int) else 1
    return found


def _product(sizes: list[Size]) -> tuple[int, list[str]]:
    return _number(sizes), sorted(size for size in sizes if isinstance(size, str))


def _count(node: ir.Node, trace: Trace, result: list[Axis]) -> bool:
    """R5; False where the wanted shape cannot be changed."""
    carried = [index for index, axis in enumerate(result) if axis is not None]
    if not carried or is_onnx(node, "Flatten"):
        return True
    wanted = node.inputs[1]
    array = constant(wanted)
    if array is not None:
        for index in carried:
            named = int(array.ravel()[index])
            if named > 0 or (named == 0 and int_attribute(node, "allowzero", 0)):
                trace.count((1, index), result[index])
        return True
    return _count_in_parts(trace, wanted, {index: result[index] for index in carried})


def _count_in_parts(trace: Trace, wanted: ir.Value | None, carried: dict[int, Axis]) -> bool:
    """A Concat of which every part that counts channels is a constant, read by nobody else."""
    joined = wanted.producer() if wanted is not None else None
    if joined is None or wanted is None or not is_onnx(joined, "Concat") or len(wanted.uses()) != 1:
        return False
    graph = joined.graph
    if graph is None:
        return False
    place = 0
    found: list[tuple[int, int, int]] = []
    for number, part in enumerate(joined.inputs):
        array = constant(part)
        shape = shape_of(part)
        size = array.size if array is not None else (shape[0] if shape else None)
        if size is None:
            return False
        for element in range(size):
            if place + element in carried:
                if array is None:
                    return False
                if int(array.ravel()[element]) > 0:
                    found.append((number, element, place + element))
        place += size
    index = list(graph).index(joined)
    for number, element, axis in found:
        trace.count((number, element), carried[axis], node=index)
    return True
