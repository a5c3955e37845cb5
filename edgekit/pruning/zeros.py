"""Weights of a layer x its normal equations -> which of them become zero, and the others solved anew.

    min over W  of  tr (W - W0) H (W - W0)^T    with  W * (1 - mask) = 0

Z1: the mask comes of ADMM: the weights follow the least squares on one side and the pattern on the other,
    with columns scaled to equal power, until both agree. The part of zeros grows over the first iterations.
    With each of PENALTIES; what loses least once it is solved (Z3) is taken. SparseGPT's choice, column by
    column, was tried, and left 1.8 to 3.6 times the error on columns that say much the same.
Z2: N:M keeps at most N of M columns that lie behind each other in the order in which a kernel sums: input
    channels, for each place of the kernel apart (TensorRT's and cuSPARSELt's order).
Z3: with the zeros fixed, the rows are solved exactly, all columns against all: conjugate gradients on the
    masked normal equations. What is left over is computed in float64, the steps that make it smaller in
    float32; each call starts anew from what is left. On 84 layers losses were at most 1.1 % above the exact
    ones (0.5 % with all in float64), the median 1e-8.
Z4: both go through a few rows at a time: of a wide layer the whole would be a gigabyte in each step. Every
    core has rows of its own (``row_blocks``).

Sources: Boza, "Fast and Effective Weight Update for Pruned Large Language Models", 2024 (Z1); Meng et al.,
"ALPS", 2024 (Z3); Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021 (Z2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.pruning.few_patches import FewSquare
from edgekit.pruning.layers import Floats, Singles
from edgekit.pruning.least_squares import Square, diagonal, taken
from edgekit.pruning.row_blocks import by_rows

Mask = npt.NDArray[np.bool_]
Linear = Callable[[Singles], Singles]
PENALTIES = (0.3, 1.0)  # of a mean column's power: the first is better at 50 %, the second at 90 %
ITERATIONS = 20  # of ADMM: 60 are better by a twentieth
GROWTH = 0.75  # of the iterations, over which the part of zeros grows to what is asked for
CHOOSING = 20  # steps of conjugate gradients to see which penalty loses less: within 0.3 % of the loss of 60
STEPS, SMALL = 40, 1e-6  # of them behind these; they end when the residual is this part of the first


@dataclass(frozen=True)
class Pattern:
    """How many weights become zero.

    Attributes:
        part: of all weights of a layer.
        group: of how many columns behind each other ``part`` has to go; 0 = anywhere.
    """

    part: float
    group: int = 0

    @property
    def kept(self) -> int:
        """Of a group."""
        return round(self.group * (1 - self.part))

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}" if self.group else f"{self.part:.0%}"


def asked_pattern(sparsity: float | None, pattern: str | None) -> Pattern | None:
    """What ``--sparsity 0.5`` or ``--pattern 2:4`` asks for; None where neither is given.

    Raises:
        InputError: both are given, or the pattern is none.
    """
    if sparsity is not None and pattern is not None:
        raise InputError(
            "--sparsity and --pattern are both given",
            why="a pattern says how many weights are zero: 2:4 is half of them",
            remedy="leave one out",
        )
    if pattern is None:
        return None if sparsity is None else Pattern(sparsity)
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,2})", pattern)
    if found is None or not 0 < int(found[1]) < int(found[2]):
        raise InputError(
            f"--pattern {pattern} is no pattern",
            why="it is N:M, N of M weights stay",
            remedy="--pattern 2:4",
        )
    return Pattern(1 - int(found[1]) / int(found[2]), int(found[2]))


@dataclass(frozen=True)
class Choice:
    """Where the zeros are.

    Attributes:
        penalty: one of PENALTIES, with which least is lost.
        kept: (rows, columns) what stays.
        solved: (rows, columns), with CHOOSING steps: to judge the choice.
    """

    penalty: float
    kept: Mask
    solved: Floats


def choose(
    left: Square,
    right: Floats,
    start: Floats,
    pattern: Pattern,
    *,
    free: int,
    penalties: Sequence[float] = PENALTIES,
) -> Choice:
    """The zeros that cost least (Z1).

    Args:
        left: (columns, columns), symmetric and positive definite: sums of x x^T and a ridge.
        right: (rows, columns); W ``left`` = ``right`` without zeros.
        start: (rows, columns), the solution of that.
        pattern: N:M needs whole groups of columns.
        free: columns at the end that stay anyway: a bias.
        penalties: to try.
    """
    columns = start.shape[1] - free
    first = taken(left, np.arange(columns)) if free else left

    def tried(penalty: float) -> Choice:
        kept = np.ones(start.shape, bool)
        kept[:, :columns] = _mask(first, start[:, :columns], pattern, penalty)
        return Choice(penalty, kept, solve_on(kept, left, right, start, steps=CHOOSING))

    best = tried(penalties[0])
    if len(penalties) == 1:
        return best
    least = _loss(best.solved, start, left)
    for penalty in penalties[1:]:
        other = tried(penalty)
        loss = _loss(other.solved, start, left)
        best, least = (other, loss) if loss < least else (best, least)
    return best


def _loss(weight: Floats, start: Floats, left: Square) -> float:
    def power(rows: slice) -> float:
        off = weight[rows] - start[rows]
        return float(((off @ left) * off).sum())

    return math.fsum(by_rows(power, weight.shape))


def _mask(square: Square, weight: Floats, pattern: Pattern, penalty: float) -> Mask:
    """Z1."""
    scale = np.sqrt(diagonal(square))
    # float32: columns are scaled and the penalty bounds the inverse; only the order of sizes is read of it
    pull, ease = _scaled(square, scale, penalty)
    found = (weight * scale).astype(np.float32)
    pulled, dual = np.empty_like(found), np.zeros_like(found)

    def begin(rows: slice) -> None:
        pulled[rows] = pull(found[rows])

    by_rows(begin, found.shape)
    for number in range(1, ITERATIONS + 1):
        part = pattern.part * min(1.0, number / (GROWTH * ITERATIONS))
        least = 0.0 if pattern.group else _least(found + dual, part)

        def iterate(rows: slice, part: float = part, least: float = least) -> None:
            moved = found[rows] + dual[rows]
            stays = _kept(moved, pattern, part) if pattern.group else np.abs(moved) >= least
            split = np.where(stays, moved, np.float32(0))
            dual[rows] = moved - split
            found[rows] = ease(pulled[rows] + np.float32(penalty) * (split - dual[rows]))

        by_rows(iterate, found.shape)
    return _kept(found + dual, pattern, pattern.part)


def _least(weight: Singles, part: float) -> float:
    """The size from which on weights stay where ``part`` of them goes."""
    gone = round(part * weight.size)
    sizes = np.abs(weight).reshape(-1)
    sizes.partition(gone)
    return float(sizes[gone])


def _scaled(square: Square, scale: Floats, penalty: float) -> tuple[Linear, Linear]:
    """Rows -> rows @ A and rows @ (A + penalty)^-1, A = ``square`` with columns of equal power."""
    if isinstance(square, FewSquare):
        even = square.scaled(scale, more=0.0)
        turned, x, damp = (each.astype(np.float32) for each in (even.x.T, even.x, even.damp))
        return lambda rows: (rows @ turned) @ x + rows * damp, square.scaled(scale, more=penalty).inverse()
    dense = np.outer(scale, scale)
    np.divide(square, dense, out=dense)
    single = dense.astype(np.float32)
    dense[np.diag_indices_from(dense)] += penalty
    eased = np.linalg.inv(dense).astype(np.float32)
    return lambda rows: rows @ single, lambda rows: rows @ eased


def _kept(weight: Floats | Singles, pattern: Pattern, part: float) -> Mask:
    """The largest; a pattern of groups holds from the start."""
    if pattern.group:
        groups = weight.reshape(-1, pattern.group)
        order = np.argsort(-np.abs(groups), axis=1, kind="stable")
        kept = np.zeros(groups.shape, bool)
        np.put_along_axis(kept, order[:, : pattern.kept], values=True, axis=1)
        return kept.reshape(weight.shape)
    gone = round(part * weight.size)
    flat = np.ones(weight.size, bool)
    flat[np.argpartition(np.abs(weight).ravel(), gone - 1)[:gone] if gone else []] = False
    return flat.reshape(weight.shape)


def solve_on(kept: Mask, left: Square, right: Floats, start: Floats, *, steps: int = STEPS) -> Floats:
    """Z3: W with W = W * kept that is nearest to W ``left`` = ``right``; rows by themselves.

    Args:
        kept: (rows, columns), the bias among them.
        left: (columns, columns), symmetric and positive definite.
        right: (rows, columns).
        start: (rows, columns).
        steps: at most.
    """
    scale, found = 1 / diagonal(left), np.empty_like(start)
    single = left.single() if isinstance(left, FewSquare) else left.astype(np.float32)

    def solve(rows: slice) -> None:
        free = kept[rows].astype(np.float32)
        begin = start[rows] * free
        rest = (right[rows] - begin @ left) * free
        enough = SMALL**2 * (right[rows] ** 2 * scale).sum(axis=1)
        found[rows] = begin + _less(rest, _Masked(free, single, scale.astype(np.float32)), enough, steps)

    by_rows(solve, start.shape)
    return found


@dataclass(frozen=True, eq=False)
class _Masked:
    """Normal equations of some rows in float32: ``left``, the inverse of its diagonal, what is free."""

    free: Singles
    left: Singles | FewSquare
    scale: Singles


def _less(residual: Floats, of: _Masked, enough: Floats, steps: int) -> Singles:
    """What to add, so that less of the residual is left (Z3)."""
    rest, tiny = residual.astype(np.float32), np.float32(1e-30)
    found = np.zeros_like(rest)
    eased = rest * of.scale
    along = eased.copy()
    size = np.einsum("rc,rc->r", rest, eased)
    for _ in range(steps):
        if (size <= enough).all():
            break
        bent = (along @ of.left) * of.free
        curve = np.einsum("rc,rc->r", along, bent)
        step = np.where(curve > 0, size / np.maximum(curve, tiny), 0)[:, None]
        found += step * along
        rest -= step * bent
        np.multiply(rest, of.scale, out=eased)
        new = np.einsum("rc,rc->r", rest, eased)
        along *= (new / np.maximum(size, tiny))[:, None]
        along += eased
        size = new
    return found
