"""Einsum -> TRANSPOSE, RESHAPE, BATCH_MATMUL, SUM, two operands at a time from the left.

    labels of a pair: batch = in both and wanted later, contracted = in both and not wanted,
                      rows = in the left only, columns = in the right only
    (batch, rows, contracted) @ (batch, contracted, columns) = (batch, rows, columns)

E1 a label that is in one operand only and not wanted is summed first
E2 "..." stands for the axes that the other labels leave, aligned at the right
E3 a label twice in one operand: its diagonal first, every n + 1st element of both axes as one
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, merged
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Shape


@dataclass(frozen=True, slots=True)
class _Term:
    """A tensor and the label of each of its axes."""

    tensor: int
    labels: str


def lower_einsum(step: Step) -> None:
    """Einsum, cases E1 to E3."""
    t = Terms(step)
    labels, wanted = _labels(step)
    terms = [_diagonal(t, _Term(step.x(index), each)) for index, each in enumerate(labels)]
    current = terms[0]
    for index, other in enumerate(terms[1:], start=1):
        later = wanted + "".join(labels[index + 1 :])
        current = _product(
            t, _summed(t, current, later + other.labels), _summed(t, other, later + current.labels), later
        )
    current = _summed(t, current, wanted)
    t.finish(t.transpose(current.tensor, [current.labels.index(label) for label in wanted]))


def _labels(step: Step) -> tuple[list[str], str]:
    """Labels of each operand and of the result; the axes of "..." get capital letters of their own (E2)."""
    equation = str(step.attribute("equation", b"")).replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    parts = inputs.split(",")
    if len(parts) != len(step.unit.inputs):
        raise step.refusal("einsum", f"{equation!r} names {len(parts)} operands", "correct the equation")
    free = [chr(code) for code in range(0x3B1, 0x3B1 + 16)]  # Greek letters: no label of an equation
    spare = [step.operand(i).rank - len(part.replace("...", "")) for i, part in enumerate(parts)]
    widest = max((n for n, part in zip(spare, parts, strict=True) if "..." in part), default=0)
    dots = [
        "".join(free[widest - n : widest]) if "..." in part else ""
        for n, part in zip(spare, parts, strict=True)
    ]
    found = [part.replace("...", dot) for part, dot in zip(parts, dots, strict=True)]
    if arrow:
        return found, output.replace("...", "".join(free[:widest]))
    every = "".join(found)
    once = sorted(label for label in set(every) if every.count(label) == 1 and label not in free)
    return found, "".join(free[:widest]) + "".join(once)


def _diagonal(t: Terms, term: _Term) -> _Term:
    """E3."""
    twice = next((label for label in term.labels if term.labels.count(label) > 1), None)
    if twice is None:
        return term
    first = term.labels.index(twice)
    second = term.labels.index(twice, first + 1)
    rest = [axis for axis in range(len(term.labels)) if axis not in {first, second}]
    moved = t.transpose(term.tensor, [*rest, first, second])
    *lead, size, other = t.shape(moved)
    if not isinstance(size, int) or size != other:
        raise t.step.refusal("einsum", f"the diagonal of {size} by {other}", "fix the sizes when exporting")
    flat = t.reshape(moved, (*lead, size * size))
    taken = t.rows(flat, np.arange(size, dtype=np.int32) * (size + 1), len(lead))
    return _diagonal(t, _Term(taken, "".join(term.labels[axis] for axis in rest) + twice))


def _summed(t: Terms, term: _Term, wanted: str) -> _Term:
    """E1."""
    axes = [axis for axis, label in enumerate(term.labels) if label not in wanted]
    if not axes:
        return term
    kept = "".join(label for label in term.labels if label in wanted)
    return _Term(t.reduce("SUM", term.tensor, axes, keep=False), kept)


def _product(t: Terms, left: _Term, right: _Term, later: str) -> _Term:
    both = [label for label in left.labels if label in right.labels]
    batch = "".join(label for label in both if label in later)
    contracted = "".join(label for label in both if label not in later)
    rows = "".join(label for label in left.labels if label not in both)
    columns = "".join(label for label in right.labels if label not in both)
    a = _arranged(t, left, (batch, rows, contracted))
    b = _arranged(t, right, (batch, contracted, columns))
    product = t.matmul(a, b)
    sizes = {**_sizes(t, right), **_sizes(t, left)}
    for label in batch:  # a label of size 1 on one side broadcasts
        x, y = _sizes(t, left)[label], _sizes(t, right)[label]
        sizes[label] = y if x == 1 else x
    labels = batch + rows + columns
    return _Term(t.reshape(product, tuple(sizes[label] for label in labels)), labels)


def _sizes(t: Terms, term: _Term) -> dict[str, int | str | None]:
    return dict(zip(term.labels, t.shape(term.tensor), strict=True))


def _arranged(t: Terms, term: _Term, groups: Sequence[str]) -> int:
    """``term`` as (*batch, x, y): the last two groups are one axis each."""
    order = "".join(groups)
    moved = t.transpose(term.tensor, [term.labels.index(label) for label in order])
    shape = t.shape(moved)
    lead = len(groups[0])
    middle: Shape = shape[lead : lead + len(groups[1])]
    return t.reshape(moved, (*shape[:lead], merged(middle), merged(shape[lead + len(groups[1]) :])))


LOWERINGS: dict[str, Callable[[Step], None]] = {"Einsum": lower_einsum}
