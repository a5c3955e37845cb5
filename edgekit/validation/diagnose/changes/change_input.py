"""An input of the model -> the same input in another layout, or normalized in another way.

L1 channels-last memory read as channels-first, and the other way round
L2 height and width exchanged
L3 channels in reverse order: BGR for RGB
N1 a factor of 255, 127.5 or 128, up or down; 0..1 for -1..1; with the mean and deviation of ImageNet or MNIST
N2 arithmetic of the model's own, right behind its input, left out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import bypass, constant, is_onnx, shape_of, sole_reader
from edgekit.spec import Array
from edgekit.validation.diagnose.changes.change import Change, Segment, behind_input, number, same_node

LAYOUT, NORMALIZATION = "layout", "normalization"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MNIST = ((0.1307,), (0.3081,))
_MOST_CHANNELS = 4  # of an image
_Step = tuple[str, Sequence[ir.Value], Mapping[str, object]]


def changes(segment: Segment) -> Iterator[Change]:
    """All cases for every input of the model that the segment reads."""
    for value in segment.model.graph.inputs:
        if value.name in segment.fed and value.dtype == ir.DataType.FLOAT:
            yield from _layouts(segment.model, value)
            yield from _normalizations(segment.model, value)
            yield from _left_out(segment.model, value)


def _channel_axis(shape: Sequence[int | None]) -> int | None:
    """Of an image: the axis that is small; None where it is no image."""
    if len(shape) != 4:
        return None
    return next((axis for axis in (1, 3) if (shape[axis] or 99) <= _MOST_CHANNELS), None)


def _layouts(model: ir.Model, value: ir.Value) -> Iterator[Change]:
    shape = shape_of(value)
    axis = None if shape is None else _channel_axis(shape)
    if shape is None or len(shape) < 3:
        return
    if len(shape) == 4 and None not in shape[1:]:
        sizes = [int(size or 1) for size in shape[1:]]
        yield from _read_as(model, value, sizes)
    last = len(shape) - 1
    spatial = (1, 2) if axis == last or len(shape) == 3 else (2, 3)
    if shape[spatial[0]] == shape[spatial[1]]:
        order = list(range(len(shape)))
        order[spatial[0]], order[spatial[1]] = spatial[1], spatial[0]
        yield _behind(
            model, value, LAYOUT, "height and width exchanged", [("Transpose", [], {"perm": order})]
        )
    if axis is not None and (shape[axis] or 1) > 1:
        clone = model.clone()
        many = int(shape[axis] or 1)
        order_value = number(clone.graph, "reversed", np.arange(many - 1, -1, -1, dtype=np.int64))
        yield _finished(
            clone,
            value,
            LAYOUT,
            "channels in reverse order (BGR for RGB)",
            [("Gather", [order_value], {"axis": axis})],
        )


def _read_as(model: ir.Model, value: ir.Value, sizes: list[int]) -> Iterator[Change]:
    """L1: the bytes of one layout taken for the other; the shape is right, the values are elsewhere."""
    for says, order in (
        ("channels-last memory read as channels-first", [0, 2, 3, 1]),
        ("channels-first memory read as channels-last", [0, 3, 1, 2]),
    ):
        clone = model.clone()
        target = number(clone.graph, "sizes", np.array([-1, *sizes], np.int64))
        steps: list[_Step] = [("Transpose", [], {"perm": order}), ("Reshape", [target], {})]
        yield _finished(clone, value, LAYOUT, says, steps)


def _normalizations(model: ir.Model, value: ir.Value) -> Iterator[Change]:
    shape = shape_of(value) or ()
    axis = _channel_axis(shape)
    channels = (shape[axis] or 1) if axis is not None else 1
    for says, scale, shift in _lines(channels):
        clone = model.clone()
        broadcast = [1] * len(shape)
        if axis is not None and len(scale) > 1:
            broadcast[axis] = -1
        factor = number(clone.graph, "factor", np.asarray(scale, np.float32).reshape(broadcast))
        term = number(clone.graph, "term", np.asarray(shift, np.float32).reshape(broadcast))
        yield _finished(clone, value, NORMALIZATION, says, [("Mul", [factor], {}), ("Add", [term], {})])


def _lines(channels: int) -> Iterator[tuple[str, Array, Array]]:
    """(words, factor, term): x * factor + term."""
    one = np.ones(1)
    for factor in (255.0, 127.5, 128.0, 1 / 255.0, 1 / 127.5, 1 / 128.0, 16.0, 1 / 16.0):
        yield f"input times {factor:.4g}", one * factor, one * 0.0
    for factor, term in ((2.0, -1.0), (0.5, 0.5), (127.5, 127.5), (1 / 127.5, -1.0), (1.0, -0.5), (1.0, 0.5)):
        yield f"input times {factor:.4g} and {term:+g}", one * factor, one * term
    for name, (mean, deviation) in (("ImageNet", _IMAGENET), ("MNIST", _MNIST)):
        if len(mean) not in {1, channels}:
            continue
        m, d = np.asarray(mean), np.asarray(deviation)
        yield f"normalized with {name}'s mean and deviation once more", 1 / d, -m / d
        yield f"without {name}'s mean and deviation", d, m
        yield f"without {name}'s mean and deviation, 0 to 255", d * 255, m * 255


def _left_out(model: ir.Model, value: ir.Value) -> Iterator[Change]:
    """N2: the first arithmetic node with a constant, then the first two, ..."""
    chain: list[ir.Node] = []
    current: ir.Value = value
    while len(chain) < 3:
        node = sole_reader(current)
        if node is None or not _is_arithmetic(node):
            break
        chain.append(node)
        current = node.outputs[0]
    for many in range(1, len(chain) + 1):
        clone = model.clone()
        if all(bypass(same_node(clone, node)) for node in chain[:many]):
            names = " and ".join(node.op_type for node in chain[:many])
            yield Change(NORMALIZATION, f"without the model's own {names}", "", clone)


def _is_arithmetic(node: ir.Node) -> bool:
    if is_onnx(node, "BatchNormalization"):
        return True
    return is_onnx(node, "Sub", "Add", "Mul", "Div") and constant(node.inputs[1]) is not None


def _behind(model: ir.Model, value: ir.Value, kind: str, says: str, steps: Sequence[_Step]) -> Change:
    return _finished(model.clone(), value, kind, says, steps)


def _finished(clone: ir.Model, value: ir.Value, kind: str, says: str, steps: Sequence[_Step]) -> Change:
    same = next(each for each in clone.graph.inputs if each.name == value.name)
    behind_input(same, steps)
    return Change(kind, says, "", clone)
