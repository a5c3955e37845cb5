"""TopK, CumSum, NonZero, Unique-free order -> TOPK_V2, CUMSUM, WHERE.

TOPK_V2 gives the largest along the last axis in falling order, the first index of equal ones first, as ONNX
does. The smallest are the largest of the negated; uint8, which has no negative, goes through int32.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.parameters import axis_of, constant, integers
from edgekit.backends.litert.step import Step


def lower_top_k(step: Step) -> None:
    """TopK; the order of an unsorted one is free, so it is sorted too."""
    t = Terms(step)
    x = step.operand(0)
    axis = axis_of(step.unit, x.rank, default=-1)
    found = integers(step.unit, 1, "k")
    k = found[0] if found else 1
    largest = bool(step.attribute("largest", 1))
    data = step.x(0)
    if not largest:
        data = t.unary("NEG", t.cast(data, "int32") if x.dtype in {"int8", "uint8"} else data)
    last = t.to_last(data, axis)
    shape = (*t.shape(last)[:-1], k)
    values, indices = step.temporary(shape, t.dtype(last)), step.temporary(shape, "int32")
    step.many("TOPK_V2", [last, t.const(k, "int32")], [values, indices])
    if not largest:
        values = t.unary("NEG", values)
    t.finish(t.from_last(values, axis))
    if len(step.unit.outputs) > 1:
        t.finish(t.from_last(indices, axis), index=1)


def lower_cumsum(step: Step) -> None:
    """CumSum along a constant axis."""
    t, x = Terms(step), step.x(0)
    axis = constant(step.unit, 1, "axis")
    if axis is None:
        raise step.refusal("missing-input", "CumSum without axis", "check the model with onnx.checker")
    options = {name: bool(step.attribute(name, 0)) for name in ("exclusive", "reverse")}
    stored = int(axis.reshape(())) % t.rank(x)
    t.finish(step.emit("CUMSUM", [x, t.const(stored, "int32")], step.shape(x), options=options))


def lower_nonzero(step: Step) -> None:
    """NonZero: WHERE gives one row per element, ONNX one column; how many is only known at run time."""
    t, x = Terms(step), step.x(0)
    if t.dtype(x) != "bool":
        x = t.compare("NOT_EQUAL", x, t.like(0, x))
    count = step.out.shape[1]
    found = step.emit("WHERE", [x], (count, t.rank(x)), dtype="int64")
    t.finish(t.transpose(found, (1, 0)))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "CumSum": lower_cumsum,
    "NonZero": lower_nonzero,
    "TopK": lower_top_k,
}
