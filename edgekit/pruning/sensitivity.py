"""One group at one width -> what it costs at the model's outputs, its readers solved anew.

    error = sum over float outputs  mean (pruned - float)^2 / var(float)

Only the layers that read the group are solved, and where they go with it (a branch) the next FOLLOWING ones:
this ranks, the repair of the whole comes later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.layers import layers
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.remove import remove
from edgekit.pruning.stream import IN_STEP, OpenModel, values
from edgekit.spec import Array, BatchStream

FOLLOWING = 4  # two blocks of two layers


def sensitivity(
    found: Dependencies,
    order: Order,
    gone: Collection[int],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
    known: Sequence[Mapping[str, Array]] | None = None,
) -> float:
    """The error when ``gone`` channels of one group are removed; infinite where outputs are not finite.

    ``known``: the float model's outputs, where they have been read (``outputs_of``).
    """
    pruned = remove(found, gone)
    solved = set(order.readers)
    if not solved & {node.name for node in pruned.graph}:
        indices = [layer.index for layer in layers(found.model) if layer.name in solved]
        behind = [layer.name for layer in layers(found.model) if layer.index > max(indices, default=-1)]
        solved = set(behind[:FOLLOWING])
    made, _ = reconstruct(
        found,
        pruned,
        gone,
        open_model=open_model,
        batches=batches,
        count=count,
        seed=seed,
        only=solved,
    )
    return output_error(found.model, made, open_model=open_model, batches=batches, count=count, known=known)


def outputs_of(
    model: ir.Model, *, open_model: OpenModel, batches: BatchStream, count: int
) -> Iterator[dict[str, Array]]:
    """The model's outputs, batch by batch."""
    names = [value.name or "" for value in model.graph.outputs]
    found = values(model, names, open_model=open_model, batches=batches, count=count, size=IN_STEP)
    return ({name: each[name] for name in names} for each in found)


def output_error(
    reference: ir.Model,
    other: ir.Model,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    known: Sequence[Mapping[str, Array]] | None = None,
) -> float:
    """Mean squared difference of all float outputs together, each as a part of its variance."""
    names = [value.name or "" for value in reference.graph.outputs]
    sums: dict[str, list[float]] = {}
    first: Iterable[Mapping[str, Array]] = known or outputs_of(
        reference, open_model=open_model, batches=batches, count=count
    )
    second = outputs_of(other, open_model=open_model, batches=batches, count=count)
    for expected, given in zip(first, second, strict=True):
        for name in names:
            y = np.asarray(expected[name])
            if y.dtype.kind != "f":
                continue
            y, off = y.astype(np.float64), np.asarray(given[name], np.float64) - y.astype(np.float64)
            old = sums.get(name, [0.0, 0.0, 0.0, 0.0])
            new = [float((off**2).sum()), float((y**2).sum()), float(y.sum()), float(y.size)]
            sums[name] = [a + b for a, b in zip(old, new, strict=True)]
    total = 0.0
    for wrong, square, plain, size in sums.values():
        total += wrong / max(square - plain**2 / size, 1e-30)
    return total if np.isfinite(total) else float("inf")
