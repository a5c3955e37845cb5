"""Fewer patches than columns -> the same least squares, from the patches themselves.

    W = W0 + (Y - W0 X) (X^T X + ridge)^-1 X^T        X: (columns, patches), Y: (rows, patches)

Sums of products are columns squared, and each product with them costs as much again for every row. Of few
patches the equations of the patches are smaller: a layer that sums over 8,192 values, seen at 128 places,
has 128 unknowns for each row, not 8,192, and a megabyte in place of 0.5 GB.

L1: the bias is free where the node has one: X and Y without their means, then the bias that is left.
L2: with more patches than columns / FEW it is sums again (``dense``).

Source: Saunders et al., "Ridge Regression Learning Algorithm in Dual Variables", 1998.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.pruning.layers import Floats, Singles

FEW = 4  # products with patches are two, one there and one back, and half of the gain shall stay


@dataclass(eq=False)
class FewPatches:
    """Of one part of the batches.

    Attributes:
        x: (groups, count, columns + 1); the last column is of ones.
        y: (groups, count, rows).
    """

    x: Singles | Floats
    y: Singles | Floats

    @property
    def seen(self) -> int:
        """Patches."""
        return int(self.x.shape[1])

    @property
    def mean(self) -> Floats:
        """(groups, columns + 1) of x."""
        return np.asarray(self.x.mean(axis=1, dtype=np.float64))

    @property
    def total(self) -> Floats:
        """(groups, rows) sum of y."""
        return np.asarray(self.y.sum(axis=1, dtype=np.float64))

    def error(self, weight: Floats) -> float:
        """As ``Sums.error``."""
        error = variance = 0.0
        for x, y, w in zip(self.x, self.y, weight, strict=True):
            error += float(((x @ w.T - y) ** 2).sum())
            variance += float(((y - y.mean(axis=0, dtype=np.float64)) ** 2).sum())
        return error / max(variance, 1e-30)

    def squares(self, ridge: float) -> list[FewSquare]:
        """Left sides of the normal equations, of each group; the ridge is as in ``normal_equations``."""
        found = []
        for x in self.x.astype(np.float64):
            damp = np.full(x.shape[1], _damp(x[:, :-1], ridge))
            damp[-1] = 1e-9 * len(x)  # a bias that all samples see is never singular
            found.append(FewSquare(x, damp))
        return found

    def solution(self, start: Floats, ridge: float, *, free: bool) -> Floats:
        """The minimum, (groups, rows, columns + 1); ``free``: L1."""
        return np.stack(
            [_solved(x, y, w, ridge, free=free) for x, y, w in zip(self.x, self.y, start, strict=True)]
        )


@dataclass(eq=False)
class FewSquare:
    """X X^T and a ridge, of which no entry is held; ``rows @ square`` are two products with X.

    Attributes:
        x: (count, columns).
        damp: (columns,) of the diagonal.
    """

    x: Floats | Singles
    damp: Floats | Singles
    __array_ufunc__ = None  # NumPy leaves ``rows @ square`` to ``__rmatmul__``

    def __rmatmul__(self, rows: Floats | Singles) -> Floats:
        return np.asarray((rows @ self.x.T) @ self.x + rows * self.damp)

    def single(self) -> FewSquare:
        """In float32."""
        return FewSquare(self.x.astype(np.float32), self.damp.astype(np.float32))

    def taken(self, columns: npt.NDArray[np.int64]) -> FewSquare:
        """Of ``columns``, in that order."""
        return FewSquare(self.x[:, columns], self.damp[columns])

    def diagonal(self) -> Floats:
        """(columns,)."""
        return np.asarray((self.x**2).sum(axis=0) + self.damp)

    def scaled(self, scale: Floats, *, more: float) -> FewSquare:
        """Rows and columns divided by ``scale``, and ``more`` on the diagonal."""
        return FewSquare(self.x / scale, self.damp / scale**2 + more)

    def inverse(self) -> Callable[[Singles], Singles]:
        """Rows -> rows @ (x^T x + damp)^-1, by the Woodbury identity, in float32."""
        over = self.x / self.damp  # (count, columns)
        inner = np.linalg.solve(np.eye(len(over)) + over @ self.x.T, over).astype(np.float32)
        turned, damp = self.x.T.astype(np.float32), self.damp.astype(np.float32)

        def applied(rows: Singles) -> Singles:
            eased = rows / damp
            return np.asarray(eased - (eased @ turned) @ inner)

        return applied


def is_few(count: int, columns: int) -> bool:
    """L2."""
    return count * FEW <= columns


def _solved(x: Singles | Floats, y: Singles | Floats, start: Floats, ridge: float, *, free: bool) -> Floats:
    """One group."""
    seen, given, old = x[:, :-1].astype(np.float64), y.astype(np.float64), start[:, :-1]
    damp = _damp(seen, ridge)
    middle, centre = seen.mean(axis=0) * free, given.mean(axis=0) * free
    seen, given = seen - middle, given - centre
    share = np.linalg.solve(seen @ seen.T + damp * np.eye(len(seen)), given - seen @ old.T)  # (count, rows)
    weight = np.asarray(old + share.T @ seen)
    bias = centre - weight @ middle if free else start[:, -1]
    return np.concatenate([weight, bias[:, None]], axis=1)


def _damp(x: Floats, ridge: float) -> float:
    """A part of the mean second moment of a column."""
    return ridge * max(float((x**2).sum()) / int(x.shape[1]), 1e-12)
