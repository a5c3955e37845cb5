"""Operators that move, combine or rescale values -> the channels along the axes of what they give.

S1  elementwise, one operand     the same channels.
S2  elementwise, several         ``broadcast``.
S3  Concat                       channels one behind the other; the other axes go together.
S4  Split, Slice                 parts of them; sizes and bounds count what is left. With steps: all stay.
S5  Transpose, Squeeze, Unsqueeze, Expand, Tile: axes move, appear and disappear; what is repeated stays.
S6  Pad with a constant          the new channels may go too (ResNet's shortcuts without weights).
S7  Resize, pooling              channels pass where nothing is computed along their axis.
S8  Softmax, normalization over an axis, reductions: all along that axis stay: its size is part of the result.
    Normalization over the last axis, where ``embedding_widths`` are asked for: scale and bias go with the
    channel, and what is left is normalized by its own mean and variance.
S9  Shape                        channels that it counts stay, unless only other axes are read of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, ints_attribute, is_onnx
from edgekit.pruning.broadcast import broadcast, operand
from edgekit.pruning.rules_reshape import reshape
from edgekit.pruning.trace import Axis, Trace, is_constant, stays

Rule = Callable[[ir.Node, Trace], bool]

_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip"),
    *("Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"),
    *("Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal"),
    *("Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign"),
    *("Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Dropout"),
)
_SEVERAL = (
    *("Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater"),
    *("GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or"),
    *("PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
)
_REDUCED = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)


def _source(node: ir.Node, trace: Trace) -> tuple[Axis, ...] | None:
    """Channels of the first input; None where it is missing or a constant."""
    x = node.inputs[0] if node.inputs else None
    if x is None or not trace.knows(x) or is_constant(x):
        return None
    return trace.axes(x)


def unary(node: ir.Node, trace: Trace) -> bool:
    """S1. Other inputs are scalars (Clip, Dropout)."""
    axes = _source(node, trace)
    if axes is None or any(output.uses() for output in node.outputs[1:]):
        return False
    trace.give(node.outputs[0], axes)
    return True


def several(node: ir.Node, trace: Trace) -> bool:
    """S2."""
    values = [value for value in node.inputs if value is not None]
    if all(is_constant(value) for value in values):
        return False
    trace.give(
        node.outputs[0], broadcast([operand(value, trace) for value in values], trace, node.name or "")
    )
    return True


def concat(node: ir.Node, trace: Trace) -> bool:
    """S3."""
    values = [value for value in node.inputs if value is not None]
    count = len(trace.axes(values[0]))
    axis = int_attribute(node, "axis", 0) % count
    if all(is_constant(value) for value in values):
        return False
    why = f"{node.name} puts it beside what stays"
    result: list[Axis] = []
    for each in range(count):
        if each == axis:
            result.append(_joined(values, axis, trace, why))
            continue
        leader = next((trace.axes(v)[each] for v in values if trace.axes(v)[each] is not None), None)
        for value in values:
            trace.meet(value, each, leader, why)
        result.append(leader)
    trace.give(node.outputs[0], result)
    return True


def _joined(values: Sequence[ir.Value], axis: int, trace: Trace, why: str) -> Axis:
    parts: list[Axis] = []
    for value in values:
        found = None if is_constant(value) else trace.axes(value)[axis]
        if is_constant(value):
            trace.meet(value, axis, None, why)
        size = trace.sizes(value)[axis]
        parts.append(stays(size) if found is None and size is not None else found)
    if any(part is None for part in parts) or all(not part.any() for part in parts if part is not None):
        for part in parts:
            trace.pin(part, f"{why}, and of unknown size")
        return None
    return np.concatenate([part for part in parts if part is not None])


def split(node: ir.Node, trace: Trace) -> bool:
    """S4."""
    axes = _source(node, trace)
    if axes is None:
        return False
    axis = int_attribute(node, "axis", 0) % len(axes)
    numbers = axes[axis]
    sizes = [trace.sizes(output)[axis] if output.shape else None for output in node.outputs]
    if numbers is not None and (None in sizes or sum(size or 0 for size in sizes) != len(numbers)):
        return False
    start = 0
    for index, (output, size) in enumerate(zip(node.outputs, sizes, strict=True)):
        part = None if numbers is None else numbers[start : start + (size or 0)]
        start += size or 0
        trace.give(output, (*axes[:axis], part, *axes[axis + 1 :]))
        trace.count((1, index), part)
    return True


def slices(node: ir.Node, trace: Trace) -> bool:
    """S4."""
    axes = _source(node, trace)
    if axes is None:
        return False
    if all(axis is None for axis in axes):
        trace.give(node.outputs[0], axes)
        return True
    given = [constant(value) for value in node.inputs[1:]]
    if any(value is not None and found is None for value, found in zip(node.inputs[1:], given, strict=True)):
        return False
    starts, ends = given[0], given[1]
    if starts is None or ends is None:
        return False
    along = given[2] if len(given) > 2 and given[2] is not None else np.arange(len(starts))
    steps = given[3] if len(given) > 3 and given[3] is not None else np.ones(len(starts), np.int64)
    result = list(axes)
    for index, each in enumerate(np.asarray(along) % len(axes)):
        numbers = axes[each]
        if numbers is None:
            continue
        start, end, step = slice(int(starts[index]), int(ends[index]), int(steps[index])).indices(
            len(numbers)
        )
        if (start, end, step) == (0, len(numbers), 1):
            continue
        if step != 1:
            trace.pin(numbers, f"{node.name} takes every {step}th of them")
            result[each] = None
            continue
        end = max(start, end)
        result[each] = numbers[start:end]
        trace.count((1, index), numbers[:start])
        trace.count((2, index), numbers[:end])
    trace.give(node.outputs[0], result)
    return True


def transpose(node: ir.Node, trace: Trace) -> bool:
    """S5."""
    axes = _source(node, trace)
    if axes is None:
        return False
    order = ints_attribute(node, "perm", tuple(range(len(axes)))[::-1])
    trace.give(node.outputs[0], [axes[each] for each in order])
    return True


def squeeze(node: ir.Node, trace: Trace) -> bool:
    """S5. Which axes go is seen from the sizes where it is not said."""
    axes = _source(node, trace)
    said = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or said is None:
        return False
    gone = {int(each) % len(axes) for each in said.ravel()}
    for each in gone:
        trace.pin(axes[each], f"{node.name} needs the axis to have one of them")
    trace.give(node.outputs[0], [axis for index, axis in enumerate(axes) if index not in gone])
    return True


def unsqueeze(node: ir.Node, trace: Trace) -> bool:
    """S5."""
    axes = _source(node, trace)
    said = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or said is None:
        return False
    count = len(axes) + said.size
    new, old = {int(each) % count for each in said.ravel()}, iter(axes)
    trace.give(node.outputs[0], [None if index in new else next(old) for index in range(count)])
    return True


def expand(node: ir.Node, trace: Trace) -> bool:
    """S5. The wanted shape counts channels where it names them."""
    axes = _source(node, trace)
    wanted = constant(node.inputs[1])
    if axes is None or wanted is None:
        return False
    sizes = trace.sizes(node.inputs[0]) if node.inputs[0] is not None else ()
    lead = max(wanted.size - len(axes), 0)
    for index, axis in enumerate(axes):
        place = index + wanted.size - len(axes)
        if axis is None or place < 0 or int(wanted.ravel()[place]) == 1:
            continue
        if int(wanted.ravel()[place]) != sizes[index]:
            trace.pin(axis, f"{node.name} spreads it over other channels")
        else:
            trace.count((1, place), axis)
    trace.give(node.outputs[0], (*(None for _ in range(lead)), *axes))
    return True


def tile(node: ir.Node, trace: Trace) -> bool:
    """S5."""
    axes = _source(node, trace)
    repeats = constant(node.inputs[1])
    if axes is None or repeats is None:
        return False
    result: list[Axis] = []
    for axis, times in zip(axes, repeats.ravel(), strict=True):
        if int(times) != 1:
            trace.pin(axis, f"{node.name} repeats it")
        result.append(axis if int(times) == 1 else None)
    trace.give(node.outputs[0], result)
    return True


def pad(node: ir.Node, trace: Trace) -> bool:
    """S6."""
    axes = _source(node, trace)
    pads = constant(node.inputs[1])
    said = node.inputs[3] if len(node.inputs) > 3 else None
    along = constant(said) if said is not None and said.name else None
    if axes is None or pads is None or (said is not None and said.name and along is None):
        return False
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    order = [int(each) % len(axes) for each in (along.ravel() if along is not None else range(len(axes)))]
    result = list(axes)
    for index, each in enumerate(order):
        numbers = axes[each]
        before, after = int(pads.ravel()[index]), int(pads.ravel()[index + len(order)])
        if numbers is None or (before, after) == (0, 0):
            continue
        if mode != "constant" or before < 0 or after < 0:
            trace.pin(numbers, f"{node.name} makes new channels of it")
            result[each] = None
            continue
        first, last = trace.ties.fresh(before), trace.ties.fresh(after)
        result[each] = np.concatenate([first, numbers, last])
        trace.count((1, index), first)
        trace.count((1, index + len(order)), last)
    trace.give(node.outputs[0], result)
    return True


def resize(node: ir.Node, trace: Trace) -> bool:
    """S7. With ``sizes`` the number of channels is named, and counts."""
    axes = _source(node, trace)
    x, y = node.inputs[0], node.outputs[0]
    if axes is None or x is None or y.shape is None or "axes" in node.attributes:
        return False
    for name in ("keep_aspect_ratio_policy", "coordinate_transformation_mode"):
        if name in node.attributes and node.attributes[name].as_string() in {
            "not_larger",
            "not_smaller",
            "tf_crop_and_resize",
        }:
            return False
    named = node.inputs[3] if len(node.inputs) > 3 and node.inputs[3] and node.inputs[3].name else None
    if named is not None and constant(named) is None:
        return False
    result: list[Axis] = []
    for index, axis in enumerate(axes):
        same = trace.sizes(x)[index] == trace.sizes(y)[index]
        if not same:
            trace.pin(axis, f"{node.name} resizes along it")
        result.append(axis if same else None)
        if named is not None and same:
            trace.count((3, index), axis)
    trace.give(y, result)
    return True


def pooling(node: ir.Node, trace: Trace) -> bool:
    """S7. x: (batch, channels, ...)."""
    axes = _source(node, trace)
    if axes is None or any(output.uses() for output in node.outputs[1:]):
        return False
    for axis in axes[2:]:
        trace.pin(axis, f"{node.name} pools along it")
    trace.give(node.outputs[0], (*axes[:2], *(None for _ in axes[2:])))
    return True


def softmax(node: ir.Node, trace: Trace) -> bool:
    """S8."""
    axes = _source(node, trace)
    if axes is None:
        return False
    axis = int_attribute(node, "axis", -1) % len(axes)
    trace.pin(axes[axis], f"{node.name} is computed over all of them")
    trace.give(node.outputs[0], axes)
    return True


def normalization(node: ir.Node, trace: Trace) -> bool:
    """S8: LayerNormalization and RMSNormalization, from ``axis`` on."""
    axes = _source(node, trace)
    if axes is None or any(output.uses() for output in node.outputs[1:]):
        return False
    first = int_attribute(node, "axis", -1) % len(axes)
    own = [value for value in node.inputs[1:] if value is not None and value.name]
    if (
        trace.embedding_widths
        and first == len(axes) - 1
        and all(is_constant(value) and len(trace.sizes(value)) == 1 for value in own)
    ):
        for value in own:
            trace.meet(value, -1, axes[-1], f"the input of {node.name} stays")
        trace.give(node.outputs[0], axes)
        return True
    for axis in axes[first:]:
        trace.pin(axis, f"{node.name} takes mean and variance over all of them")
    for value in own:
        trace.pin_all(value, f"{node.name} is computed over all of them")
    trace.give(node.outputs[0], (*axes[:first], *(None for _ in axes[first:])))
    return True


def reduction(node: ir.Node, trace: Trace) -> bool:
    """S8. Axes that are not reduced pass."""
    axes = _source(node, trace)
    said = node.inputs[1] if len(node.inputs) > 1 and node.inputs[1] and node.inputs[1].name else None
    if is_onnx(node, "ArgMax", "ArgMin"):
        along: Sequence[int] | None = [int_attribute(node, "axis", 0)]
    elif said is not None:
        found = constant(said)
        along = None if found is None else [int(each) for each in found.ravel()]
    else:
        along = list(ints_attribute(node, "axes", ()))
    if axes is None or along is None:
        return False
    if not along and not int_attribute(node, "noop_with_empty_axes", 0):
        along = list(range(len(axes)))
    gone = {each % len(axes) for each in along}
    for each in gone:
        trace.pin(axes[each], f"{node.name} reduces all of them to one")
    kept = bool(int_attribute(node, "keepdims", 1))
    trace.give(
        node.outputs[0],
        [None if index in gone else axis for index, axis in enumerate(axes) if kept or index not in gone],
    )
    return True


def shape(node: ir.Node, trace: Trace) -> bool:
    """S9."""
    axes = _source(node, trace)
    if axes is None:
        return False
    start, end, _ = slice(int_attribute(node, "start", 0), int_attribute(node, "end", len(axes)), 1).indices(
        len(axes)
    )
    read = _read_of(node.outputs[0], end - start)
    for index in read:
        trace.pin(axes[start + index], f"{node.name} reads how many they are")
    trace.give(node.outputs[0], (None,))
    return True


def _read_of(value: ir.Value, count: int) -> set[int]:
    """Elements of a shape that its readers pick; all where that is not plain."""
    found: set[int] = set()
    for reader, _ in value.uses():
        picked = constant(reader.inputs[1]) if is_onnx(reader, "Gather") else None
        if picked is not None:
            found |= {int(each) % count for each in picked.ravel()}
            continue
        bounds = [constant(each) for each in reader.inputs[1:]] if is_onnx(reader, "Slice") else []
        if len(bounds) < 2 or any(each is None or math.prod(each.shape) != 1 for each in bounds):
            return set(range(count))
        start, end = (int(np.ravel(each)[0]) for each in bounds[:2] if each is not None)
        found |= set(range(*slice(start, end, 1).indices(count)))
    return set(range(count)) if value.is_graph_output() else found


RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_SEVERAL, several),
    **dict.fromkeys((*_REDUCED, "ArgMax", "ArgMin"), reduction),
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), pooling
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), normalization),
    "Concat": concat,
    "Split": split,
    "Slice": slices,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Resize": resize,
    "Shape": shape,
}
