"""Float model x calibration data x pattern -> the same model with zeros among its weights.

Layer by layer, in the order of the graph: the layer's weights become those, with zeros where the pattern
wants them, with which the model that has zeros already gives what the float model gives (``zeros``).

S1: a layer is solved without zeros first, with the ridge that serves samples best which the solution does not
    see (``reconstruct``, C1, C2); its zeros are chosen there.
S2: what stays dense, with the reason: layers of fewer than SMALLEST weights, or that sum over fewer than
    FEWEST_COLUMNS (depthwise convolutions, the first one of an image) or over more than LARGEST_COLUMNS; N:M
    where the columns do not divide.
S3: layers in front of one are final when it is solved: what was read there is where the next reading starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.pruning.dependency import dependencies
from edgekit.pruning.layers import LARGEST_COLUMNS, Floats, Layer, layers
from edgekit.pruning.least_squares import (
    Seen,
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
from edgekit.pruning.zeros import Mask, Pattern, zeroed
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
    read = (Resumed().values, Resumed().values)  # S3
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
        (progress or Silent()).advance()
    return result, tuple(done), tuple(dense)


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
    old = with_bias(layer)
    moved = bias_moved(old, fitted) if layer.takes_bias else old
    ridge = min(RIDGES, key=lambda each: judging.error(solution(fitted, moved, each, layer)))
    kept, chosen = _chosen(layer, fitted, moved, ridge, pattern)
    after = judging.error(chosen)
    if judging is not fitted:
        kept, chosen = _chosen(layer, together(fitted, judging), moved, ridge, pattern)
    write_rows(model, layer, chosen)
    return Sparse(
        layer.name,
        layer.size,
        int((~kept).sum()),
        judging.error(_magnitude(layer, fitted, pattern)),
        after,
    )


def _chosen(layer: Layer, sums: Seen, start: Floats, ridge: float, pattern: Pattern) -> tuple[Mask, Floats]:
    """((groups, rows, columns) that stay, (groups, rows, columns + 1) solved)."""
    whole = solution(sums, start, ridge, layer)
    order = _order(layer)
    back = np.argsort(order)
    masks, solved = [], []
    for (left, right), rows in zip(equations(sums, whole, ridge), whole, strict=True):
        bias = rows[:, -1:]
        ends = order if not layer.takes_bias else np.append(order, len(order))
        wanted = right[:, ends]
        if not layer.takes_bias:
            wanted = wanted - bias * last_row(left)[order]
        kept, found = zeroed(taken(left, ends), wanted, rows[:, ends], pattern, free=len(ends) - len(order))
        masks.append(kept[:, back])
        solved.append(np.concatenate([found[:, back], found[:, -1:] if layer.takes_bias else bias], axis=1))
    return np.stack(masks), np.stack(solved)


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
