"""One group at one width -> what it costs at the model's outputs, its readers solved anew.

    error = sum over float outputs  mean (pruned - float)^2 / var(float)

Only the layers that read the group are solved, and where they go with it (a branch) the next FOLLOWING ones:
this ranks, the repair of the whole comes later.

P1: what the float model computes is read once for all groups and widths (``original``), and the pruned model
    is computed from where it begins to differ.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgekit.ir.set_aside import computed
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.layers import layers
from edgekit.pruning.reconstruct import behind, carries, reconstruct, step_of
from edgekit.pruning.remove import remove
from edgekit.pruning.resume import Resumed
from edgekit.pruning.stream import IN_STEP, OpenModel, Read, values
from edgekit.spec import BatchStream

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
    original: Resumed | None = None,
) -> float:
    """The error when ``gone`` channels of one group are removed; infinite where outputs are not finite.

    ``original``: what has been read of the float model on these samples; it grows.
    """
    pruned = remove(found, gone)
    solved = set(order.readers)
    if not solved & {node.name for node in pruned.graph}:
        indices = [layer.index for layer in layers(found.model) if layer.name in solved]
        behind = [layer.name for layer in layers(found.model) if layer.index > max(indices, default=-1)]
        solved = set(behind[:FOLLOWING])
    before = original or Resumed.beside(found.model)
    same = _same(found, gone, solved)
    held = {name: parts for name, parts in before.held.items() if name in same}
    after = Resumed(shortcuts=before.shortcuts, held=held)
    read = (before.values, after.values)
    made, _ = reconstruct(
        found,
        pruned,
        gone,
        open_model=open_model,
        batches=batches,
        count=count,
        seed=seed,
        only=solved,
        read=read,
        quick=True,
    )
    return output_error(
        found.model, made, open_model=open_model, batches=batches, count=count, read=read, size=step_of(count)
    )


def _same(found: Dependencies, gone: Collection[int], solved: Collection[str]) -> frozenset[str]:
    """Values that the pruned model has as well, number by number, once ``solved`` nodes have new weights."""
    lost = frozenset(gone)
    _, differ = behind(found, lost, solved)
    names = (value.name or "" for node in found.model.graph for value in node.outputs)
    return frozenset(
        name for name in names if name not in differ and not carries(found.values.get(name, ()), lost)
    )


def output_error(
    reference: ir.Model,
    other: ir.Model,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    read: tuple[Read, Read] = (values, values),
    size: int = IN_STEP,
) -> float:
    """Mean squared difference of all float outputs together, each as a part of its variance.

    ``read``: how values of the two are read, in batches of ``size``.
    """
    names = [value.name or "" for value in reference.graph.outputs]
    sums: dict[str, list[float]] = {}
    first, second = (
        way(model, names, open_model=open_model, batches=batches, count=count, size=size)
        for way, model in zip(read, (reference, other), strict=True)
    )
    for (_, expected), given in zip(computed(enumerate(first), of=reference), second, strict=True):
        for name in names:
            y = np.asarray(expected[name])
            if y.dtype.kind != "f":
                continue
            y, off = y.astype(np.float64), np.asarray(given[name], np.float64) - y.astype(np.float64)
            old = sums.get(name, [0.0, 0.0, 0.0, 0.0])
            new = [float((off**2).sum()), float((y**2).sum()), float(y.sum()), float(y.size)]
            sums[name] = [a + b for a, b in zip(old, new, strict=True)]
    total = 0.0
    for wrong, square, plain, many in sums.values():
        total += wrong / max(square - plain**2 / many, 1e-30)
    return total if np.isfinite(total) else float("inf")
