"""Float model x calibration data x pattern -> the same model with zeros among its weights.

Layer by layer, in the order of the graph: the layer's weights become those, with zeros where the pattern
wants them, with which the model that has zeros already gives what the float model gives (``zeros``).

S1: a layer is solved without zeros first, with the ridge that serves samples best which the solution does not
    see (``reconstruct``, C1, C2); its zeros are chosen there.
S2: what stays dense, with the reason: layers of fewer than SMALLEST weights, or that sum over fewer than
    FEWEST_COLUMNS (depthwise convolutions, the first one of an image) or over more than LARGEST_COLUMNS; N:M
    where the columns do not divide.
S3: layers in front of one are final when it is solved: what was read there is where the next reading starts.
S4: squares of one layer are in memory at a time, and of its two choices one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.pruning.dependency import dependencies
from edgekit.pruning.layers import LARGEST_COLUMNS, Floats, Layer, layers
from edgekit.pruning.least_squares import (
    Seen,
    Square,
    bias_moved,
    equations,
    last_row,
    solution,
    taken,
    together,
    with_bias,
    write_rows,
)
from edgekit.pruning.reconstruct import RIDGES, sums_of_layer
from edgekit.pruning.resume import Resumed
from edgekit.pruning.stream import OpenModel
from edgekit.pruning.zeros import PENALTIES, Choice, Pattern, choose, solve_on
from edgekit.spec import BatchStream, Progress, Silent

SMALLEST = 1024  # weights: fewer are not worth a difference
FEWEST_COLUMNS = 32  # of which a sum can spare some
ANY = 2**31  # columns: of wider layers is said why they stay


@dataclass(frozen=True)
class Sparse:
    """One layer that has zeros: squared error at its output as a part of the float output's variance.

    Attributes:
        layer: name of the node.
        weights: how many it has.
        zeros: how many of them are zero.
        before: with the same number of its smallest weights set to zero, its bias moved.
        after: as solved; both on samples that the solution did not see.
    """

    layer: str
    weights: int
    zeros: int
    before: float
    after: float


@dataclass(frozen=True)
class Dense:
    """One layer that stays as it is, and why."""

    layer: str
    weights: int
    reason: str


def sparsify(
    model: ir.Model,
    pattern: Pattern,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[ir.Model, tuple[Sparse, ...], tuple[Dense, ...]]:
    """(the model with zeros, a new one; its layers; those that stay dense).

    Args:
        model: float.
        pattern: how many, and where.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data.
        count: samples to look at.
        seed: of the positions of convolutions.
        progress: advanced by layers; the caller has opened the stage.
    """
    found = dependencies(model)
    result = found.model.clone()
    done: list[Sparse] = []
    dense: list[Dense] = []
    seen: set[str] = set()
    read = (Resumed.beside(model).values, Resumed.beside(model).values)  # S3
    for name in [layer.name for layer in layers(result, widest=ANY)]:
        layer = next(each for each in layers(result, widest=ANY) if each.name == name)
        reason = why_dense(layer, pattern) or (
            "its weight has zeros already" if layer.weight_name in seen else ""
        )
        seen.add(layer.weight_name)
        if reason:
            dense.append(Dense(name, layer.size, reason))
        else:
            sums = sums_of_layer(
                found,
                result,
                layer,
                frozenset(),
                open_model=open_model,
                batches=batches,
                count=count,
                seed=seed,
                read=read,
            )
            done.append(_with_zeros(result, layer, sums, pattern))
            del sums  # S4
        (progress or Silent()).advance()
    return result, tuple(done), tuple(dense)


def weights_of(model: ir.Model, sparse: Sequence[Sparse]) -> set[str]:
    """Names of the weights that have zeros, in a model that ``sparsify`` made."""
    names = {row.layer for row in sparse}
    return {layer.weight_name for layer in layers(model) if layer.name in names}


def why_dense(layer: Layer, pattern: Pattern) -> str:
    """S2; "" = it gets zeros."""
    _, _, columns = layer.shape
    if not layer.is_solvable:
        return "it reads itself: its gates lie between a product and what is seen"
    if columns < FEWEST_COLUMNS:
        return f"it sums over {columns} terms"
    if columns > LARGEST_COLUMNS:
        return f"it sums over {columns} terms, of which all products would have to be held"
    if layer.size < SMALLEST:
        return f"it has {layer.size} weights"
    if pattern.group and (columns // layer.taps) % pattern.group:
        return f"its {columns // layer.taps} input channels are no whole groups of {pattern.group}"
    return ""


def _with_zeros(model: ir.Model, layer: Layer, sums: tuple[Seen, Seen], pattern: Pattern) -> Sparse:
    """S1, written into ``model``."""
    fitted, judging = sums
    before = judging.error(_magnitude(layer, fitted, pattern))
    old = with_bias(layer)
    moved = bias_moved(old, fitted) if layer.takes_bias else old
    ridge = min(RIDGES, key=lambda each: judging.error(solution(fitted, moved, each, layer)))
    seen = _Choices(layer, fitted, moved, ridge=ridge, pattern=pattern)
    after = judging.error(seen.solved())
    if judging is not fitted:  # the zeros again, of all that was seen, with the penalties that served
        penalties, both = seen.penalties, together(fitted, judging)
        del seen  # S4
        seen = _Choices(layer, both, moved, ridge=ridge, pattern=pattern, penalties=penalties)
    chosen = seen.solved(to_the_end=True)
    write_rows(model, layer, chosen)
    return Sparse(layer.name, layer.size, seen.zeros, before, after)


class _Choices:
    """The zeros of each group of a layer, its columns in a kernel's order (Z2).

    Args:
        layer: of the model.
        sums: of what it reads and should give.
        start: (groups, rows, columns + 1) as it is.
        ridge: S1.
        pattern: of the zeros.
        penalties: of each group, where they are known.
    """

    def __init__(
        self,
        layer: Layer,
        sums: Seen,
        start: Floats,
        *,
        ridge: float,
        pattern: Pattern,
        penalties: Sequence[float] = (),
    ) -> None:
        self._layer, self._order = layer, _order(layer)
        self._groups: list[tuple[Square, Floats, Floats, Choice]] = []
        whole = solution(sums, start, ridge, layer)
        ends = self._order if not layer.takes_bias else np.append(self._order, len(self._order))
        sides = equations(sums, whole, ridge)
        for number, rows in enumerate(whole):
            left, right = sides.pop(0)
            bias = rows[:, -1:]
            wanted = right[:, ends]
            if not layer.takes_bias:
                wanted = wanted - bias * last_row(left)[self._order]
            square = taken(left, ends)
            del left  # S4
            choice = choose(
                square,
                wanted,
                rows[:, ends],
                pattern,
                free=len(ends) - len(self._order),
                penalties=penalties[number : number + 1] or PENALTIES,
            )
            self._groups.append((square, wanted, bias, choice))

    @property
    def penalties(self) -> tuple[float, ...]:
        """Of each group."""
        return tuple(choice.penalty for *_, choice in self._groups)

    @property
    def zeros(self) -> int:
        """Weights of the layer."""
        return sum(int((~choice.kept).sum()) for *_, choice in self._groups)

    def solved(self, *, to_the_end: bool = False) -> Floats:
        """(groups, rows, columns + 1); without ``to_the_end`` as near as a judgement needs it."""
        back = np.argsort(self._order)
        found = []
        for square, wanted, bias, choice in self._groups:
            rows = choice.solved
            if to_the_end:
                rows = solve_on(choice.kept, square, wanted, rows)
            end = rows[:, -1:] if self._layer.takes_bias else bias
            found.append(np.concatenate([rows[:, back], end], axis=1))
        return np.stack(found)


def _order(layer: Layer) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Columns as a kernel sums them: input channels behind each other, places of the kernel apart (Z2)."""
    columns = layer.shape[2]
    return np.arange(columns).reshape(-1, layer.taps).T.ravel()


def _magnitude(layer: Layer, sums: Seen, pattern: Pattern) -> Floats:
    """The smallest weights are zero, and the bias is moved: what every framework's baseline does."""
    order = _order(layer)
    rows = layer.stored[:, :, order].astype(np.float64)
    flat = np.abs(rows).reshape(-1, pattern.group or rows.size)
    gone = round(pattern.part * flat.shape[1])
    smallest = np.argsort(flat, axis=1, kind="stable")[:, :gone]
    kept = np.ones(flat.shape, bool)
    np.put_along_axis(kept, smallest, values=False, axis=1)
    weight = np.where(kept.reshape(rows.shape), rows, 0.0)[:, :, np.argsort(order)]
    cut = with_bias(layer)
    cut = np.concatenate([weight, cut[:, :, -1:]], axis=2)
    return bias_moved(cut, sums) if layer.takes_bias else cut
