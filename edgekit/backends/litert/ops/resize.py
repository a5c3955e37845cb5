"""Resize -> RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR, GATHER along axes, or a matrix product along axes.

For each spatial axis the source coordinates of all outputs are computed as ONNX says and as the kernel does
(tflite/kernels/internal/reference/resize_*.h).

R1 all agree: the kernel                     R2 nearest: GATHER with constant indices along each axis
R3 linear, cubic, antialias: the constant weights of each axis as FULLY_CONNECTED (``ops.resize_weights``)
R4 tf_crop_and_resize: as R2 or R3, and the extrapolation value where a coordinate is outside
"""

from __future__ import annotations

from math import floor

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.ops.resize_weights import ResizedAxis, coordinates, nearest, outside, weights
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step
from edgekit.spec import Array

# (halfPixelCenters, alignCorners), the plain kernel first.
KERNEL_MODES = ((False, False), (True, False), (False, True))
SAME_COORDINATE = 1e-5  # of one source element; the kernels compute in float32
MODES = frozenset({"nearest", "linear", "cubic"})


def lower_resize(step: Step) -> None:
    """Resize, cases R1 to R4, over any axes of fixed size."""
    axes = _axes(step)
    mode = str(step.attribute("mode", "nearest"))
    where = str(step.attribute("coordinate_transformation_mode", "half_pixel"))
    if step.unit.op == "Upsample":
        where = "asymmetric"
    if mode not in MODES:
        raise step.refusal("resize-mode", f"Resize with mode {mode!r}", f"use one of {', '.join(MODES)}")
    at = [_at(step, axis, where) for axis in axes]
    if mode == "nearest":
        rounding = "floor" if step.unit.op == "Upsample" else "round_prefer_floor"
        rounding = str(step.attribute("nearest_mode", rounding))
        rows = [nearest(axis, x, rounding) for axis, x in zip(axes, at, strict=True)]
        if where == "tf_crop_and_resize" or not _nearest_kernel(step, axes, rows):
            _gathered(step, axes, at, rows, crops=where == "tf_crop_and_resize")
        return
    plain = mode == "linear" and not step.attribute("antialias", 0) and where != "tf_crop_and_resize"
    if not plain or not _linear_kernel(step, axes, at):
        _weighted(step, axes, at, cubic=mode == "cubic", crops=where == "tf_crop_and_resize")


def _axes(step: Step) -> list[ResizedAxis]:
    """The axes that change, or that a region of interest cuts."""
    x, out = step.operand(0), step.out
    index = 1 if step.unit.op == "Upsample" else 2
    scales = constant(step.unit, index, "scales")
    region = constant(step.unit, 1, "roi") if step.unit.op == "Resize" else None
    listed = [int(a) % x.rank for a in step.attribute("axes", None) or range(x.rank)]
    ratios = _common_scale(step, listed)
    axes = []
    for axis in range(x.rank):
        size, target = x.shape[axis], out.shape[axis]
        place = listed.index(axis) if axis in listed else None
        given = scales is not None and scales.size and place is not None
        cut_out = region is not None and region.size and place is not None
        scaled = given and scales is not None and float(scales[place or 0]) != 1.0
        if size == target and not scaled and not cut_out:
            continue
        if not isinstance(size, int) or not isinstance(target, int):
            if size == target:
                continue
            raise step.refusal("dynamic-resize", "Resize of a dynamic size", "fix the spatial sizes")
        scale = float(scales[place or 0]) if given and scales is not None else ratios or target / size
        cut = (0.0, 1.0)
        if region is not None and region.size and place is not None:
            cut = (float(region[place]), float(region[len(listed) + place]))
        axes.append(ResizedAxis(axis, size, target, scale, cut))
    return axes


def _common_scale(step: Step, listed: list[int]) -> float | None:
    """keep_aspect_ratio_policy: one scale for all axes, from the sizes (input 3)."""
    policy = str(step.attribute("keep_aspect_ratio_policy", "stretch"))
    sizes = constant(step.unit, 3, "sizes") if step.unit.op == "Resize" else None
    if policy == "stretch" or sizes is None or not sizes.size:
        return None
    have = static(tuple(step.operand(0).shape[axis] for axis in listed), "Resize")
    ratios = [int(size) / old for size, old in zip(sizes, have, strict=True)]
    return min(ratios) if policy == "not_larger" else max(ratios)


def _at(step: Step, axis: ResizedAxis, where: str) -> Reals:
    found = coordinates(axis, where)
    if found is None:
        raise step.refusal(
            "resize-coordinates", f"Resize in mode {where!r}", "use half_pixel or align_corners"
        )
    return found


# R1 ------------------------------------------------------------------------------------------------------


def _spatial(step: Step, axes: list[ResizedAxis]) -> list[ResizedAxis] | None:
    """Height and width of a channels-last (N, H, W, C); None where other axes change too."""
    x = step.operand(0)
    if x.rank != 4 or step.label.perm != (0, 2, 3, 1) or any(axis.axis < 2 for axis in axes):
        return None
    by_axis = {axis.axis: axis for axis in axes}
    found = []
    for axis in (2, 3):
        size = x.shape[axis]
        if axis not in by_axis and not isinstance(size, int):
            return None
        found.append(by_axis.get(axis) or ResizedAxis(axis, int(size or 1), int(size or 1), 1.0))
    return found


