"""Weights of a layer x its normal equations -> which of them become zero, and the others solved anew.

    min over W  of  tr (W - W0) H (W - W0)^T    with  W * (1 - mask) = 0

Z1: the mask comes of ADMM: the weights follow the least squares on one side and the pattern on the other,
    with columns scaled to equal power, until both agree. The part of zeros grows over the first iterations.
    With each of PENALTIES; what loses least once it is solved (Z3) is taken. SparseGPT's choice, column by
    column, was tried, and left 1.8 to 3.6 times the error on columns that say much the same.
Z2: N:M keeps at most N of M columns that lie behind each other in the order in which a kernel sums: input
    channels, for each place of the kernel apart (TensorRT's and cuSPARSELt's order).
Z3: with the zeros fixed, the rows are solved exactly, all columns against all: conjugate gradients on the
    masked normal equations.
Z4: both go through a few rows at a time: of a wide layer the whole would be a gigabyte in each step.

Sources: Boza, "Fast and Effective Weight Update for Pruned Large Language Models", 2024 (Z1); Meng et al.,
"ALPS", 2024 (Z3); Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021 (Z2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.pruning.few_patches import FewSquare
from edgekit.pruning.layers import Floats, Singles
from edgekit.pruning.least_squares import Square, diagonal, taken

Mask = npt.NDArray[np.bool_]
Linear = Callable[[Singles], Singles]
PENALTIES = (0.3, 1.0)  # of a mean column's power: the first is better at 50 %, the second at 90 %
AT_ONCE = 2**18  # numbers, Z4: 2 MB of float64
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


def zeroed(left: Square, right: Floats, start: Floats, pattern: Pattern, *, free: int) -> tuple[Mask, Floats]:
    """(what stays, (rows, columns) solved): W with the zeros that cost least.

    Args:
        left: (columns, columns), symmetric and positive definite: sums of x x^T and a ridge.
        right: (rows, columns); W ``left`` = ``right`` without zeros.
        start: (rows, columns), the solution of that.
        pattern: N:M needs whole groups of columns.
        free: columns at the end that stay anyway: a bias.
    """
    columns = start.shape[1] - free
    first = taken(left, np.arange(columns)) if free else left
    best: tuple[float, Mask, Floats] | None = None
    for penalty in PENALTIES:
        kept = np.ones(start.shape, bool)
        kept[:, :columns] = _mask(first, start[:, :columns], pattern, penalty)
        solved = solve_on(kept, left, right, start, steps=CHOOSING)
        loss = sum(_power(solved[rows] - start[rows], left) for rows in _some_rows(start))
        if best is None or loss < best[0]:
            best = (loss, kept, solved)
    assert best is not None  # noqa: S101  PENALTIES are not empty
    return best[1], solve_on(best[1], left, right, best[2])


def _power(off: Floats, left: Square) -> float:
    return float(((off @ left) * off).sum())


def _some_rows(weight: Floats | Singles) -> Iterator[slice]:
    """All rows, so many at a time that they stay in the processor's cache (Z4)."""
    step = max(1, AT_ONCE // weight.shape[1])
    return (slice(first, first + step) for first in range(0, len(weight), step))


def _mask(square: Square, weight: Floats, pattern: Pattern, penalty: float) -> Mask:
    """Z1."""
    scale = np.sqrt(diagonal(square))
    # float32: columns are scaled and the penalty bounds the inverse; only the order of sizes is read of it
    pull, ease = _scaled(square, scale, penalty)
    found = (weight * scale).astype(np.float32)
    pulled = np.concatenate([pull(found[rows]) for rows in _some_rows(found)])
    dual = np.zeros_like(found)
    for number in range(1, ITERATIONS + 1):
        part = pattern.part * min(1.0, number / (GROWTH * ITERATIONS))
        least = 0.0 if pattern.group else _least(found + dual, part)
        for rows in _some_rows(found):
            moved = found[rows] + dual[rows]
            stays = _kept(moved, pattern, part) if pattern.group else np.abs(moved) >= least
            split = np.where(stays, moved, np.float32(0))
            dual[rows] = moved - split
            found[rows] = ease(pulled[rows] + np.float32(penalty) * (split - dual[rows]))
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
    dense = square / np.outer(scale, scale)
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
    for rows in _some_rows(start):
        found[rows] = _solved(
            kept[rows].astype(np.float64),
            left,
            right=right[rows],
            start=start[rows],
            scale=scale,
            steps=steps,
        )
    return found


def _solved(free: Floats, left: Square, *, right: Floats, start: Floats, scale: Floats, steps: int) -> Floats:
    """Z3, of some rows; ``scale`` is the inverse of the diagonal."""
    found = start * free
    rest = (right - found @ left) * free
    eased = rest * scale
    along = eased.copy()
    size = (rest * eased).sum(axis=1)
    enough = SMALL**2 * np.maximum((right * right * scale).sum(axis=1), 1e-300)
    for _ in range(steps):
        if (size <= enough).all():
            break
        bent = (along @ left) * free
        curve = (along * bent).sum(axis=1)
        step = np.where(curve > 0, size / np.where(curve > 0, curve, 1.0), 0.0)[:, None]
        found += step * along
        rest -= step * bent
        eased = rest * scale
        new = (rest * eased).sum(axis=1)
        along = eased + (new / np.maximum(size, 1e-300))[:, None] * along
        size = new
    return np.asarray(found)
