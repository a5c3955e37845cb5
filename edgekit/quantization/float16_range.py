"""Node x calibrated ranges -> why its numbers do not fit into float16, or "".

    binary16: largest 65504, smallest with all its digits 6.1e-5, smallest at all 6e-8

F1 overflow: a constant above LARGEST, or a value that calibration saw above HEADROOM of it
F2 a constant that is small as a whole, as an epsilon is: it has few digits left, or becomes 0
F3 a value that is small as a whole, likewise
F4 a divisor, or what a root, a logarithm or a negative power is taken of, that comes near 0: the quotient has
   no more digits than it has
F5 a mean whose sum overflows where a kernel accumulates in float16, as GPUs of phones do

Weights of which only some are small are no case: what they add is small beside the others.

Source: IEEE 754 binary16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, is_float32, is_onnx, shape_of
from edgekit.spec import Range

LARGEST = 65504.0  # largest finite binary16
HEADROOM = 0.5  # values on new data may exceed what calibration saw
NORMAL = 2.0**-14  # smallest binary16 with 11 significant bits
_NEAR_ZERO = 2 * NORMAL  # new data may come nearer to 0
_DIVISORS = {"Div": 1, "Reciprocal": 0, "Sqrt": 0, "Log": 0}  # operator -> input
_MEANS = ("GlobalAveragePool", "ReduceMean", "ReduceSum")


def out_of_range(node: ir.Node, ranges: Mapping[str, Range] | None = None) -> str:
    """The first of F1 to F5 in words; "" where none holds. Without ranges F1 and F2 on constants alone."""
    return next(_reasons(node, ranges or {}), "")


def _reasons(node: ir.Node, ranges: Mapping[str, Range]) -> Iterator[str]:
    for value in node.inputs:
        array = constant(value) if is_float32(value) else None
        if value is None or array is None or not array.size:
            continue
        peak = float(np.abs(array).max())
        if np.isfinite(peak) and peak > LARGEST:  # F1
            yield f"constant {value.name!r} reaches {peak:.3g}, float16 ends at {LARGEST:g}"
        if 0 < peak < NORMAL:  # F2
            yield f"constant {value.name!r} is {peak:.3g} at most, float16 loses digits below {NORMAL:.2g}"
    for value in (*node.inputs, *node.outputs):
        found = None if value is None else ranges.get(value.name or "")
        if value is None or found is None:
            continue
        peak = max(-found.low, found.high)
        if peak > HEADROOM * LARGEST:  # F1
            yield f"{value.name!r} reaches {peak:.3g}, float16 ends at {LARGEST:g}"
        if 0 < peak < NORMAL:  # F3
            yield f"{value.name!r} is {peak:.3g} at most, float16 loses digits below {NORMAL:.2g}"
    yield from _near_zero(node, ranges)
    yield from _long_sum(node, ranges)


def _near_zero(node: ir.Node, ranges: Mapping[str, Range]) -> Iterator[str]:
    """F4."""
    index = _DIVISORS.get(node.op_type) if is_onnx(node, node.op_type) else None
    if is_onnx(node, "Pow"):
        exponent = constant(node.inputs[1])
        index = 0 if exponent is not None and np.all(exponent.astype(np.float64) < 0) else None
    if index is None:
        return
    value = node.inputs[index]
    found = ranges.get(value.name or "") if value is not None else None
    if value is None or found is None or found.low < 0 < found.high:
        return
    nearest = min(abs(found.low), abs(found.high))
    if 0 < nearest < _NEAR_ZERO:
        yield f"{value.name!r} comes as near to 0 as {nearest:.3g}, float16 loses digits below {NORMAL:.2g}"


def _long_sum(node: ir.Node, ranges: Mapping[str, Range]) -> Iterator[str]:
    """F5: the number of terms out of the shapes, where they are known."""
    if not is_onnx(node, *_MEANS):
        return
    source, result = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    value = node.inputs[0]
    found = ranges.get(value.name or "") if value is not None else None
    if source is None or result is None or found is None or value is None:
        return
    if None in source[1:] or None in result[1:]:
        return
    terms = math.prod(each or 1 for each in source[1:]) / math.prod(each or 1 for each in result[1:])
    mean = ranges.get(node.outputs[0].name or "")
    largest = max(-mean.low, mean.high) if mean is not None and not is_onnx(node, "ReduceSum") else 0.0
    if largest * terms > HEADROOM * LARGEST:
        yield (
            f"its sum of {terms:.0f} terms reaches {largest * terms:.3g} before it is divided, "
            f"float16 ends at {LARGEST:g}"
        )
