"""Tensors of a file with names of its own x values of the float model -> which stands for which, by numbers.

    likeness(t, v) = largest |correlation| over the layouts in which t has the shape of v
    pairs          = the sequence of (t, v), both in their orders, with the largest sum of likenesses

An artifact keeps the order of the model that it was made from, so the pairs are found like a longest common
subsequence. What is less alike than LEAST is not a pair.

Y1 the same shape                              Y2 channels last in the file, second in the model
Y3 Y1 or Y2 with a size of 1 more or less      Y4 any other order of the axes, where it is SURE and Y1 to Y3
                                                  are not (a compiler that swaps heads and positions)
Y5 branches have no order: what is left over is paired where it is SURE

Source: Needleman and Wunsch (1970), for the alignment of two sequences.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.spec import Array

SURE = 0.9  # of the correlation: int8 has more
MOST_AXES = 5  # 24 orders of those behind the batch
LEAST = 0.5  # of the correlation: an int8 tensor of a healthy model has 0.99, neighbours in a net 0.1
_TIE = 1e-4  # what an equal shape is worth: of a value and its Reshape, the one of the same shape


@dataclass(frozen=True)
class Layout:
    """How an array of the file becomes one of the reference: transpose by ``order``, then reshape."""

    order: tuple[int, ...] = ()
    reshaped: bool = False

    def applied(self, array: Array, shape: Sequence[int]) -> Array:
        """``array`` in the layout of the reference, whose array has ``shape``."""
        turned = array.transpose(self.order) if self.order else array
        return turned.reshape(tuple(shape)) if self.reshaped else turned


def layout(array: Array, reference: Array) -> Layout | None:
    """The layout in which ``array`` is most like ``reference``; None where no layout fits (Y1 to Y4)."""
    usual = _usual(array.shape, reference.shape)
    if len(usual) == 1 and usual[0].order == () and not usual[0].reshaped:
        return usual[0]

    def alike(each: Layout) -> float:
        return correlation(each.applied(array, reference.shape), reference)

    best = max(usual, key=alike, default=None)
    others = _others(array.shape, reference.shape)
    if others and (best is None or alike(best) < LEAST):
        other = max(others, key=alike)
        if alike(other) >= SURE:  # Y4: or else it is a value that is wrong
            return other
    return best


def _usual(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[Layout]:
    """Y1 and Y2; Y3 where neither fits."""
    axes = len(shape)
    orders: list[tuple[int, ...]] = [()]
    if axes >= 3:
        orders.append((0, axes - 1, *range(1, axes - 1)))
    turned = {order: tuple(shape[axis] for axis in order) or shape for order in orders}
    exact = [Layout(order) for order, sizes in turned.items() if sizes == wanted]
    if exact or not shape or not wanted or shape[0] != wanted[0]:
        return exact
    return [
        Layout(order, reshaped=True)
        for order, sizes in turned.items()
        if _without_ones(sizes[1:]) == _without_ones(wanted[1:])
    ]


def _others(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[Layout]:
    """Y4: every other order of the axes behind the batch that gives the shape."""
    if sorted(shape) != sorted(wanted) or not 3 <= len(shape) <= MOST_AXES or shape[0] != wanted[0]:
        return []
    orders = ((0, *rest) for rest in itertools.permutations(range(1, len(shape))))
    return [Layout(order) for order in orders if tuple(shape[axis] for axis in order) == wanted]


def _without_ones(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in sizes if size != 1)


def correlation(one: Array, other: Array) -> float:
    """Of all elements; 0 where one of them is constant."""
    a, b = (each.astype(np.float64).ravel() for each in (one, other))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / norm if norm > 0.0 else 0.0


def recognised(tensors: Mapping[str, Array], known: Mapping[str, Array]) -> dict[str, str]:
    """Name of a tensor -> name of the value that it stands for; both in order of computation."""
    likes = np.zeros((len(tensors) + 1, len(known) + 1))
    for i, tensor in enumerate(tensors.values()):
        for j, value in enumerate(known.values()):
            likes[i + 1, j + 1] = _likeness(tensor, value)
    best = np.zeros_like(likes)
    for i in range(1, best.shape[0]):
        for j in range(1, best.shape[1]):
            paired = best[i - 1, j - 1] + likes[i, j] if likes[i, j] >= LEAST else 0.0
            best[i, j] = max(best[i - 1, j], best[i, j - 1], paired)
    pairs = {}
    names, values = list(tensors), list(known)
    i, j = len(names), len(values)
    while i and j:
        if likes[i, j] >= LEAST and best[i, j] == best[i - 1, j - 1] + likes[i, j]:
            pairs[names[i - 1]] = values[j - 1]
            i, j = i - 1, j - 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    found = dict(reversed(pairs.items()))
    for row, name in enumerate(names, start=1):  # Y5
        free = [column for column, each in enumerate(values, start=1) if each not in found.values()]
        best_free = max(free, key=lambda column: float(likes[row, column]), default=0)
        if name not in found and likes[row, best_free] >= SURE:
            found[name] = values[best_free - 1]
    return found


def _likeness(tensor: Array, value: Array) -> float:
    found = layout(tensor, value)
    if found is None:
        return 0.0
    alike = abs(correlation(found.applied(tensor, value.shape), value))
    return alike + (0.0 if found.reshaped else _TIE)
