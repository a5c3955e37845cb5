"""Additive masks of attention -> the same masks inside half precision: -1e9 and -3.4e38 become MASKED.

    softmax(scores + mask)    mask = 0 where a position counts, a huge negative number where it does not

exp(MASKED + 2 * SCORES) is 0 in every float type, so the softmax is the same as long as scores stay within
SCORES; a float16 mask of -1e9 would be -inf, and a row that is masked everywhere NaN. A row like that stays
what it is in float32, uniform, where scores are below 16: they vanish beside MASKED as well, whose neighbours
in binary16 are 32 apart.

M1 the constant is a branch of Where, which chooses it or 0
M2 it is multiplied with values that calibration saw inside [0, 1]
M3 it is the mask itself
In each case what comes of it must be added to scores and be read by nothing but Softmax behind that.

Source: IEEE 754 binary16; Hugging Face transformers and BERT (Devlin et al. 2018) for the two constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, is_float32, is_onnx
from edgekit.quantization.float16_range import HEADROOM, LARGEST
from edgekit.spec import Range

MASKED = -49152.0  # -1.5 * 2**15: the coarsest steps that binary16 has, and room for scores below
SCORES = 8192.0  # what scores may reach: half of that room
_MOVES = ("Unsqueeze", "Squeeze", "Expand", "Reshape", "Transpose", "Slice", "Identity")


def saturate_masks(
    model: ir.Model, ranges: Mapping[str, Range] | None
) -> tuple[tuple[str, ...], Mapping[str, Range] | None]:
    """Replace the constants of masks in place.

    Args:
        model: the caller's own.
        ranges: by value name, of the model as it was; without them M2 is left alone.

    Returns:
        names of the constants that were replaced, and the ranges of the model as it is now.
    """
    found: list[str] = []
    now = dict(ranges or {})
    for name, value in tuple(model.graph.initializers.items()):
        array = constant(value) if is_float32(value) else None
        if array is None or not array.size:
            continue
        low = float(array.min())
        if not np.isfinite(low) or low >= -HEADROOM * LARGEST or float(array.max()) > 0:
            continue
        path = _path(value, now, ranged=ranges is not None)
        if path is None:
            continue
        narrow = add_initializer(model.graph, f"{name}_masked", np.maximum(array, np.float32(MASKED)))
        for node, index in tuple(value.uses()):
            node.replace_input_with(index, narrow)
        found.append(name)
        for each in path:
            if each.name in now:
                seen = now[each.name or ""]
                # bounded by MASKED - SCORES whatever the data are: it needs no headroom
                now[each.name or ""] = Range(max(seen.low, -HEADROOM * LARGEST), seen.high)
    return tuple(found), None if ranges is None else now


def _path(value: ir.Value, ranges: Mapping[str, Range], *, ranged: bool) -> list[ir.Value] | None:
    """Every value between the constant and the softmaxes that read it; None where M1 to M3 do not hold."""
    path: list[ir.Value] = [value]
    for node, _ in value.uses():
        if is_onnx(node, "Where"):  # M1
            other = node.inputs[2] if node.inputs[1] is value else node.inputs[1]
            array = constant(other)
            if array is None or array.size != 1 or float(array.reshape(-1)[0]) != 0.0:
                return None
            masks = [node.outputs[0]]
        elif is_onnx(node, "Mul"):  # M2
            other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
            seen = ranges.get(other.name or "") if other is not None else None
            if not ranged or seen is None or seen.low < 0 or seen.high > 1:
                return None
            masks = [node.outputs[0]]
        elif is_onnx(node, "Add"):  # M3
            masks = [value]
        else:
            return None
        for mask in masks:
            behind = _sums(mask, ranges)
            if behind is None:
                return None
            path += behind
    return path if len(path) > 1 else None


def _sums(mask: ir.Value, ranges: Mapping[str, Range]) -> list[ir.Value] | None:
    """``mask``, its moved copies and the sums with scores; None where anything but Softmax reads one."""
    found = []
    for value in _moved(mask):
        if value.is_graph_output():
            return None
        found.append(value)
        for node, _ in value.uses():
            if is_onnx(node, *_MOVES):
                continue
            if not is_onnx(node, "Add"):
                return None
            other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
            seen = ranges.get(other.name or "") if other is not None else None
            if seen is not None and max(-seen.low, seen.high) > SCORES:
                return None
            total = node.outputs[0]
            if total.is_graph_output() or not all(is_onnx(reader, "Softmax") for reader, _ in total.uses()):
                return None
            found.append(total)
    return found if any(True for _ in found) else None


def _moved(value: ir.Value) -> Iterator[ir.Value]:
    yield value
    for node, _ in value.uses():
        if is_onnx(node, *_MOVES) and node.inputs[0] is value:
            yield from _moved(node.outputs[0])
