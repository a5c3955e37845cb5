"""Col2Im, CenterCropPad, Det -> SCATTER_ND, SLICE and PAD, products of minors.

Col2Im: every element of every block is added at its place in the image; what lies in the padding is cut
CenterCropPad: the middle of what is too long, zeros around what is too short; the odd one goes behind
Det: expansion along the first row, for matrices up to LARGEST_MATRIX
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import integers
from edgekit.backends.litert.step import Step

LARGEST_MATRIX = 4  # 40 products; the number grows with the factorial


def lower_col2im(step: Step) -> None:
    """Col2Im: (N, C * block, blocks) -> (N, C, *image)."""
    t = Terms(step)
    image = static(step.out.shape[2:], "Col2Im")
    block = integers(step.unit, 2, "block_shape") or (1,) * len(image)
    count = len(image)
    strides, rates = (
        [int(v) for v in step.attribute(name, None) or [1] * count] for name in ("strides", "dilations")
    )
    pads = [int(v) for v in step.attribute("pads", None) or [0] * (2 * count)]
    batch, channels = static(step.out.shape[:2], "Col2Im")
    whole = [size + pads[i] + pads[i + count] for i, size in enumerate(image)]
    places = np.zeros((1, 1), np.int64)  # (elements of a block, blocks)
    for i, size in enumerate(whole):
        steps = (size - ((block[i] - 1) * rates[i] + 1)) // strides[i] + 1
        grid = np.arange(block[i])[:, None] * rates[i] + np.arange(steps)[None, :] * strides[i]
        outer = places[:, None, :, None] * size + grid[None, :, None, :]
        places = outer.reshape(places.shape[0] * block[i], -1)
    area, outer_count = prod(whole), batch * channels
    every = np.arange(outer_count)[:, None, None] * area + places[None]
    inputs = [
        t.const(every.reshape(-1, 1), "int32"),
        t.flat(step.x(0)),
        t.const([outer_count * area], "int32"),
    ]
    flat = step.emit("SCATTER_ND", inputs, (outer_count * area,), dtype=t.dtype(step.x(0)))
    made = t.reshape(flat, (outer_count, *whole))
    for axis, size in enumerate(image, start=1):
        made = t.slice(made, axis, pads[axis - 1], pads[axis - 1] + size)
    t.finish(t.reshape(made, step.out.shape))


def lower_center_crop_pad(step: Step) -> None:
    """CenterCropPad to the inferred shape."""
    t, x = Terms(step), step.x(0)
    before, after = (static(shape, "CenterCropPad") for shape in (step.operand(0).shape, step.out.shape))
    amounts = []
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        start = max(old - new, 0) // 2
        x = t.slice(x, axis, start, start + min(old, new))
        missing = max(new - old, 0)
        amounts.append((missing // 2, missing - missing // 2))
    t.finish(t.pad(x, amounts))


def lower_det(step: Step) -> None:
    """Det of (*batch, n, n)."""
    t = Terms(step)
    *_, rows, columns = static(step.operand(0).shape[-2:], "Det")
    if rows > LARGEST_MATRIX:
        raise step.refusal("large-matrix", f"Det of {rows} x {columns}", f"use at most {LARGEST_MATRIX}")
    x = step.x(0)
    axis = t.rank(x) - 2
    cells = [[t.take(t.take(x, axis, i), axis, j) for j in range(columns)] for i in range(rows)]
    t.finish(_minor(t, cells, list(range(columns))))


def _minor(t: Terms, cells: list[list[int]], columns: list[int]) -> int:
    """Determinant of the last rows over ``columns``."""
    row = cells[len(cells) - len(columns)]
    if len(columns) == 1:
        return row[columns[0]]
    products = [
        t.mul(row[column], _minor(t, cells, [other for other in columns if other != column]))
        for column in columns
    ]
    total = products[0]
    for place, product in enumerate(products[1:], start=1):
        total = t.sub(total, product) if place % 2 else t.add(total, product)
    return total


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "CenterCropPad": lower_center_crop_pad,
    "Col2Im": lower_col2im,
    "Det": lower_det,
}
