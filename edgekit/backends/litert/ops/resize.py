"""Resize -> RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR, or GATHER of rows and columns.

For each spatial axis the source coordinates of all outputs are computed as ONNX says and as the kernel does
(tflite/kernels/internal/reference/resize_*.h); the kernel is used where all agree. Nearest in any other mode
is a GATHER with constant indices, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.step import Step
from edgekit.spec import Array

# (halfPixelCenters, alignCorners), the plain kernel first.
KERNEL_MODES = ((False, False), (True, False), (False, True))
SAME_COORDINATE = 1e-5  # of one source element; the kernels compute in float32


@dataclass(frozen=True, slots=True)
class _Axis:
    """One spatial axis: sizes, and the scale that ONNX uses (out / in, unless it is given)."""

    size: int
    out: int
    scale: float


def lower_resize(step: Step) -> None:
    """Resize over the spatial axes of a rank-4 tensor with fixed sizes."""
    axes = _axes(step)
    mode = str(step.attribute("mode", "nearest"))
    if step.attribute("antialias", 0) or step.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise step.refusal(
            "resize-mode", "Resize with antialias or a kept aspect ratio", "resize outside the model"
        )
    tensor = step.x(0)
    size = step.integers("size", [axis.out for axis in axes])
    if mode == "nearest":
        wanted = [_nearest(step, axis) for axis in axes]
        for half, corners in KERNEL_MODES:
            if all(
                np.array_equal(w, _kernel_nearest(a, half, corners))
                for w, a in zip(wanted, axes, strict=True)
            ):
                options = {"halfPixelCenters": half, "alignCorners": corners}
                step.result("RESIZE_NEAREST_NEIGHBOR", [tensor, size], options=options, scale_of=tensor)
                return
        _gather(step, tensor, wanted)
        return
    if mode != "linear":
        raise step.refusal("resize-mode", f"Resize with mode {mode!r}", "LiteRT resizes by nearest or linear")
    for half, corners in KERNEL_MODES:
        if all(
            np.allclose(_coordinates(step, a), _kernel_linear(a, half, corners), rtol=0, atol=SAME_COORDINATE)
            for a in axes
        ):
            options = {"halfPixelCenters": half, "alignCorners": corners}
            step.result("RESIZE_BILINEAR", [tensor, size], options=options, scale_of=tensor)
            return
    raise step.refusal(
        "resize-coordinates",
        f"linear Resize in mode {step.attribute('coordinate_transformation_mode', 'half_pixel')!r}",
        "use half_pixel, align_corners or asymmetric",
    )


def _axes(step: Step) -> list[_Axis]:
    x, out = step.operand(0), step.out
    if x.rank != 4 or x.shape[:2] != out.shape[:2]:
        raise step.refusal(
            "resize-axes", "Resize of other than two spatial axes", "resize (N, C, H, W) over H and W"
        )
    scales = constant(step.unit, 2, "scales")
    listed = [int(a) % 4 for a in step.attribute("axes", None) or range(4)]
    axes = []
    for axis in (2, 3):
        size, target = x.shape[axis], out.shape[axis]
        if not isinstance(size, int) or not isinstance(target, int):
            raise step.refusal("dynamic-resize", "Resize of a dynamic size", "fix the spatial sizes")
        given = scales is not None and scales.size and axis in listed
        scale = float(scales[listed.index(axis)]) if given and scales is not None else target / size
        axes.append(_Axis(size, target, scale))
    return axes


def _coordinates(step: Step, axis: _Axis) -> Reals:
    """Source coordinate of each output, as ONNX Resize (opset 19) defines it, clamped to the axis."""
    mode = str(step.attribute("coordinate_transformation_mode", "half_pixel"))
    i = np.arange(axis.out, dtype=np.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and axis.out > 1):
        found = (i + 0.5) / axis.scale - 0.5
    elif mode == "pytorch_half_pixel":
        found = i * 0
    elif mode == "asymmetric":
        found = i / axis.scale
    elif mode == "align_corners":
        found = i * ((axis.size - 1) / (axis.out - 1)) if axis.out > 1 else i * 0
    elif mode == "half_pixel_symmetric":
        adjustment = axis.out / (axis.scale * axis.size)
        found = axis.size / 2 * (1 - adjustment) + (i + 0.5) / axis.scale - 0.5
    else:
        raise step.refusal(
            "resize-coordinates", f"Resize in mode {mode!r}", "use half_pixel or align_corners"
        )
    if str(step.attribute("mode", "nearest")) == "nearest":
        return found
    clamped: Reals = np.clip(found, 0, axis.size - 1)
    return clamped


def _nearest(step: Step, axis: _Axis) -> Array:
    coordinates = _coordinates(step, axis)
    rounding = str(step.attribute("nearest_mode", "round_prefer_floor"))
    if rounding == "floor":
        rounded = np.floor(coordinates)
    elif rounding == "ceil":
        rounded = np.ceil(coordinates)
    elif rounding == "round_prefer_ceil":
        rounded = np.floor(coordinates + 0.5)
    else:
        rounded = np.ceil(coordinates - 0.5)
    clipped: Array = np.clip(rounded, 0, axis.size - 1).astype(np.int32)
    return clipped


def _kernel_scale(axis: _Axis, corners: bool) -> np.float32:
    if corners and axis.out > 1:
        return np.float32(axis.size - 1) / np.float32(axis.out - 1)
    return np.float32(axis.size) / np.float32(axis.out)


def _kernel_nearest(axis: _Axis, half: bool, corners: bool) -> Array:
    scale, offset = _kernel_scale(axis, corners), np.float32(0.5 if half else 0.0)
    found = []
    for i in range(axis.out):
        at = np.float32((np.float32(i) + offset) * scale)
        index = floor(float(at) + 0.5) if corners else floor(at)
        found.append(min(max(index, 0), axis.size - 1))
    return np.asarray(found, np.int32)


def _kernel_linear(axis: _Axis, half: bool, corners: bool) -> Array:
    scale = float(_kernel_scale(axis, corners))
    i = np.arange(axis.out, dtype=np.float64)
    found = (i + 0.5) * scale - 0.5 if half else i * scale
    clamped: Array = np.clip(found, 0, axis.size - 1)
    return clamped


def _gather(step: Step, tensor: int, indices: list[Array]) -> None:
    """GATHER of rows, then of columns."""
    shape = list(step.shape(tensor))
    shape[1] = len(indices[0])
    rows = step.emit("GATHER", [tensor, step.constant("rows", indices[0])], tuple(shape), options={"axis": 1})
    step.result("GATHER", [rows, step.constant("columns", indices[1])], options={"axis": 2}, scale_of=tensor)


LOWERINGS = {"Resize": lower_resize}
