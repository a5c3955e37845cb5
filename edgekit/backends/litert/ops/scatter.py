"""GatherElements, GatherND, ScatterElements, ScatterND, OneHot, Trilu, EyeLike -> GATHER, SCATTER_ND, SELECT.

Elements are addressed in the flattened data:

    position = sum_axis index[axis] * stride[axis]        stride = product of the sizes behind

S1 GatherElements, ScatterElements: the index replaces the coordinate along one axis, the others are constant
S2 no reduction: SELECT of what SCATTER_ND wrote, where it wrote
S3 add: data + SCATTER_ND, which sums equal positions
S4 mul, min, max: UNSORTED_SEGMENT_PROD, _MIN, _MAX over positions, then with the data
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, merged, static
from edgekit.backends.litert.parameters import axis_of, constant, integers
from edgekit.backends.litert.step import Step

SEGMENT_KERNELS = {
    "mul": "UNSORTED_SEGMENT_PROD",
    "max": "UNSORTED_SEGMENT_MAX",
    "min": "UNSORTED_SEGMENT_MIN",
}
COMBINE = {"mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM"}
LARGEST_POSITION = 2**31 - 1


def _strides(sizes: tuple[int, ...]) -> list[int]:
    return [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _indices(step: Step, t: Terms, index: int, size: int) -> int:
    """Input ``index`` as positions from 0; constants are normalised here."""
    operand = step.operand(index)
    if operand.const is None:
        return t.from_zero(step.x(index), size)
    values = operand.const.astype(np.int64)
    if values.size and (values.min() < -size or values.max() >= size):
        raise step.refusal("index-range", f"an index outside of 0..{size - 1}", "correct the indices")
    return t.const(np.where(values < 0, values + size, values), "int32")


def _element_positions(step: Step, t: Terms, axis: int) -> int:
    """S1: position of every element that the indices (input 1) name; flat."""
    data = static(step.operand(0).shape, step.unit.op)
    shape = static(step.operand(1).shape, step.unit.op)
    strides = _strides(data)
    grid = np.zeros(shape, np.int64)
    for other, coordinates in enumerate(np.indices(shape)):
        grid += 0 if other == axis else coordinates * strides[other]
    if prod(data) > LARGEST_POSITION:
        raise step.refusal("index-range", "more elements than int32 counts", "use smaller tensors")
    along = t.flat(_indices(step, t, 1, data[axis]))
    scaled = t.mul(along, t.const(strides[axis], "int32"))
    return t.add(scaled, t.const(grid.reshape(-1), "int32"))


def lower_gather_elements(step: Step) -> None:
    """GatherElements: S1, GATHER."""
    t = Terms(step)
    axis = axis_of(step.unit, step.operand(0).rank, default=0)
    positions = _element_positions(step, t, axis)
    found = t.gather(t.flat(step.x(0)), positions, 0)
    t.finish(t.reshape(found, static(step.out.shape, step.unit.op)))


def lower_scatter_elements(step: Step) -> None:
    """ScatterElements (and Scatter): S1, then S2 to S4 on the flattened data."""
    t = Terms(step)
    axis = axis_of(step.unit, step.operand(0).rank, default=0)
    if not prod(static(step.operand(1).shape, step.unit.op)):
        t.finish(step.x(0))
        return
    positions = _element_positions(step, t, axis)
    _scatter(step, t, t.flat(step.x(0)), positions, t.flat(step.x(2)))


def _scatter(step: Step, t: Terms, data: int, positions: int, updates: int) -> None:
    """``data`` (n, *rest) with ``updates`` (m, *rest) at ``positions`` (m,)."""
    reduction = str(step.attribute("reduction", "none"))
    sizes = t.sizes(data)
    code = SEGMENT_KERNELS.get(reduction)
    if code is not None:  # S4
        if t.dtype(data) not in {"float32", "int32"}:
            raise step.refusal(
                "scatter-type",
                f"{step.unit.op} with reduction {reduction!r} of {t.dtype(data)}",
                "cast to float32 or int32 in the model",
            )
        inputs = [updates, positions, t.const(sizes[0], "int32")]
        combined = step.emit(code, inputs, sizes)
        made = t.binary(COMBINE[reduction], data, combined)
        if reduction != "mul":  # an empty segment holds the extreme of its type, an infinite one included
            made = t.select(_written(step, t, positions, sizes), made, data)
        t.finish(t.reshape(made, step.out.shape))
        return
    where = t.reshape(positions, (*t.shape(positions), 1))
    written = step.emit("SCATTER_ND", [where, updates, t.const(sizes, "int32")], sizes, dtype=t.dtype(data))
    made = t.add(data, written) if reduction == "add" else 0
    if reduction == "none":  # S2
        made = t.select(_written(step, t, positions, sizes), written, data)
    elif reduction != "add":
        raise step.refusal("scatter-reduction", f"reduction {reduction!r}", "use none, add, mul, min or max")
    t.finish(t.reshape(made, step.out.shape))


def _written(step: Step, t: Terms, positions: int, sizes: tuple[int, ...]) -> int:
    """(n, 1...): whether a position of the data is written."""
    where = t.reshape(positions, (*t.shape(positions), 1))
    ones = t.const(np.ones(t.sizes(positions)), "float32")
    count = step.emit("SCATTER_ND", [where, ones, t.const(sizes[:1], "int32")], sizes[:1], dtype="float32")
    mask = t.compare("GREATER", count, t.const(0.0))
    return t.reshape(mask, (sizes[0], *(1,) * (len(sizes) - 1)))


def _tuple_positions(step: Step, t: Terms, data: tuple[int, ...], batch: int) -> tuple[int, int]:
    """Flat positions of the index tuples (input 1) behind ``batch`` axes, and how many axes a tuple names."""
    shape = static(step.operand(1).shape, step.unit.op)
    depth = shape[-1]
    named = data[batch : batch + depth]
    count = prod(shape[:-1])
    strides = _strides(named)
    operand = step.operand(1)
    if operand.const is not None:
        values = operand.const.reshape(count, depth).astype(np.int64)
        limits = np.asarray(named)
        if values.size and (np.any(values < -limits) or np.any(values >= limits)):
            raise step.refusal("index-range", "an index outside of its axis", "correct the indices")
        values = np.where(values < 0, values + limits, values)
        positions = t.const((values * np.asarray(strides)).sum(axis=1), "int32")
    else:
        tuples = t.reshape(t.cast(step.x(1), "int32"), (count, depth))
        wrapped = t.binary("FLOOR_MOD", tuples, t.const([named], "int32"))
        positions = t.reduce("SUM", t.mul(wrapped, t.const([strides], "int32")), [1], keep=False)
    if batch:
        outer = prod(data[:batch])
        each = count // outer
        grid = np.repeat(np.arange(outer) * prod(named), each)
        positions = t.add(positions, t.const(grid, "int32"))
    return positions, depth


def lower_gather_nd(step: Step) -> None:
    """GatherND: GATHER of flattened leading axes."""
    t = Terms(step)
    data = static(step.operand(0).shape, step.unit.op)
    batch = int(step.attribute("batch_dims", 0))
    positions, depth = _tuple_positions(step, t, data, batch)
    rest = data[batch + depth :]
    flat = t.reshape(step.x(0), (prod(data[: batch + depth]), *rest))
    t.finish(t.reshape(t.gather(flat, positions, 0), static(step.out.shape, step.unit.op)))


def lower_scatter_nd(step: Step) -> None:
    """ScatterND: S2 to S4 on flattened leading axes; the rest is one axis."""
    t = Terms(step)
    data = static(step.operand(0).shape, step.unit.op)
    positions, depth = _tuple_positions(step, t, data, 0)
    shape = (prod(data[:depth]), prod(data[depth:]))
    updates = t.reshape(step.x(2), (t.sizes(positions)[0], shape[1]))
    _scatter(step, t, t.reshape(step.x(0), shape), positions, updates)


def lower_one_hot(step: Step) -> None:
    """OneHot: ONE_HOT along ``axis``; negative indices count from the end, others outside give no hot one."""
    t = Terms(step)
    depth = integers(step.unit, 1, "depth")
    if depth is None:
        raise step.refusal("missing-input", "OneHot without depth", "check the model with onnx.checker")
    axis = axis_of(step.unit, step.out.rank, default=-1)
    indices = t.cast(step.x(0), "int32")
    if step.operand(0).dtype not in {"int32", "int64"}:
        raise step.refusal(
            "index-type", f"OneHot of {step.operand(0).dtype} indices", "cast them to int32 or int64"
        )
    low = t.compare("LESS", indices, t.const(0, "int32"))
    indices = t.select(low, t.add(indices, t.const(depth[0], "int32")), indices)
    values = step.x(2)
    off, on = (t.reshape(t.slice(values, 0, i, i + 1), ()) for i in (0, 1))
    inputs = [indices, t.const(depth[0], "int32"), on, off]
    shape = step.out.shape
    dtype = step.out.dtype
    stored = axis if axis != step.out.rank - 1 else -1
    t.finish(step.emit("ONE_HOT", inputs, shape, dtype=dtype, options={"axis": stored}))


def lower_trilu(step: Step) -> None:
    """Trilu: SELECT by a constant triangle."""
    t, x = Terms(step), step.x(0)
    rows, columns = static(step.out.shape[-2:], "Trilu")
    k = constant(step.unit, 1, "k")
    shift = 0 if k is None else int(k.reshape(()))
    upper = bool(step.attribute("upper", 1))
    full = np.ones((rows, columns), bool)
    keep = np.triu(full, shift) if upper else np.tril(full, shift)
    if 0 in step.out.shape:
        t.finish(x)
        return
    flat = t.reshape(x, (merged(t.shape(x)[:-2]), rows, columns))
    t.finish(t.reshape(t.select(t.const(keep[None], "bool"), flat, t.like(0, x)), step.out.shape))


def lower_eye_like(step: Step) -> None:
    """EyeLike: a constant of the input's shape."""
    t = Terms(step)
    rows, columns = static(step.out.shape, "EyeLike")
    t.finish(t.const(np.eye(rows, columns, int(step.attribute("k", 0))), step.out.dtype))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "EyeLike": lower_eye_like,
    "GatherElements": lower_gather_elements,
    "GatherND": lower_gather_nd,
    "OneHot": lower_one_hot,
    "Scatter": lower_scatter_elements,
    "ScatterElements": lower_scatter_elements,
    "ScatterND": lower_scatter_nd,
    "Trilu": lower_trilu,
}
