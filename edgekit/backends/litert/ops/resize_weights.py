"""One axis of an ONNX Resize -> source coordinates, source indices, or a matrix of weights (out, in).

    out = W x along the axis: W[i, j] = f((j - x_i) s) / sum_j f((j - x_i) s)

    linear: f(d) = max(1 - |d|, 0)          cubic: Keys' kernel with coefficient a
    s = min(scale, 1) with antialias, else 1
    j outside of the axis counts for its border, or not at all with exclude_outside

Source: ONNX Resize-19 and its reference implementation (onnx/reference/ops/op_resize.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.spec import Array


@dataclass(frozen=True, slots=True)
class ResizedAxis:
    """One axis: sizes, the scale that ONNX uses (out / in, unless it is given), region of interest."""

    axis: int
    size: int
    out: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


def coordinates(axis: ResizedAxis, mode: str) -> Reals | None:
    """Source coordinate of each output element; None for a mode that ONNX does not have."""
    i = np.arange(axis.out, dtype=np.float64)
    last = axis.size - 1
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and axis.out > 1):
        return (i + 0.5) / axis.scale - 0.5
    if mode == "pytorch_half_pixel":
        return i * 0
    if mode == "asymmetric":
        return i / axis.scale
    if mode == "align_corners":
        return i * (last / (axis.out - 1)) if axis.out > 1 else i * 0
    if mode == "half_pixel_symmetric":
        adjustment = axis.out / (axis.scale * axis.size)
        return axis.size / 2 * (1 - adjustment) + (i + 0.5) / axis.scale - 0.5
    if mode == "tf_crop_and_resize":
        start, end = axis.region
        if axis.out == 1:
            return i * 0 + 0.5 * (start + end) * last
        return start * last + i * (end - start) * last / (axis.out - 1)
    return None


def nearest(axis: ResizedAxis, at: Reals, rounding: str) -> Array:
    """Source index of each output element."""
    if rounding == "floor":
        rounded = np.floor(at)
    elif rounding == "ceil":
        rounded = np.ceil(at)
    elif rounding == "round_prefer_ceil":
        rounded = np.floor(at + 0.5)
    else:
        rounded = np.ceil(at - 0.5)
    found: Array = np.clip(rounded, 0, axis.size - 1).astype(np.int32)
    return found


def weights(
    axis: ResizedAxis, at: Reals, *, cubic: float | None, antialias: bool, exclude_outside: bool
) -> Reals:
    """(out, in); ``cubic`` is the coefficient a, or None for linear."""
    stretch = min(axis.scale, 1.0) if antialias else 1.0
    reach = ceil((1 if cubic is None else 2) / stretch) + 1
    matrix: Reals = np.zeros((axis.out, axis.size))
    for row, x in enumerate(at):
        j = np.arange(int(np.floor(x)) - reach, int(np.floor(x)) + reach + 1)
        distance = np.abs(j - x) * stretch
        weight = np.maximum(1 - distance, 0) if cubic is None else _keys(distance, cubic)
        if exclude_outside:
            weight = np.where((j < 0) | (j >= axis.size), 0.0, weight)
        np.add.at(matrix[row], np.clip(j, 0, axis.size - 1), weight / weight.sum())
    return matrix


def _keys(d: Reals, a: float) -> Reals:
    """Keys, Cubic Convolution Interpolation (1981), equation 4, for distances d >= 0."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def outside(axis: ResizedAxis, at: Reals) -> Array:
    """Which output elements lie outside of the input."""
    found: Array = (at < 0) | (at > axis.size - 1)
    return found
