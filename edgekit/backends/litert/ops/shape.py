"""Operators that move or cut data: Reshape, Transpose, Concat, Split, Slice, Pad, Expand, Tile, DepthToSpace.

Transpose runs nothing by itself: the layout pass renames the axes, and where somebody needs the data in
another order, the reader gets a TRANSPOSE. Reshape takes its sizes from the inferred output shape, so that a
shape computed from the input's own shape costs nothing. In int8 all of them keep the scale; a QUANTIZE
follows where the QDQ graph has another one behind.

Pad   P1 constant: PAD, PADV2     P2 reflect: MIRROR_PAD     P3 edge, wrap, far reflection: GATHER
      P4 negative amounts: SLICE first
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.backends.litert.constants import quantize
from edgekit.backends.litert.layouts import Layout
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import axis_of, constant, integers
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, Dim

INT32_MAX = 2**31 - 1


def lower_copy(step: Step) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Transpose: RESHAPE if the stored shapes differ, else nothing."""
    step.copy(step.x(0))


def lower_concat(step: Step) -> None:
    """Concat; int8 inputs of other scales are requantized first."""
    axis = step.label.axis(axis_of(step.unit, step.out.rank, default=0))
    inputs = [step.requantized(_concat_input(step, i), step.out.quant) for i in range(len(step.unit.inputs))]
    inputs = [tensor for tensor in inputs if 0 not in step.shape(tensor)]
    step.result("CONCATENATION", inputs, options={"axis": axis})


def _concat_input(step: Step, index: int) -> int:
    operand = step.operand(index)
    if operand.const is None:
        return step.x(index)
    return step.constant(operand.key, step.label.store(operand.const), quant=operand.quant)


def lower_split(step: Step) -> None:
    """Split into given or equal sizes: SPLIT_V."""
    x = step.operand(0)
    axis = axis_of(step.unit, x.rank, default=0)
    sizes = [out.shape[axis] for out in step.unit.outputs]
    if not all(isinstance(size, int) for size in sizes):
        raise step.refusal("dynamic-split", "a split along a dynamic axis", "fix the size of that axis")
    layout = _layout(step)
    tensor = step.x(0)
    parts = [_part(step, tensor, index) for index in range(len(sizes))]
    stored = step.constant("axis", np.asarray(layout.axis(axis), np.int32))
    inputs = [tensor, step.integers("sizes", [size for size in sizes if isinstance(size, int)]), stored]
    step.many("SPLIT_V", inputs, parts, options={"numSplits": len(sizes)})
    for index, part in enumerate(parts):
        step.copy(part, index=index)


def _part(step: Step, tensor: int, index: int) -> int:
    out = step.unit.outputs[index]
    source = step.builder.tensors[tensor]
    shape = step.ports.outputs[index].shape(out.shape)
    return step.builder.tensor(out.key, source.dtype, shape, quant=source.quant)


def _layout(step: Step) -> Layout:
    layout = step.ports.inputs[0]
    if layout is None:
        raise step.refusal(
            "constant-input", "its input is a constant", "fold constants first (edgekit export)"
        )
    return layout


def lower_slice(step: Step) -> None:
    """Slice with constant bounds: SLICE for steps of 1, STRIDED_SLICE otherwise and on dynamic axes."""
    x = step.operand(0)
    if any(step.has(index) and step.operand(index).runtime for index in (1, 2)):
        _slice_computed(step)
        return
    layout = _layout(step)
    starts, ends = integers(step.unit, 1, "starts") or (), integers(step.unit, 2, "ends") or ()
    axes = integers(step.unit, 3, "axes") or tuple(range(len(starts)))
    strides = integers(step.unit, 4, "steps") or (1,) * len(starts)
    cuts: dict[int, Cut] = {}
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        logical = axis + x.rank if axis < 0 else axis
        cut = _cut(step, x.shape[logical], start, end, stride)
        if cut != WHOLE:
            cuts[logical] = cut
    tensor = step.x(0)
    ordered = [cuts.get(axis, WHOLE) for axis in layout.perm]
    if all(cut.stride == 1 and not cut.dynamic for cut in ordered):
        begin = [cut.start or 0 for cut in ordered]
        size = [-1 if cut.end is None else cut.end - (cut.start or 0) for cut in ordered]
        inputs = [tensor, step.integers("begin", begin), step.integers("size", size)]
        step.result("SLICE", inputs, scale_of=tensor)
        return
    options = {
        "beginMask": sum(1 << i for i, cut in enumerate(ordered) if cut.start is None),
        "endMask": sum(1 << i for i, cut in enumerate(ordered) if cut.end is None),
    }
    bounds = (
        ("begin", [cut.start or 0 for cut in ordered]),
        ("end", [cut.end or 0 for cut in ordered]),
        ("strides", [cut.stride for cut in ordered]),
    )
    inputs = [tensor, *(step.integers(name, values) for name, values in bounds)]
    step.result("STRIDED_SLICE", inputs, options=options, scale_of=tensor)


