"""Operands of elementwise arithmetic -> channels of the result (numpy's broadcasting, from the last axis on).

B1: axes of one size go together; a constant takes the channels of its partners.
B2: an operand of size 1, or without the axis, is the same for every channel and has no say. A single channel
    that is spread over others stays.
B3: beside an axis that nobody shrinks, or whose size is not known, the others stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.pruning.trace import Axis, Trace, is_constant


@dataclass(frozen=True, eq=False)
class Operand:
    """Axes that take part; ``value`` is None where they are not those of one value.

    Attributes:
        skip: so many of the value's last axes take no part.
    """

    value: ir.Value | None
    axes: tuple[Axis, ...]
    sizes: tuple[int | None, ...]
    skip: int = 0


def operand(value: ir.Value, trace: Trace, *, skip: int = 0) -> Operand:
    """All axes of a value but the last ``skip``."""
    end = max(len(trace.axes(value)) - skip, 0)
    return Operand(value, trace.axes(value)[:end], trace.sizes(value)[:end], skip)


def broadcast(operands: Sequence[Operand], trace: Trace, name: str) -> tuple[Axis, ...]:
    """Channels along the axes of the result."""
    rank = max((len(each.axes) for each in operands), default=0)
    return tuple(_one_axis(operands, trace, name, back) for back in range(rank, 0, -1))


def _one_axis(operands: Sequence[Operand], trace: Trace, name: str, back: int) -> Axis:
    """The axis that is ``back`` from the end."""
    here = [each for each in operands if len(each.axes) >= back]
    sizes = [each.sizes[-back] for each in here]
    if all(size == 1 for size in sizes):
        return here[0].axes[-back]
    full = []
    for each, size in zip(here, sizes, strict=True):
        if size == 1:  # B2
            trace.pin(each.axes[-back], f"{name} spreads it over other channels")
        else:
            full.append(each)
    leader = next((each.axes[-back] for each in full if each.axes[-back] is not None), None)
    for each in full:
        why = f"{name} combines it with what stays"
        if each.value is None or not is_constant(each.value):
            if each.axes[-back] is not leader:
                trace.tie(each.axes[-back], leader, why)
        else:
            trace.meet(each.value, -back - each.skip, leader, why)
    return leader
