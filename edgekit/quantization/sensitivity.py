"""Float model x plan x samples -> what each rounding does to the outputs, alone.

    damage of a source = sum (y_s - y)^2 / sum y^2        y_s: the outputs where only that source rounds

Measured, not modelled: ``alone`` computes the float model once for each batch and, for every source, only the
operators behind it again. For a chain of n kernels that is about n forward passes of each sample for 2 n
sources (a weight and an activation for each kernel), on few samples: noise is an average over all elements of
an output. The search on top (``mixed``) assumes that the noise of sources adds up (they are uncorrelated) and
checks what it chooses by measuring.

An operator that stays float takes away its constants' rounding, and an activation's only where nobody else
touches it with integers: so sources, not operators, have a damage, and each names the operators that must
all go. NNCF ranks by running the model once for each group of quantizers that it takes out.

Source: Zhou et al., "Adaptive quantization for deep neural network" (2018), for the additivity of noise
powers; NNCF 3.4, quantize_with_accuracy_control, for what a ranking by taking out costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import DataError
from edgekit.ir.graph import shape_of
from edgekit.quantization.alone import RESULT, Alone, alone, sources
from edgekit.quantization.plan import QuantPlan
from edgekit.spec import BatchStream, Feeds, Progress, RunOptions, Session, Silent

DEFAULT_SAMPLES = 16  # mobilenet_v3_small: with 8 the sum of all damages is within 1 % of that with 32
BATCH = 4  # as in calibration: larger ones leave the processor's cache

OpenModel = Callable[[ir.Model, RunOptions], Session]


@dataclass(frozen=True)
class Damage:
    """What one rounding does to the outputs.

    Attributes:
        value: name of the weight or activation that is rounded.
        operators: heads of the kernels that must all be float for it to vanish, in the order of the plan.
        is_weight: whether it is a constant.
        noise: power of the error over power of the output, the mean over outputs; infinite where one is not
            finite any more.
        flips: share of labels that change, over outputs that look like class scores; None without one.
    """

    value: str
    operators: tuple[str, ...]
    is_weight: bool
    noise: float
    flips: float | None

    @property
    def sqnr_db(self) -> float:
        """Signal to noise of the outputs in dB."""
        if self.noise == 0.0:
            return math.inf
        return -10 * math.log10(self.noise) if math.isfinite(self.noise) else -math.inf


@dataclass(frozen=True)
class Sensitivity:
    """All damages, the largest first, and what they cost.

    Attributes:
        samples: how many were looked at.
        passes: forward passes of the float model for each sample, counted in operators.
    """

    damages: tuple[Damage, ...]
    samples: int
    passes: float


def rank(
    model: ir.Model,
    plan: QuantPlan,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int = DEFAULT_SAMPLES,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Every rounding of ``plan``, the most damaging first; equal ones in the order of their names.

    Args:
        model: canonical float model that ``plan`` was placed on; untouched.
        plan: with scales for its activations (w8a8, w8a16).
        open_model: opens a model in a runtime that computes in float32.
        batches: batch size -> a pass over samples, those of calibration.
        count: how many samples are read at most.
        options: how to open; the default is one thread.
        progress: advanced by 1 for each source; the caller has opened the stage.

    Raises:
        DataError: no samples.
        NotRankedError: an operator with a graph of its own stands behind a rounding.
    """
    size = batch_size(model)
    found: list[Damage] = []
    nodes = samples = 0
    for graph in alone(model, plan, sources(model, plan)):
        totals = np.zeros(len(graph.columns))
        samples = 0
        with open_model(graph.model, options or RunOptions()) as session:
            for feeds, many in limited(batches(size or BATCH), count, fixed=size):
                totals += session.run(feeds)[RESULT].astype(np.float64)
                samples += many
        if samples == 0:
            raise DataError(
                "there are no samples to rank operators with",
                why="damage is measured on data",
                remedy=f"give the calibration data: {DEFAULT_SAMPLES} samples are enough",
            )
        found += _damages(graph, totals)
        nodes += graph.nodes
        (progress or Silent()).advance(len(graph.sources))
    found.sort(key=lambda each: (-each.noise, each.value, each.operators))
    return Sensitivity(tuple(found), samples, nodes / max(len(model.graph), 1))


def _damages(graph: Alone, totals: npt.NDArray[np.float64]) -> list[Damage]:
    """Sums of one graph -> the damages of its sources."""
    sums = {
        (column.source, column.output, column.kind): float(total)
        for column, total in zip(graph.columns, totals, strict=True)
    }
    signal = {output: total for (_, output, kind), total in sums.items() if kind == "signal" and total > 0}
    labels = {output: total for (_, output, kind), total in sums.items() if kind == "labels"}
    found = []
    for number, source in enumerate(graph.sources):
        ratios = [sums.get((number, output, "error"), 0.0) / total for output, total in signal.items()]
        flips = [1.0 - sums.get((number, output, "equal"), total) / total for output, total in labels.items()]
        noise = sum(ratios) / max(len(ratios), 1)
        found.append(
            Damage(
                value=source.value,
                operators=source.operators,
                is_weight=source.is_weight,
                noise=noise if math.isfinite(noise) else math.inf,
                flips=max(flips) if flips else None,
            )
        )
    return found


def batch_size(model: ir.Model) -> int | None:
    """The batch that the model fixes, if it does."""
    shapes = [shape_of(value) for value in model.graph.inputs]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), None)


def limited(stream: Iterator[Feeds], count: int, *, fixed: int | None) -> Iterator[tuple[Feeds, int]]:
    """(batch, samples in it), at most ``count`` samples; a fixed batch is filled up with its last sample."""
    left = count
    for feeds in stream:
        if left <= 0:
            return
        many = min(left, len(next(iter(feeds.values()))))
        rows = np.minimum(np.arange(fixed or many), many - 1)
        yield {name: array[rows] for name, array in feeds.items()}, many
        left -= many