def _slice_computed(step: Step) -> None:
    """Computed starts or ends, forwards: STRIDED_SLICE, of which begin and end are put together."""
    t, x = Terms(step), step.operand(0)
    count = step.operand(1).shape[0]
    axes = integers(step.unit, 3, "axes") or tuple(range(count if isinstance(count, int) else 0))
    strides = integers(step.unit, 4, "steps") or (1,) * len(axes)
    layout = _layout(step)
    places = [layout.axis(axis % x.rank) for axis in axes]
    if min(strides) < 1:
        raise step.refusal("dynamic-slice", "a slice backwards with computed bounds", "make them constants")
    steps = [1] * x.rank
    for place, stride in zip(places, strides, strict=True):
        steps[place] = stride
    mask = sum(1 << place for place in range(x.rank) if place not in places)
    bounds = [_bounds(step, t, index, places) for index in (1, 2)]
    inputs = [step.x(0), *bounds, step.integers("strides", steps)]
    tensor = inputs[0]
    step.result("STRIDED_SLICE", inputs, options={"beginMask": mask, "endMask": mask}, scale_of=tensor)


def _bounds(step: Step, t: Terms, index: int, places: list[int]) -> int:
    """Input ``index`` as one int32 for each stored axis; 0 where there is no bound."""
    operand = step.operand(index)
    if operand.const is not None:
        limited = np.clip(operand.const.astype(np.int64), -INT32_MAX, INT32_MAX)
        values = t.const(limited, "int32")
    else:
        values = t.cast(step.x(index), "int32")
    joined = t.concat([values, t.const([0], "int32")], 0)
    rank = step.operand(0).rank
    order = [places.index(axis) if axis in places else len(places) for axis in range(rank)]
    return t.rows(joined, np.asarray(order), 0)


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice along one axis: None = from its begin, to its end; ``dynamic``: of an axis of unknown size."""

    start: int | None
    end: int | None
    stride: int = 1
    dynamic: bool = False


WHOLE = Cut(None, None)


def _cut(step: Step, size: Dim, start: int, end: int, stride: int) -> Cut:
    """Bounds clamped as ONNX Slice says.

    On a dynamic axis STRIDED_SLICE clamps at run time, as ONNX does for steps forward.
    """
    if not isinstance(size, int):
        if stride < 1:
            raise step.refusal("dynamic-slice", "a slice backwards along a dynamic axis", "fix its size")
        last = None if end >= INT32_MAX else end
        if last is None and start == 0 and stride == 1:
            return WHOLE
        return Cut(None if start == 0 else max(start, -INT32_MAX), last, stride, dynamic=True)
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if stride > 0:
        low = min(max(start, 0), size)
        return Cut(low, max(min(max(end, 0), size), low), stride)
    low, high = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return Cut(low, None if high < 0 else high, stride)


def lower_pad(step: Step) -> None:
    """Pad, cases P1 to P4."""
    x = step.operand(0)
    mode = str(step.attribute("mode", "constant"))
    amounts = integers(step.unit, 1, "pads") or ()
    axes = integers(step.unit, 3, "axes") or tuple(range(x.rank))
    before, after = [0] * x.rank, [0] * x.rank
    for index, axis in enumerate(axes):
        before[axis % x.rank], after[axis % x.rank] = amounts[index], amounts[len(axes) + index]
    stored = [(before[axis], after[axis]) for axis in _layout(step).perm]
    tensor = step.x(0)
    if mode == "reflect" and _fits_mirror(step.shape(tensor), stored):  # P2
        rows: Array = np.asarray(stored, np.int32)
        paddings = step.constant("paddings", rows)
        step.result("MIRROR_PAD", [tensor, paddings], options={"mode": "REFLECT"}, scale_of=tensor)
        return
    if mode != "constant":
        _pad_by_gather(step, tensor, stored, mode)
        return
    _pad_constant(step, _cut_negative(step, tensor, stored), [(max(b, 0), max(a, 0)) for b, a in stored])


def _fits_mirror(shape: Shape, amounts: list[tuple[int, int]]) -> bool:
    """Whether MIRROR_PAD holds it: a rank of 5 at most, no axis is cut or reflected more than once."""
    return len(shape) <= 5 and all(
        min(pair) >= 0 and (not isinstance(dim, int) or max(pair) < dim)
        for pair, dim in zip(amounts, shape, strict=True)
    )


def _pad_by_gather(step: Step, tensor: int, amounts: list[tuple[int, int]], mode: str) -> None:
    """P3: constant indices along each axis."""
    if mode not in {"edge", "wrap", "reflect"}:
        raise step.refusal("pad-mode", f"Pad with mode {mode!r}", "use constant, reflect, edge or wrap")
    if step.unit.is_integer and step.builder.tensors[tensor].quant != step.out.quant:
        raise FloatOnlyError(f"it pads by {mode} into another scale")
    t = Terms(step)
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            (size,) = static(t.shape(tensor)[axis : axis + 1], "Pad")
            grown = np.pad(np.arange(size), (max(before, 0), max(after, 0)), mode=mode)  # type: ignore[call-overload]  # checked above
            end = len(grown) + min(after, 0)
            tensor = t.rows(tensor, grown[max(-before, 0) : end], axis)
    step.copy(tensor)


def _cut_negative(step: Step, tensor: int, amounts: list[tuple[int, int]]) -> int:
    """P4: negative amounts cut."""
    t = Terms(step)
    for axis, (before, after) in enumerate(amounts):
        if before < 0 or after < 0:
            (size,) = static(t.shape(tensor)[axis : axis + 1], "Pad with negative pads")
            tensor = t.slice(tensor, axis, max(-before, 0), size + min(after, 0))
    return tensor


def _pad_constant(step: Step, tensor: int, amounts: list[tuple[int, int]]) -> None:
    """P1: PAD for zeros, PADV2 for another value, which may be computed."""
    paddings = step.constant("paddings", np.asarray(amounts, np.int32))
    if step.has(2) and step.operand(2).runtime:
        t = Terms(step)
        step.result("PADV2", [tensor, paddings, t.reshape(step.x(2), (1,))])
        return
    if not any(any(pair) for pair in amounts):
        step.copy(tensor)
        return
    fill = constant(step.unit, 2, "the fill value")
    value = 0 if fill is None else fill.reshape(())
    if not np.any(value):
        step.result("PAD", [tensor, paddings], scale_of=tensor)
        return
    quant = step.builder.tensors[tensor].quant
    if quant is not None and quant != step.out.quant:
        raise FloatOnlyError("it pads with a value other than 0 into another scale")
    element = (
        np.asarray([value], step.operand(0).dtype)
        if quant is None
        else quantize(np.asarray([value], np.float32), quant)
    )
    step.result("PADV2", [tensor, paddings, step.constant("fill", element, quant=quant)], scale_of=tensor)


def lower_expand(step: Step) -> None:
    """Expand: BROADCAST_TO a static shape; + 0 or "or false" where a dynamic size stays as it is."""
    t, x = Terms(step), step.x(0)
    shape = step.out.shape
    if step.shape(x) == shape:
        step.copy(x)
        return
    if all(isinstance(dim, int) for dim in shape):
        t.finish(t.expand(x, shape))
        return
    source = (*(1,) * (len(shape) - t.rank(x)), *t.shape(x))
    if any(not isinstance(new, int) and old != new for old, new in zip(source, shape, strict=True)):
        raise step.refusal(
            "dynamic-size", f"Expand of {t.shape(x)} to {shape}", "fix the sizes when exporting"
        )
    t.finish(_plus_nothing(t, x, np.ones([dim if isinstance(dim, int) else 1 for dim in shape])))


def _plus_nothing(t: Terms, x: int, ones: Array) -> int:
    """``x`` broadcast against ``ones``: x + 0, or x or false."""
    if t.dtype(x) == "bool":
        return t.binary("LOGICAL_OR", x, t.const(ones == 0, "bool"))
    return t.add(x, t.const(np.zeros_like(ones), t.dtype(x)))


def lower_spread(step: Step) -> None:
    """A constant along the named sizes of inputs 1...: plus zeros that are computed of these inputs.

    Zeros are "x < x", which is false for NaN and infinite values too; nothing gets a dynamic shape that is
    not the batch's, so that delegates still take the graph.
    """
    t, x = Terms(step), step.x(0)
    for index, (axis, carried) in enumerate(step.attribute("axes", ()), start=1):
        carrier = step.x(index)
        for other in range(t.rank(carrier)):
            if other != carried:
                carrier = t.slice(carrier, other, 0, 1)
        if t.dtype(carrier) in {"int8", "uint8"}:  # LESS reads a scale of bytes
            carrier = t.cast(carrier, "int32")
        if t.dtype(carrier) == "bool":
            nothing = t.binary("LOGICAL_AND", carrier, t.unary("LOGICAL_NOT", carrier))
        else:
            nothing = t.compare("LESS", carrier, carrier)
        places = [1] * step.out.rank
        sizes = tuple(t.shape(carrier)[carried] if i == axis else 1 for i, _ in enumerate(places))
        nothing = t.reshape(nothing, sizes)
        if t.dtype(x) == "bool":
            x = t.binary("LOGICAL_OR", x, nothing)
        else:
            x = t.add(x, t.cast(nothing, t.dtype(x)))
    t.finish(x)


def lower_tile(step: Step) -> None:
    """Tile with constant repeats."""
    repeats = integers(step.unit, 1, "repeats") or ()
    ordered = [repeats[axis] for axis in _layout(step).perm]
    step.result("TILE", [step.x(0), step.integers("repeats", ordered)])


def lower_depth_to_space(step: Step) -> None:
    """DepthToSpace: DCR is DEPTH_TO_SPACE on channels-last data; CRD reorders the channels first."""
    block = int(step.attribute("blocksize", 1))
    channels = step.out.shape[1]
    tensor = step.x(0)
    if step.attribute("mode", "DCR") != "DCR" and channels != 1:
        t = Terms(step)  # (C, block, block) -> (block, block, C) along the last axis
        (count,) = static((channels,), "DepthToSpace")
        order = np.arange(count * block * block).reshape(count, block * block).T.reshape(-1)
        tensor = t.rows(tensor, order, t.rank(tensor) - 1)
    step.result("DEPTH_TO_SPACE", [tensor], options={"blockSize": block}, scale_of=tensor)


def lower_space_to_depth(step: Step) -> None:
    """SpaceToDepth."""
    tensor = step.x(0)
    step.result(
        "SPACE_TO_DEPTH",
        [tensor],
        options={"blockSize": int(step.attribute("blocksize", 1))},
        scale_of=tensor,
    )


def lower_constant_of_shape(step: Step) -> None:
    """ConstantOfShape of a shape that is computed, but inferred: a constant."""
    t = Terms(step)
    value = step.attribute("value", None)
    element = np.zeros(1, np.float32) if value is None else np.asarray(value.numpy()).reshape(1)
    shape = static(step.out.shape, "ConstantOfShape")
    t.finish(t.const(np.broadcast_to(element, shape), step.out.dtype))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "Concat": lower_concat,
    "ConstantOfShape": lower_constant_of_shape,
    "DepthToSpace": lower_depth_to_space,
    "Expand": lower_expand,
    "Flatten": lower_copy,
    "Pad": lower_pad,
    "Reshape": lower_copy,
    "Slice": lower_slice,
    "SpaceToDepth": lower_space_to_depth,
    "Split": lower_split,
    "Squeeze": lower_copy,
    "Tile": lower_tile,
    "Transpose": lower_copy,
    "Unsqueeze": lower_copy,
    "[spread]": lower_spread,
}
