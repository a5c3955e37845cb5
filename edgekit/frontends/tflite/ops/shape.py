"""Operators that move elements and change shapes -> ONNX.

S1 axes and sizes are those of the file's layout; where the values stay as they are stored (Concat, Pad,
   Slice), they are translated to the layout that the input has.
S2 Reshape reads the elements in the file's order: a Transpose comes first, unless only sizes of 1 moved.
S3 TRANSPOSE of a tensor in another layout is one Transpose, or none.

Source: kernels/reshape.cc, strided_slice.cc (StartForAxis, StopForAxis), pack.cc, pad.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import IDENTITY, Importer, Layout, UnreadableError
from edgekit.frontends.tflite.ops.activation import fused
from edgekit.frontends.tflite.ops.elementwise import common_layout, operand
from edgekit.frontends.tflite.ops.reduce import axes_of, narrowed
from edgekit.frontends.tflite.read import ABSENT, Operator

Lowering = Callable[[Importer, Operator], None]

_END = np.iinfo(np.int64).max
_BEGIN = np.iinfo(np.int64).min + 1
_SYMMETRIC = 1  # schema.fbs, MirrorPadMode


def index_vector(graph: Importer, index: int) -> ir.Value:
    """Sizes or positions as the int64 vector that ONNX wants, constant or computed."""
    known = graph.integers(index)
    if known is not None:
        return graph.vector(known)
    return graph.node("Cast", [graph.value(index)], to=int(ir.DataType.INT64))


def _axis(operator: Operator, rank: int, name: str = "axis") -> int:
    (axis,) = axes_of((int(operator.options.get(name, 0)),), rank)
    return axis


def _reshape(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    shape = operator.inputs[1] if len(operator.inputs) > 1 else ABSENT
    known: Sequence[int] | None
    if shape == ABSENT:
        given = operator.options.get("newShape")
        if given is None:
            raise UnreadableError("it has no target shape", "")
        known = [int(each) for each in given]
    else:
        known = graph.integers(shape) or _stated(graph, operator.outputs[0])
    target = index_vector(graph, shape) if known is None else graph.vector(known)
    empty = 1 if known is not None and 0 in known else None
    graph.produce(operator.outputs[0], graph.node("Reshape", [graph.flat(source), target], allowzero=empty))


def _stated(graph: Importer, index: int) -> list[int] | None:
    """A computed target shape, where the file says all sizes of the result but one: that one follows."""
    dims = graph.dims(index)
    return None if dims.count(None) > 1 else [-1 if size is None else size for size in dims]


def _squeeze(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    dims, layout = graph.dims(source), graph.layout(source)
    given = operator.options.get("squeezeDims")
    given = () if given is None else tuple(int(each) for each in given)
    axes = axes_of(given, len(dims)) or [axis for axis, size in enumerate(dims) if size == 1]
    left = [axis for axis in layout if axis not in axes]
    if left != sorted(left):
        layout = IDENTITY
    places = sorted(layout.index(axis) for axis in axes) if layout else axes
    graph.produce(
        operator.outputs[0], graph.node("Squeeze", [graph.value(source, layout), graph.vector(places)])
    )


def _expand_dims(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    axes = axes_of(graph.known_integers(operator.inputs[1], "axis"), graph.rank(source) + 1)
    graph.produce(operator.outputs[0], graph.node("Unsqueeze", [graph.value(source), graph.vector(axes)]))


def _transpose(graph: Importer, operator: Operator) -> None:
    """S3."""
    source, target = operator.inputs[0], operator.outputs[0]
    perm = graph.known_integers(operator.inputs[1], "permutation")
    rank = graph.rank(source)
    if sorted(axis % rank for axis in perm) != list(range(rank)):
        raise UnreadableError(f"permutation {perm} of {rank} axes", "")
    stored = graph.layout(source) or tuple(range(rank))
    order = [stored.index(axis % rank) for axis in perm]
    value = graph.value(source, graph.layout(source))
    graph.produce(
        target, value if order == list(range(rank)) else graph.node("Transpose", [value], perm=order)
    )


def _concatenation(graph: Importer, operator: Operator) -> None:
    rank = graph.rank(operator.outputs[0])
    layout = common_layout(graph, operator.inputs, rank)
    axis = _axis(operator, rank)
    values = [operand(graph, index, layout, rank) for index in operator.inputs]
    joined = graph.node("Concat", values, axis=layout.index(axis) if layout else axis)
    graph.produce(operator.outputs[0], fused(graph, operator, joined), layout)


def _pack(graph: Importer, operator: Operator) -> None:
    axis = _axis(operator, graph.rank(operator.outputs[0]))
    parts = [
        graph.moved(index, "Unsqueeze", [graph.value(index), graph.vector([axis])])
        for index in operator.inputs
    ]
    graph.produce(operator.outputs[0], graph.node("Concat", parts, axis=axis))


def _unpack(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    axis = _axis(operator, graph.rank(source))
    _split_into(graph, operator, graph.value(source), [1] * len(operator.outputs), axis, squeeze=True)


def _split_into(
    graph: Importer,
    operator: Operator,
    value: ir.Value,
    sizes: Sequence[int],
    axis: int,
    *,
    squeeze: bool = False,
    layout: Layout = IDENTITY,
) -> None:
    parts = graph.nodes("Split", [value, graph.vector(sizes)], len(sizes), axis=axis)
    for index, part in zip(operator.outputs, parts, strict=True):
        whole = part
        if squeeze:
            whole = graph.node("Squeeze", [graph.requantized(index, part), graph.vector([axis])])
        graph.produce(index, whole, layout)


def _split(*, axis: int, data: int, sizes: int | None) -> Lowering:
    """SPLIT (axis, data) into equal parts; SPLIT_V (data, sizes, axis)."""

    def lower(graph: Importer, operator: Operator) -> None:
        source = operator.inputs[data]
        dims, layout = graph.dims(source), graph.layout(source)
        (place,) = axes_of(graph.known_integers(operator.inputs[axis], "axis"), len(dims))
        size, count = dims[place], len(operator.outputs)
        if size is None:
            raise UnreadableError("it splits a dynamic axis", "convert with fixed input shapes")
        parts = [size // count] * count
        if sizes is not None:
            parts = list(graph.known_integers(operator.inputs[sizes], "sizes"))
            parts = [each if each >= 0 else size - sum(p for p in parts if p > 0) for each in parts]
        if sum(parts) != size or len(parts) != count:
            raise UnreadableError(f"it splits {size} into {parts}", "")
        stored = layout.index(place) if layout else place
        _split_into(graph, operator, graph.value(source, layout), parts, stored, layout=layout)

    return lower


def _sliced(
    graph: Importer, source: int, ranges: Sequence[tuple[int, int, int, int]], layout: Layout
) -> ir.Value:
    """Slice by (axis, start, end, step); nothing where all of them take everything."""
    value = graph.value(source, layout)
    wanted = [each for each in ranges if each[1:] not in ((0, _END, 1), (0, graph.dims(source)[each[0]], 1))]
    if not wanted:
        return value
    axes, starts, ends, steps = zip(*wanted, strict=True)
    places = [layout.index(axis) for axis in axes] if layout else axes
    return graph.node("Slice", [value, *(graph.vector(each) for each in (starts, ends, places, steps))])


def _slice(graph: Importer, operator: Operator) -> None:
    source, begin, size = operator.inputs
    starts, sizes = graph.integers(begin), graph.integers(size)
    layout, rank = graph.layout(source), graph.rank(source)
    if starts is not None and sizes is not None:
        ranges = [
            (axis, start, start + count if count >= 0 else _END, 1)
            for axis, (start, count) in enumerate(zip(starts, sizes, strict=True))
        ]
        graph.produce(operator.outputs[0], _sliced(graph, source, ranges, layout), layout)
        return
    first, count_value = index_vector(graph, begin), index_vector(graph, size)
    zero, end = graph.vector([0]), graph.vector([_END])
    last = graph.node("Add", [first, count_value])
    last = graph.node("Where", [graph.node("Less", [count_value, zero]), end, last])
    axes = graph.vector(range(rank))
    graph.produce(operator.outputs[0], graph.node("Slice", [graph.value(source), first, last, axes]))


def _strided_slice(graph: Importer, operator: Operator) -> None:
    """Masks are bits by position: begin and end from the edge, new axis, ellipsis, shrink (one element)."""
    source = operator.inputs[0]
    begin, end, step = (
        graph.known_integers(index, what)
        for index, what in zip(operator.inputs[1:4], ("begin", "end", "strides"), strict=True)
    )
    option = operator.options
    masks = {
        name: int(option[name])
        for name in ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask")
    }
    if option.get("offset"):
        end = tuple(low + high for low, high in zip(begin, end, strict=True))
    rank = graph.rank(source)
    given = [p for p in range(len(begin)) if not masks["newAxisMask"] >> p & 1]
    skipped = rank - len([p for p in given if not masks["ellipsisMask"] >> p & 1])
    ranges: list[tuple[int, int, int, int]] = []
    shrunk: list[int] = []
    new: list[int] = []
    axis = out = 0
    for position, (low, high, stride) in enumerate(zip(begin, end, step, strict=True)):
        if masks["ellipsisMask"] >> position & 1:
            axis, out = axis + skipped, out + skipped
            continue
        if masks["newAxisMask"] >> position & 1:
            new.append(out)
            out += 1
            continue
        if stride == 0 or axis >= rank:
            raise UnreadableError(f"begin {begin}, end {end}, strides {step}", "")
        if masks["shrinkAxisMask"] >> position & 1:
            ranges.append((axis, low, low + 1 if low != -1 else _END, 1))
            shrunk.append(axis)
        else:
            first = (0 if stride > 0 else _END) if masks["beginMask"] >> position & 1 else low
            last = (_END if stride > 0 else _BEGIN) if masks["endMask"] >> position & 1 else high
            ranges.append((axis, first, last, stride))
            out += 1
        axis += 1
    layout = IDENTITY if shrunk or new else graph.layout(source)
    value = _sliced(graph, source, ranges, layout)
    for op, axes in (("Squeeze", shrunk), ("Unsqueeze", new)):
        if axes:
            value = graph.node(op, [graph.requantized(source, value), graph.vector(axes)])
    graph.produce(operator.outputs[0], value, layout)


def _pads(graph: Importer, operator: Operator, layout: Layout) -> ir.Value:
    """(rank, 2) pairs to (all before, all after), in the order of ``layout``."""
    amounts = graph.known_integers(operator.inputs[1], "paddings")
    rank = graph.rank(operator.inputs[0])
    if len(amounts) != 2 * rank or min(amounts) < 0:
        raise UnreadableError(f"paddings {amounts} for {rank} axes", "")
    order = layout or tuple(range(rank))
    return graph.vector([amounts[2 * axis + side] for side in (0, 1) for axis in order])


def _pad(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    layout = graph.layout(source)
    inputs: list[ir.Value | None] = [graph.value(source, layout), _pads(graph, operator, layout)]
    if len(operator.inputs) > 2:
        fill = graph.array(operator.inputs[2])
        if fill is None or fill.size != 1:
            raise UnreadableError("its fill value is not one constant", "")
        inputs.append(graph.constant("fill", fill.reshape(())))
    graph.produce(operator.outputs[0], graph.node("Pad", inputs), layout)


def _mirror_pad(graph: Importer, operator: Operator) -> None:
    """REFLECT leaves the edge out, as ONNX does; SYMMETRIC repeats it: by one element, that is "edge"."""
    source = operator.inputs[0]
    layout = graph.layout(source)
    symmetric = int(operator.options.get("mode", 0)) == _SYMMETRIC
    amounts = graph.known_integers(operator.inputs[1], "paddings")
    if symmetric and max(amounts, default=0) > 1:
        raise UnreadableError("SYMMETRIC padding by more than one element has no ONNX form", "")
    pads = _pads(graph, operator, layout)
    mode = "edge" if symmetric else "reflect"
    result = graph.node("Pad", [graph.value(source, layout), pads], mode=mode)
    graph.produce(operator.outputs[0], result, layout)


def _gather(graph: Importer, operator: Operator) -> None:
    source, places = operator.inputs[:2]
    if int(operator.options.get("batchDims", 0)):
        raise UnreadableError("it gathers by batch", "")
    axis = _axis(operator, graph.rank(source))
    result = graph.node("Gather", [graph.value(source), graph.value(places)], axis=axis)
    graph.produce(operator.outputs[0], result)


def _embedding(graph: Importer, operator: Operator) -> None:
    places, table = operator.inputs[:2]
    result = graph.node("Gather", [graph.value(table), graph.value(places)], axis=0)
    graph.produce(operator.outputs[0], result)


def _gather_nd(graph: Importer, operator: Operator) -> None:
    source, places = operator.inputs
    wide = graph.node("Cast", [graph.value(places)], to=int(ir.DataType.INT64))
    graph.produce(operator.outputs[0], graph.node("GatherND", [graph.value(source), wide]))


def _one_hot(graph: Importer, operator: Operator) -> None:
    """An index outside of the depth gives "off" alone; ONNX' OneHot counts a negative one from the end."""
    places, depth, on, off = operator.inputs
    (count,) = graph.known_integers(depth, "depth")
    rank = graph.rank(operator.outputs[0])
    axis = int(operator.options.get("axis", -1)) % rank
    classes = np.arange(count, dtype=graph.tensor(places).dtype).reshape([-1] + [1] * (rank - 1 - axis))
    index = graph.node("Unsqueeze", [graph.value(places), graph.vector([axis])])
    chosen = graph.node("Equal", [index, graph.constant("classes", classes)])
    graph.produce(operator.outputs[0], graph.node("Where", [chosen, graph.value(on), graph.value(off)]))


