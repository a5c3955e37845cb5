"""Layouts: how a logical (ONNX) tensor lies in the file, and how a layout travels through an operator.

    stored axis i = logical axis perm[i]          channels-last for rank 4: perm = (0, 2, 3, 1)

A layout may also say that the last logical axis is a flattened block (C, *spatial) that is stored as
(*spatial, C): what Flatten makes of a channels-last tensor. A following matrix product then permutes the rows
of its weight instead of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, Dim


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the logical axes lie.

    Attributes:
        perm: logical axis of each stored axis.
        flat: sizes (C, *spatial) of the last logical axis if it is stored as (*spatial, C); else ().
    """

    perm: tuple[int, ...]
    flat: tuple[int, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether the stored tensor is the logical tensor."""
        return not self.flat and self.perm == tuple(range(len(self.perm)))

    def shape(self, logical: Shape) -> Shape:
        """Stored shape of a tensor of ``logical`` shape."""
        return tuple(logical[axis] for axis in self.perm)

    def axis(self, logical: int) -> int:
        """Stored axis of a logical axis."""
        return self.perm.index(logical)

    def store(self, array: Array) -> Array:
        """The elements of a logical array in stored order."""
        if self.flat:
            return array if array.shape[-1] == 1 else array[..., flat_order(self.flat)]
        return np.transpose(array, self.perm)


def identity(rank: int) -> Layout:
    """The layout in which the file has the ONNX order."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """(N, C, *spatial) stored as (N, *spatial, C); the identity below rank 3."""
    return identity(rank) if rank < 3 else Layout((0, *range(2, rank), 1))


def flat_order(flat: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Index into the logical last axis, for each stored index: (C, *spatial) read as (*spatial, C)."""
    grid = np.arange(prod(flat)).reshape(tuple(flat))
    return np.moveaxis(grid, 0, -1).reshape(-1)


def flattened(rank: int, flat: tuple[int, ...]) -> Layout:
    """The layout of a flattened block; plain where the order makes no difference."""
    trivial = flat[0] == 1 or prod(flat[1:]) == 1
    return identity(rank) if trivial else Layout(tuple(range(rank)), flat)


def same_storage(shape: Shape, a: Layout, b: Layout) -> bool:
    """Whether the bytes are equal, though the stored shapes may differ by axes of size 1."""
    if a.flat != b.flat:
        return False
    return [i for i in a.perm if shape[i] != 1] == [i for i in b.perm if shape[i] != 1]


def through_transpose(layout: Layout, perm: Sequence[int]) -> Layout | None:
    """Layout of Transpose's output for which nothing moves: output axis j = input axis perm[j]."""
    if layout.flat:
        return None
    where = {source: axis for axis, source in enumerate(perm)}
    return Layout(tuple(where[axis] for axis in layout.perm))


def before_transpose(layout: Layout, perm: Sequence[int]) -> Layout | None:
    """The input layout for which ``through_transpose`` gives ``layout``."""
    return None if layout.flat else Layout(tuple(perm[axis] for axis in layout.perm))


def without_axes(layout: Layout, axes: Sequence[int]) -> Layout | None:
    """Layout after the logical ``axes`` are removed."""
    if layout.flat:
        return None
    kept = [axis for axis in range(len(layout.perm)) if axis not in axes]
    number = {axis: index for index, axis in enumerate(kept)}
    return Layout(tuple(number[axis] for axis in layout.perm if axis in number))


Block = tuple[tuple[int, ...], tuple[int, ...]]
"""Input axes and output axes that hold the same elements; all sizes in it differ from 1."""


def reshape_blocks(before: Shape, after: Shape) -> list[Block] | None:
    """Split a reshape into the smallest runs of axes with equal products; None where that is not known.

    Axes of size 1 belong to no block. A dynamic size only matches a dynamic size, one to one.
    """
    left = [axis for axis, dim in enumerate(before) if dim != 1]
    right = [axis for axis, dim in enumerate(after) if dim != 1]
    blocks: list[Block] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = [left[i]], [right[j]]
        x, y = before[left[i]], after[right[j]]
        i, j = i + 1, j + 1
        if not isinstance(x, int) or not isinstance(y, int):
            if isinstance(x, int) or isinstance(y, int):
                return None
            blocks.append(((a[0],), (b[0],)))
            continue
        while x != y:
            side, axes, index = (left, a, i) if x < y else (right, b, j)
            if index >= len(side):
                return None
            dim: Dim = (before if side is left else after)[side[index]]
            if not isinstance(dim, int):
                return None
            axes.append(side[index])
            if side is left:
                x, i = x * dim, i + 1
            else:
                y, j = y * dim, j + 1
        blocks.append((tuple(a), tuple(b)))
    return blocks if i == len(left) and j == len(right) else None


def through_reshape(layout: Layout, before: Shape, after: Shape) -> Layout | None:
    """Layout of a reshape's output for which the stored bytes stay as they are; None if there is none."""
    if layout.is_identity or same_storage(before, layout, identity(len(before))):
        return identity(len(after))
    blocks = reshape_blocks(before, after)
    if blocks is None:
        return None
    if layout.flat:
        last = blocks[-1]
        same = len(last[0]) == len(last[1]) == 1 and last[1][0] == len(after) - 1
        return flattened(len(after), layout.flat) if same else None
    stored = [axis for axis in layout.perm if before[axis] != 1]
    order: list[int] = []
    rest = list(stored)
    while rest:
        index = next(n for n, block in enumerate(blocks) if rest[0] in block[0])
        size = len(blocks[index][0])
        if tuple(rest[:size]) != blocks[index][0]:
            return _through_flatten(stored, before, after, blocks)
        order.append(index)
        rest = rest[size:]
    axes = [axis for index in order for axis in blocks[index][1]]
    return Layout(_with_ones(axes, after))


def _through_flatten(stored: list[int], before: Shape, after: Shape, blocks: list[Block]) -> Layout | None:
    """The case in which the last block (C, *spatial) is stored as (*spatial, C) and becomes one axis."""
    sources, results = blocks[-1]
    leading = [axis for block in blocks[:-1] for axis in block[0]]
    if len(results) != 1 or results[0] != len(after) - 1 or stored != [*leading, *sources[1:], sources[0]]:
        return None
    sizes = [before[axis] for axis in sources]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return flattened(len(after), tuple(size for size in sizes if isinstance(size, int)))


def _with_ones(axes: list[int], shape: Shape) -> tuple[int, ...]:
    """Insert the axes of size 1: into the plain order or channels-last if that is it, else in front."""
    for candidate in (identity(len(shape)), channels_last(len(shape))):
        if [axis for axis in candidate.perm if shape[axis] != 1] == axes:
            return candidate.perm
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    return (*ones, *axes)
