"""Patches of a layer's input x the answers that it should give -> its weights, by normal equations.

    min over W, b of  sum |W x + b - y|^2 + ridge * |W - W0|^2

What is kept of the data are sums of products, so memory does not grow with the samples; or the patches
themselves where they are few (``few_patches``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.external_data import goes_aside
from edgekit.ir.graph import add_initializer, constant
from edgekit.ir.set_aside import set_aside, workspace
from edgekit.pruning.few_patches import FewPatches, FewSquare, is_few
from edgekit.pruning.layers import Floats, Layer, Singles, weight_from_rows


@dataclass(eq=False)
class Sums:
    """Of one part of the batches; x has a last column of ones.

    Attributes:
        square: (groups, columns + 1, columns + 1) sum of x x^T.
        cross: (groups, rows, columns + 1) sum of y x^T.
        energy: sum of y^2.
        total: (groups, rows) sum of y.
        seen: patches.
    """

    square: Floats
    cross: Floats
    energy: float
    total: Floats
    seen: int

    @property
    def mean(self) -> Floats:
        """(groups, columns + 1) of x; the last is 1."""
        return np.asarray(self.square[:, :, -1] / self.seen)

    def __iadd__(self, other: Sums) -> Self:
        """In the same memory: of a wide layer each square is 170 MB."""
        self.square += other.square
        self.cross += other.cross
        self.energy += other.energy
        self.total += other.total
        self.seen += other.seen
        return self

    def error(self, weight: Floats) -> float:
        """Mean squared error of (groups, rows, columns + 1) as a part of the variance of y."""
        fit = np.einsum("grc,gcd,grd->", weight, self.square, weight, optimize=True)
        error = float(fit - 2 * (weight * self.cross).sum() + self.energy)
        variance = self.energy - float((self.total**2).sum()) / self.seen
        return max(error, 0.0) / max(variance, 1e-30)


Seen = Sums | FewPatches
Square = Floats | FewSquare


def seen_of(x: Singles, y: Singles) -> Seen:
    """Of (groups, count, columns) and (groups, count, rows)."""
    one = np.concatenate([x, np.ones((*x.shape[:2], 1), x.dtype)], axis=2)
    few = FewPatches(one, y)
    return few if is_few(x.shape[1], x.shape[2]) else sums_of(few)


def together(first: Seen, second: Seen) -> Seen:
    """Of both parts of the batches; sums of the first are used up."""
    if isinstance(first, FewPatches) and isinstance(second, FewPatches):
        both = FewPatches(
            np.concatenate([first.x, second.x], axis=1), np.concatenate([first.y, second.y], axis=1)
        )
        return both if is_few(both.seen, both.x.shape[2] - 1) else sums_of(both)
    sums = sums_of(first)
    sums += sums_of(second)
    return sums


def aside(seen: Seen, *, of: ir.Model) -> Seen:
    """The same while something else is made of it: beside a large model the squares lie in a file."""
    if not isinstance(seen, Sums) or not goes_aside(of):
        return seen
    return replace(seen, square=np.asarray(workspace(seen.square, of=of), np.float64))


def sums_of(seen: Seen) -> Sums:
    """The same as sums."""
    if isinstance(seen, Sums):
        return seen
    turned = seen.x.transpose(0, 2, 1)
    return Sums(
        (turned @ seen.x).astype(np.float64),
        (seen.y.transpose(0, 2, 1) @ seen.x).astype(np.float64),
        float((seen.y.astype(np.float64) ** 2).sum()),
        seen.total,
        seen.seen,
    )


def with_bias(layer: Layer) -> Floats:
    """(groups, rows, columns + 1)."""
    groups, rows = layer.shape[:2]
    bias = constant(layer.bias) if layer.bias is not None else None
    column = np.zeros((groups, rows)) if bias is None else np.asarray(bias, np.float64).reshape(groups, rows)
    return np.concatenate([layer.weight, column[:, :, None]], axis=2)


def bias_moved(weight: Floats, sums: Seen) -> Floats:
    """The same weight, with the bias at which the mean error is zero."""
    off = sums.total / sums.seen - np.einsum("grc,gc->gr", weight, sums.mean)
    return np.concatenate([weight[:, :, :-1], (weight[:, :, -1] + off)[:, :, None]], axis=2)


def normal_equations(sums: Sums, start: Floats, ridge: float) -> tuple[Floats, Floats]:
    """(A, B) of W A = B: A (groups, columns + 1, columns + 1), B (groups, rows, columns + 1).

    The ridge is a part of the mean second moment of a column, and pulls towards ``start``.
    """
    columns = sums.square.shape[1] - 1
    scale = np.trace(sums.square[:, :columns, :columns], axis1=1, axis2=2) / max(columns, 1)
    damp = np.zeros((len(scale), columns + 1))
    damp[:, :columns] = (ridge * np.maximum(scale, 1e-12))[:, None]
    left = sums.square.copy()
    diagonal = np.arange(columns + 1)
    left[:, diagonal, diagonal] += damp
    return left, sums.cross + start * damp[:, None, :]


def equations(sums: Seen, start: Floats, ridge: float) -> list[tuple[Square, Floats]]:
    """(A, B) of W A = B of each group, as ``normal_equations``; the bias is never singular."""
    if isinstance(sums, FewPatches):
        return [
            (square, y.T.astype(np.float64) @ square.x + old * square.damp)
            for square, y, old in zip(sums.squares(ridge), sums.y, start, strict=True)
        ]
    left, right = normal_equations(sums, start, ridge)
    left[:, -1, -1] *= 1 + 1e-9
    return list(zip(left, right, strict=True))


def taken(square: Square, columns: npt.NDArray[np.int64]) -> Square:
    """Of ``columns`` along both axes, in that order."""
    return square.taken(columns) if isinstance(square, FewSquare) else square[np.ix_(columns, columns)]


def diagonal(square: Square) -> Floats:
    """(columns,)."""
    return square.diagonal() if isinstance(square, FewSquare) else np.diag(square)


def last_row(square: Square) -> Floats:
    """(columns,) what each column and the last one give together."""
    return np.asarray(square.x[:, -1] @ square.x) if isinstance(square, FewSquare) else square[-1]


def solution(sums: Seen, start: Floats, ridge: float, layer: Layer) -> Floats:
    """The minimum, (groups, rows, columns + 1); the bias is free, where the node has one."""
    if isinstance(sums, FewPatches):
        return sums.solution(start, ridge, free=layer.takes_bias)
    left, right = normal_equations(sums, start, ridge)
    if not layer.takes_bias:
        solved = np.linalg.solve(left[:, :-1, :-1], right[:, :, :-1].transpose(0, 2, 1)).transpose(0, 2, 1)
        return np.concatenate([solved, start[:, :, -1:]], axis=2)
    left[:, -1, -1] += 1e-9 * left[:, -1, -1]
    return np.asarray(np.linalg.solve(left, right.transpose(0, 2, 1)).transpose(0, 2, 1))


def write_rows(model: ir.Model, layer: Layer, rows: Floats) -> None:
    """Into the initializers of ``model``: new arrays, the old ones are shared; large ones lie in a file."""
    weight = model.graph.initializers[layer.weight_name]
    kind = weight.dtype.numpy() if weight.dtype is not None else np.float32
    array = np.ascontiguousarray(weight_from_rows(layer, rows[:, :, :-1].astype(kind)))
    weight.const_value = ir.tensor(set_aside(array, of=model), name=layer.weight_name)
    if not layer.takes_bias:
        return
    bias = rows[:, :, -1].ravel().astype(kind)
    if layer.bias is not None:
        layer.bias.const_value = ir.tensor(bias, name=layer.bias.name)
    elif bias.any():
        layer.node.resize_inputs(3)
        layer.node.replace_input_with(2, add_initializer(model.graph, f"{layer.name}_bias", bias))
