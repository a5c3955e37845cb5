"""Windows of any rank, dilation and count -> one strided slice per window element, along one axis at a time.

    max over a box = max along the last axis of max along the one before ...      sums likewise

What the pools of TFLite do not hold: dilations, three and more spatial axes, sums of powers (LpPool). Values
are in the ONNX order, (N, C, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.ops.windows import Axis, Windows, windows_of
from edgekit.backends.litert.step import Step

Indices = npt.NDArray[np.int64]
Combine = Callable[[int, int], int]


def windows_over(step: Step) -> Windows:
    """The windows of a pool; every spatial size must be known."""
    x = step.operand(0)
    static(x.shape[2:], step.unit.op)
    return windows_of(step, x, tuple(int(k) for k in step.attribute("kernel_shape", ())))


def combined(t: Terms, x: int, windows: Windows, combine: Combine, *, fill: float) -> int:
    """``x`` (N, C, *spatial), padded with ``fill`` -> (N, C, *out) by ``combine`` over each window."""
    amounts = [(0, 0), (0, 0), *((axis.before, axis.needed_after) for axis in windows.axes)]
    x = t.pad(x, amounts, fill)
    for index, axis in enumerate(windows.axes, start=2):
        parts = [_shifted(t, x, index, axis, k) for k in range(axis.kernel)]
        x = parts[0]
        for part in parts[1:]:
            x = combine(x, part)
    return x


def _shifted(t: Terms, x: int, index: int, axis: Axis, element: int) -> int:
    """Element ``element`` of every window along one axis."""
    start = element * axis.dilation
    count = axis.out or 1
    return t.slice(x, index, start, start + (count - 1) * axis.stride + 1, axis.stride)


def counts(windows: Windows, *, include: bool) -> Reals:
    """(1, 1, *out): how many elements of each window ONNX counts in an average."""
    found: Reals = np.ones((1, 1))
    for axis in windows.axes:
        size, out = axis.size or 1, axis.out or 1
        start = np.arange(out)[:, None] * axis.stride - axis.before
        at = start + np.arange(axis.kernel)[None, :] * axis.dilation
        low, high = (-axis.before, size + axis.after) if include else (0, size)
        inside = ((at >= low) & (at < high)).sum(axis=1)
        found = np.multiply.outer(found, inside)
    return found


def element_indices(windows: Windows) -> Indices:
    """(outputs, window elements): flat position in the unpadded input of each element; -1 in the padding."""
    grids = []
    for axis in windows.axes:
        at = np.arange(axis.out or 1)[:, None] * axis.stride - axis.before
        grids.append(at + np.arange(axis.kernel)[None, :] * axis.dilation)
    sizes = [axis.size or 1 for axis in windows.axes]
    flat: Indices = np.zeros((1, 1), np.int64)
    valid: npt.NDArray[np.bool_] = np.ones((1, 1), np.bool_)
    for grid, size in zip(grids, sizes, strict=True):
        flat = flat[:, None, :, None] * size + grid[None, :, None, :]
        valid = valid[:, None, :, None] & ((grid >= 0) & (grid < size))[None, :, None, :]
        rows = flat.shape[0] * flat.shape[1]
        flat, valid = flat.reshape(rows, -1), valid.reshape(rows, -1)
    return np.where(valid, flat, -1)