def _nearest_kernel(step: Step, axes: list[ResizedAxis], rows: list[Array]) -> bool:
    spatial = _spatial(step, axes)
    if spatial is None:
        return False
    wanted = {axis.axis: row for axis, row in zip(axes, rows, strict=True)}
    for half, corners in KERNEL_MODES:
        if all(
            np.array_equal(wanted.get(axis.axis, np.arange(axis.size)), _kernel_nearest(axis, half, corners))
            for axis in spatial
        ):
            _emit_kernel(step, "RESIZE_NEAREST_NEIGHBOR", spatial, half, corners)
            return True
    return False


def _linear_kernel(step: Step, axes: list[ResizedAxis], at: list[Reals]) -> bool:
    spatial = _spatial(step, axes)
    if spatial is None:
        return False
    wanted = {axis.axis: np.clip(x, 0, axis.size - 1) for axis, x in zip(axes, at, strict=True)}
    for half, corners in KERNEL_MODES:
        if all(
            np.allclose(
                wanted.get(axis.axis, np.arange(axis.size)),
                _kernel_linear(axis, half, corners),
                rtol=0,
                atol=SAME_COORDINATE,
            )
            for axis in spatial
        ):
            _emit_kernel(step, "RESIZE_BILINEAR", spatial, half, corners)
            return True
    return False


def _emit_kernel(step: Step, code: str, spatial: list[ResizedAxis], half: bool, corners: bool) -> None:
    tensor = step.x(0)
    size = step.integers("size", [axis.out for axis in spatial])
    options = {"halfPixelCenters": half, "alignCorners": corners}
    step.result(code, [tensor, size], options=options, scale_of=tensor)


def _kernel_scale(axis: ResizedAxis, corners: bool) -> np.float32:
    if corners and axis.out > 1:
        return np.float32(axis.size - 1) / np.float32(axis.out - 1)
    return np.float32(axis.size) / np.float32(axis.out)


def _kernel_nearest(axis: ResizedAxis, half: bool, corners: bool) -> Array:
    scale, offset = _kernel_scale(axis, corners), np.float32(0.5 if half else 0.0)
    found = []
    for i in range(axis.out):
        at = np.float32((np.float32(i) + offset) * scale)
        index = floor(float(at) + 0.5) if corners else floor(at)
        found.append(min(max(index, 0), axis.size - 1))
    return np.asarray(found, np.int32)


def _kernel_linear(axis: ResizedAxis, half: bool, corners: bool) -> Array:
    scale = float(_kernel_scale(axis, corners))
    i = np.arange(axis.out, dtype=np.float64)
    found = (i + 0.5) * scale - 0.5 if half else i * scale
    clamped: Array = np.clip(found, 0, axis.size - 1)
    return clamped


# R2, R3, R4 ----------------------------------------------------------------------------------------------


def _gathered(
    step: Step, axes: list[ResizedAxis], at: list[Reals], rows: list[Array], *, crops: bool
) -> None:
    t, x = Terms(step), step.x(0)
    for axis, row in zip(axes, rows, strict=True):
        x = t.rows(x, row, step.label.axis(axis.axis))
    t.finish(_with_border(step, t, x, axes, at) if crops else x)


def _weighted(step: Step, axes: list[ResizedAxis], at: list[Reals], *, cubic: bool, crops: bool) -> None:
    if step.unit.is_integer or step.operand(0).dtype != "float32":
        if step.unit.is_integer:
            raise FloatOnlyError("LiteRT has no int8 kernel for these coordinates")
        raise step.refusal(
            "resize-type",
            f"interpolating Resize of {step.operand(0).dtype}",
            "cast to float32 before it, and back behind it",
        )
    t, x = Terms(step), step.x(0)
    coefficient = float(step.attribute("cubic_coeff_a", -0.75)) if cubic else None
    for axis, places in zip(axes, at, strict=True):
        matrix = weights(
            axis,
            places,
            cubic=coefficient,
            antialias=bool(step.attribute("antialias", 0)),
            exclude_outside=bool(step.attribute("exclude_outside", 0)),
        )
        x = t.along(x, step.label.axis(axis.axis), matrix.astype(np.float32))
    t.finish(_with_border(step, t, x, axes, at) if crops else x)


def _with_border(step: Step, t: Terms, x: int, axes: list[ResizedAxis], at: list[Reals]) -> int:
    """R4."""
    rank = step.out.rank
    mask = np.zeros((1,) * rank, bool)
    for axis, places in zip(axes, at, strict=True):
        shape = [1] * rank
        shape[step.label.axis(axis.axis)] = axis.out
        mask = mask | outside(axis, places).reshape(shape)
    if not mask.any():
        return x
    if rank > 4:
        raise step.refusal("kernel-rank", "tf_crop_and_resize over more than 4 axes", "crop by Slice instead")
    value = t.like(float(step.attribute("extrapolation_value", 0.0)), x)
    return t.select(t.const(mask, "bool"), value, x)


LOWERINGS = {"Resize": lower_resize, "Upsample": lower_resize}
