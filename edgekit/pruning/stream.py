"""Model x batches -> values of some of its tensors, batch by batch.

V1: the graph is cut to what the wanted values need; nothing behind them runs.
V2: one batch is in memory at a time. A graph with a fixed batch gets whole batches; a last one that is short
    is left out, unless it is all there is: then it is filled up by repeating samples.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgekit.ir import io
from edgekit.passes.remove_unused import RemoveUnused
from edgekit.spec import Array, BatchStream, RunOptions, Session

OpenModel = Callable[[ir.Model, RunOptions], Session]
Read = Callable[..., Iterator[dict[str, Array]]]  # as ``values``
BATCH_BYTES = 32 * 2**20  # of activations that leave the runtime at once
IN_STEP = 32  # samples, where two models are read side by side
BATCHES = (4, 64)  # samples: fewest and most
MOST_THREADS = 4  # batches are small, and the other half of the time is NumPy's
UNKNOWN_SIZE = 64  # elements of an axis whose size is open


def cut_to(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone that gives the values ``names`` and computes nothing else (V1)."""
    clone = model.clone()
    found = {value.name: value for node in clone.graph for value in node.outputs}
    wanted = [found[name] for name in dict.fromkeys(names) if name in found]
    clone.graph.outputs.clear()
    clone.graph.outputs.extend(wanted or [next(iter(clone.graph)).outputs[0]])  # a session gives something
    return RemoveUnused().apply(clone)


def values(
    model: ir.Model,
    names: Sequence[str],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    size: int = 0,
) -> Iterator[dict[str, Array]]:
    """The tensors ``names``, inputs among them, for the first ``count`` samples.

    ``size`` is that of a batch; 0 = as BATCH_BYTES say.
    """
    cut = cut_to(model, names)
    each = sum(sample_bytes(value) for value in cut.graph.outputs)
    size = size or min(max(BATCH_BYTES // max(each, 1), BATCHES[0]), BATCHES[1])
    with open_model(cut, RunOptions(threads=threads())) as session:
        for feeds in whole_batches(model, batches, count=count, size=size):
            yield {**feeds, **session.run(feeds)}


def sample_bytes(value: ir.Value) -> int:
    """Of one sample of an activation."""
    sizes = [dim if isinstance(dim, int) else UNKNOWN_SIZE for dim in list(value.shape or ())[1:]]
    return 4 * math.prod(sizes)


def threads() -> int:
    """Nothing is timed here: the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def whole_batches(
    model: ir.Model, batches: BatchStream, *, count: int, size: int
) -> Iterator[dict[str, Array]]:
    """Batches of the first ``count`` samples (V2)."""
    first = next((spec.shape[0] for spec in io.specs(model)[0] if spec.shape), None)
    fixed = first if isinstance(first, int) else 0
    step = fixed or size
    for number, feeds in enumerate(islice(batches(step), max(1, -(-count // step)))):
        many = len(next(iter(feeds.values())))
        if not fixed or many == fixed:
            yield feeds
        elif number == 0:
            yield {name: np.resize(array, (fixed, *array.shape[1:])) for name, array in feeds.items()}
