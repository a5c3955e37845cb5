"""GridSample, AffineGrid -> GATHER of the neighbours of each point, weighted.

    place = ((g + 1) size - 1) / 2, or (g + 1) (size - 1) / 2 with align_corners        g in [-1, 1]
    linear: two neighbours along each axis, weights 1 - d and d      cubic: four, Keys' kernel with a = -0.75
    nearest: one, rounded to even

    zeros: a neighbour outside counts 0        border: the place, or a cubic neighbour, is clamped
    reflection: it is mirrored at the outer edges of the elements, or at their centres with align_corners

Source: ONNX GridSample-20 and AffineGrid-20. Stored: x as (N * prod(spatial), C), one row for each point.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.step import Step

CUBIC_A = -0.75  # ONNX GridSample-20: cubic_coeff_a of the reference implementation


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """Along one axis: index (int32, inside), weight (or None for 1), and whether it is inside (or None)."""

    index: int
    weight: int | None
    inside: int | None


def lower_grid_sample(step: Step) -> None:
    """GridSample over two or three spatial axes."""
    t = Terms(step)
    sizes = static(step.operand(0).shape, "GridSample")
    points = static(step.operand(1).shape, "GridSample")
    batch, channels, spatial = sizes[0], sizes[1], sizes[2:]
    count = prod(points[1:-1])
    last = t.rank(step.x(0))
    x = t.transpose(step.x(0), (0, *range(2, last), 1))
    rows = t.reshape(x, (batch * prod(spatial), channels))
    grid = t.reshape(step.x(1), (batch, count, len(spatial)))
    axes = []
    for axis, size in enumerate(spatial):  # the grid counts from the last axis
        place = t.take(grid, 2, len(spatial) - 1 - axis)
        axes.append(_neighbours(t, place, size))
    total = _weighted(t, rows, axes, spatial=spatial, batch=batch)
    moved = t.transpose(
        t.reshape(total, (batch, *points[1:-1], channels)), (0, last - 1, *range(1, last - 1))
    )
    t.finish(moved)


def _weighted(
    t: Terms, rows: int, axes: list[list[_Neighbour]], *, spatial: tuple[int, ...], batch: int
) -> int:
    """The sum over all combinations of neighbours: (batch, points, channels)."""
    start = t.const(np.arange(batch)[:, None] * prod(spatial), "int32")
    total = None
    for corner in itertools.product(*axes):
        position = start
        for axis, neighbour in enumerate(corner):
            stride = prod(spatial[axis + 1 :])
            position = t.add(position, t.mul(neighbour.index, t.const(stride, "int32")))
        value = t.gather(rows, position, 0)
        for neighbour in corner:
            for factor in (neighbour.weight, neighbour.inside):
                if factor is not None:
                    value = t.mul(value, t.reshape(factor, (*t.shape(factor), 1)))
        total = value if total is None else t.add(total, value)
    if total is None:
        raise t.step.refusal("spatial-axes", "GridSample without spatial axes", "check the model")
    return total


def _neighbours(t: Terms, grid: int, size: int) -> list[_Neighbour]:
    corners = bool(t.step.attribute("align_corners", 0))
    mode = str(t.step.attribute("mode", "linear"))
    padding = str(t.step.attribute("padding_mode", "zeros"))
    half = (size - 1) / 2 if corners else size / 2
    place = t.shift(t.scale(grid, half), (size - 1) / 2)
    if mode in {"cubic", "bicubic"}:
        low = t.unary("FLOOR", place)
        return [
            _at(t, t.shift(low, k), size, padding, weight=_keys(t, t.sub(place, t.shift(low, k))))
            for k in (-1, 0, 1, 2)
        ]
    if padding == "border":
        place = t.clamp(place, 0.0, size - 1.0)
    elif padding == "reflection":
        place = _reflected(t, place, size, corners)
    if mode == "nearest":
        return [_at(t, t.unary("ROUND", place), size, padding, weight=None)]
    low = t.unary("FLOOR", place)
    upper = t.sub(place, low)
    lower = t.sub(t.const(1.0), upper)
    return [_at(t, low, size, padding, weight=lower), _at(t, t.shift(low, 1.0), size, padding, weight=upper)]


def _at(t: Terms, place: int, size: int, padding: str, *, weight: int | None) -> _Neighbour:
    """A neighbour at a whole ``place``, brought inside."""
    inside = None
    if padding == "reflection":
        place = _reflected(t, place, size, bool(t.step.attribute("align_corners", 0)))
    clamped = t.clamp(place, 0.0, size - 1.0)
    if padding == "zeros":
        inside = t.cast(t.compare("EQUAL", clamped, place), "float32")
    return _Neighbour(t.cast(t.unary("ROUND", clamped), "int32"), weight, inside)


def _reflected(t: Terms, place: int, size: int, corners: bool) -> int:
    """Mirrored into [0, size - 1], or into [-0.5, size - 0.5]."""
    low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
    if span == 0.0:
        return t.scale(place, 0.0)
    period = t.const(2 * span)
    phase = t.binary("FLOOR_MOD", t.unary("ABS", t.shift(place, -low)), period)
    mirrored = t.minimum(phase, t.sub(period, phase))
    return t.shift(mirrored, low)


def _keys(t: Terms, distance: int) -> int:
    """Keys' kernel for distances below 2 on either side."""
    d, a = t.unary("ABS", distance), CUBIC_A
    near = t.shift(t.mul(t.mul(t.shift(t.scale(d, a + 2), -(a + 3)), d), d), 1.0)
    far = t.shift(t.mul(t.shift(t.mul(t.shift(t.scale(d, a), -5 * a), d), 8 * a), d), -4 * a)
    return t.select(t.compare("LESS_EQUAL", d, t.const(1.0)), near, far)


def lower_affine_grid(step: Step) -> None:
    """AffineGrid: constant homogeneous points times the transposed theta; the size is that of the output."""
    t = Terms(step)
    *spatial, dims = static(step.out.shape, "AffineGrid")[1:]
    corners = bool(step.attribute("align_corners", 0))
    lines = [
        np.linspace(-1, 1, size) if corners else (2 * np.arange(size) + 1) / size - 1 for size in spatial
    ]
    grid = np.meshgrid(*lines, indexing="ij")[::-1]
    points = np.stack([*(part.reshape(-1) for part in grid), np.ones(prod(spatial))], axis=-1)
    batch = static(step.operand(0).shape, "AffineGrid")[0]
    whole = np.broadcast_to(points.astype(np.float32), (batch, *points.shape))
    product = t.matmul(t.const(whole), step.x(0), adjoint=True)
    t.finish(t.reshape(product, (batch, *spatial, dims)))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "AffineGrid": lower_affine_grid,
    "GridSample": lower_grid_sample,
}
