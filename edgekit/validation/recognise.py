"""Tensors of a file with names of its own x values of the float model -> which stands for which, by numbers.

    likeness(t, v) = largest |correlation| over the layouts in which t has the shape of v
    pairs          = the sequence of (t, v), both in their orders, with the largest sum of likenesses

An artifact keeps the order of the model that it was made from, so the pairs are found like a longest common
subsequence. What is less alike than LEAST is not a pair.

Y1 the same shape                          Y2 channels last in the file, second in the model
Y3 as many elements in another shape (a size of 1 more or less)      Y4 Y3 behind Y2's change of axes

Source: Needleman and Wunsch (1970), for the alignment of two sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.spec import Array

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
    fitting = _layouts(array.shape, reference.shape)
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    return max(fitting, key=lambda each: correlation(each.applied(array, reference.shape), reference))


def _layouts(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[Layout]:
    axes = len(shape)
    orders: list[tuple[int, ...]] = [()]
    if axes >= 3:
        orders.append((0, axes - 1, *range(1, axes - 1)))  # Y2
    turned = {order: tuple(shape[axis] for axis in order) or shape for order in orders}
    exact = [Layout(order) for order, sizes in turned.items() if sizes == wanted]
    if exact or not shape or not wanted:
        return exact
    same = int(np.prod(shape)) == int(np.prod(wanted)) and shape[0] == wanted[0]
    return [Layout(order, reshaped=True) for order in orders] if same else []  # Y3, Y4


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
    return dict(reversed(pairs.items()))


def _likeness(tensor: Array, value: Array) -> float:
    found = layout(tensor, value)
    if found is None:
        return 0.0
    alike = abs(correlation(found.applied(tensor, value.shape), value))
    return alike + (0.0 if found.reshaped else _TIE)
