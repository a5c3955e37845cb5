"""Sizes that are only known at run time: Shape, Size, Range -> SHAPE, REDUCE_PROD, RANGE.

What ``probing`` computes when compiling never gets here: this is for models with several dynamic sizes, such
as a decoder's batch, tokens and cache. A static shape is a constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import Step

RANGES = frozenset({"float32", "int32", "int64"})


def lower_shape(step: Step) -> None:
    """Shape, or a part of it."""
    t, x = Terms(step), step.operand(0)
    start, end = int(step.attribute("start", 0)), int(step.attribute("end", x.rank))
    rows = list(range(x.rank))[start:end]
    sizes = [x.shape[axis] for axis in rows]
    if all(isinstance(size, int) for size in sizes):
        t.finish(t.const(np.asarray(sizes), "int64"))
        return
    t.finish(t.rows(_sizes(t, step), np.asarray(rows), 0))


def _sizes(t: Terms, step: Step) -> int:
    """All sizes of input 0, int64; its layout is the ONNX one (layout rule ``plain``)."""
    x = step.x(0)
    return step.emit("SHAPE", [x], (t.rank(x),), dtype="int64", options={"outType": "int64"})


def lower_size(step: Step) -> None:
    """Size: the product of all sizes."""
    t, x = Terms(step), step.operand(0)
    if all(isinstance(dim, int) for dim in x.shape):
        t.finish(t.const(np.prod([dim for dim in x.shape if isinstance(dim, int)]), "int64"))
        return
    t.finish(t.reduce("REDUCE_PROD", _sizes(t, step), [0], keep=False))


def lower_range(step: Step) -> None:
    """Range with computed bounds."""
    t = Terms(step)
    dtype = step.out.dtype
    if dtype not in RANGES:
        raise step.refusal("range-type", f"Range of {dtype}", f"use one of {', '.join(sorted(RANGES))}")
    bounds = [t.reshape(step.x(index), ()) for index in range(3)]
    t.finish(step.emit("RANGE", bounds, step.out.shape, dtype=dtype))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "Range": lower_range,
    "Shape": lower_shape,
    "Size": lower_size,
}