def _shape(graph: Importer, operator: Operator) -> None:
    target = operator.outputs[0]
    found = graph.node("Shape", [graph.value(operator.inputs[0])])
    graph.produce(target, narrowed(graph, found, target))


def _rank(graph: Importer, operator: Operator) -> None:
    rank = graph.constant("rank", np.int32(graph.rank(operator.inputs[0])))
    graph.produce(operator.outputs[0], graph.node("Identity", [rank]))


def _with_sizes(op: str, *, data: int, sizes: int) -> Lowering:
    """TILE, BROADCAST_TO, FILL."""

    def lower(graph: Importer, operator: Operator) -> None:
        value = graph.value(operator.inputs[data])
        target = index_vector(graph, operator.inputs[sizes])
        graph.produce(operator.outputs[0], graph.node(op, [value, target]))

    return lower


def _range(graph: Importer, operator: Operator) -> None:
    graph.produce(operator.outputs[0], graph.node("Range", [graph.value(index) for index in operator.inputs]))


def _reverse(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    layout = graph.layout(source)
    axes = axes_of(graph.known_integers(operator.inputs[1], "axes"), graph.rank(source))
    ranges = [(axis, _END, _BEGIN, -1) for axis in axes]
    graph.produce(operator.outputs[0], _sliced(graph, source, ranges, layout), layout)


LOWERINGS: dict[str, Lowering] = {
    "BROADCAST_TO": _with_sizes("Expand", data=0, sizes=1),
    "CONCATENATION": _concatenation,
    "EMBEDDING_LOOKUP": _embedding,
    "EXPAND_DIMS": _expand_dims,
    "FILL": _with_sizes("Expand", data=1, sizes=0),
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "MIRROR_PAD": _mirror_pad,
    "ONE_HOT": _one_hot,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "RANGE": _range,
    "RANK": _rank,
    "RESHAPE": _reshape,
    "REVERSE_V2": _reverse,
    "SHAPE": _shape,
    "SLICE": _slice,
    "SPLIT": _split(axis=0, data=1, sizes=None),
    "SPLIT_V": _split(axis=2, data=0, sizes=1),
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _with_sizes("Tile", data=0, sizes=1),
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
