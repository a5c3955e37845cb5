"""Several runners x the same samples -> each one's evaluation, and the drift of any pairs, in one pass.

    data --stream--> batch --> every runner at once --> metric's statistics, drift, kept outputs

Each runner runs once and sees each batch once. Runners are worker processes, so they compute at the same
time, each in a thread that only waits for it; while they are at one batch, the outputs of the one before are
scored. A batch is cut to what a runner's fixed inputs take (``run_in_batches``). Two batches of outputs are
alive.

A candidate whose outputs are not finite is out from then on, and the error is its result; the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from edgekit.errors import NonFiniteOutputError
from edgekit.spec import Array, BatchStream, Progress, Runner, Silent
from edgekit.validation.drift import Drift, DriftTally
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE, Evaluation, Scoring, check_labels
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.streaming import checked, run_in_batches, stream

Outputs = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Side:
    """One runner of a comparison.

    Attributes:
        name: for messages.
        runner: what computes.
        output_steps: one quantization step of its outputs, by name; absent = not quantized.
        is_reference: outputs that are not finite are an error of the data, not a result.
    """

    name: str
    runner: Runner
    output_steps: Mapping[str, float] = field(default_factory=dict)
    is_reference: bool = False


@dataclass(frozen=True, eq=False)
class Compared:
    """What all sides computed.

    Attributes:
        evaluations: one for each side, in order; the error where its outputs are not finite.
        drifts: by the pair of sides; without those that have a broken side.
        kept: outputs of the first samples of each side, (kept, ...) by name; empty unless asked for, and
            where their shapes change from batch to batch.
        labels: (count,) the most likely class of each sample; None where a side gives more than class scores.
    """

    evaluations: tuple[Evaluation | NonFiniteOutputError, ...]
    drifts: Mapping[tuple[int, int], Drift]
    kept: tuple[Outputs, ...]
    labels: tuple[Array | None, ...]


def compare(
    sides: Sequence[Side],
    *,
    pairs: Sequence[tuple[int, int]],
    metric: TaskMetric,
    batches: BatchStream,
    labels: Array,
    count: int,
    output: str | Mapping[str, str] | None = None,
    mispaired: Array | None = None,
    keep: int = 0,
    progress: Progress | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Compared:
    """Run all sides on all samples.

    Args:
        sides: what computes.
        pairs: (first, second) places among the sides: the drift of the second against the first.
        metric: what is scored.
        batches: the samples.
        labels: (count, ...), in data order.
        count: number of samples, all of which are used.
        output: which output is scored; needed where the model has several.
        mispaired: the labels in another order; references are scored with these too.
        keep: outputs of so many first samples are given back.
        progress: one step for each sample.
        batch_size: samples for one call of a runner.

    Raises:
        UnknownNameError: no output of that name.
        DataError: no samples, labels of another number, outputs of a wrong shape; outputs of a reference that
            are not finite.
    """
    check_labels(labels, count)
    held = [
        _Held(side, metric=metric, labels=labels, output=output, mispaired=mispaired, keep=keep)
        for side in sides
    ]
    tallies = {
        (a, b): DriftTally(
            [spec.name for spec in sides[a].runner.outputs], output_steps=sides[b].output_steps
        )
        for a, b in pairs
    }
    told = progress or Silent()
    told.stage(f"run {', '.join(side.name for side in sides)} ({metric.id})", total=count)

    def score(first: int, length: int, coming: list[Future[dict[str, Array]] | None]) -> None:
        found = [
            each.take(future, first=first, length=length) for each, future in zip(held, coming, strict=True)
        ]
        for (a, b), tally in tallies.items():
            one, other = found[a], found[b]
            if one is not None and other is not None:
                tally.add(one, other)
        told.advance(length)

    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in sides]
        waiting: tuple[int, int, list[Future[dict[str, Array]] | None]] | None = None
        for first, feeds in stream(batches, count=count, batch_size=batch_size, exact=True):
            coming = [
                None if each.broken else thread.submit(run_in_batches, each.side.runner, feeds)
                for each, thread in zip(held, threads, strict=True)
            ]
            if waiting is not None:
                score(*waiting)
            waiting = (first, max(len(v) for v in feeds.values() if v.ndim > 0), coming)
        if waiting is not None:
            score(*waiting)
    return Compared(
        evaluations=tuple(each.broken or each.scoring.finish() for each in held),
        drifts={
            (a, b): tally.finish()
            for (a, b), tally in tallies.items()
            if not held[a].broken and not held[b].broken
        },
        kept=tuple(each.outputs() for each in held),
        labels=tuple(each.labels() for each in held),
    )


class _Held:
    """One side while its outputs stream by."""

    def __init__(
        self,
        side: Side,
        *,
        metric: TaskMetric,
        labels: Array,
        output: str | Mapping[str, str] | None,
        mispaired: Array | None,
        keep: int,
    ) -> None:
        self.side = side
        self.broken: NonFiniteOutputError | None = None
        self.scoring = Scoring(
            tuple(spec.name for spec in side.runner.outputs),
            metric=metric,
            labels=labels,
            output=output,
            mispaired=mispaired if side.is_reference else None,
        )
        self._keep = keep
        self._kept: list[Outputs] = []
        self._classes: list[Array] = []

    def take(self, coming: Future[dict[str, Array]] | None, *, first: int, length: int) -> Outputs | None:
        """The outputs of one batch, scored; None where they are not finite, now or before."""
        outputs = coming.result() if coming is not None else None
        if self.broken or outputs is None:
            return None
        try:
            found = checked(
                outputs,
                first=first,
                length=length,
                who=self.side.name,
                is_reference=self.side.is_reference,
            )
        except NonFiniteOutputError as error:
            self.broken = error
            return None
        self.scoring.add(found, first=first, length=length)
        if first < self._keep:
            self._kept.append({name: array[: self._keep - first] for name, array in found.items()})
        if len(found) == 1:
            scores = next(iter(found.values()))
            if scores.ndim == 2 and scores.shape[1] > 1:
                self._classes.append(scores.argmax(axis=1))
        return found

    def labels(self) -> Array | None:
        """Most likely classes, where there are any."""
        return np.concatenate(self._classes) if self._classes and not self.broken else None

    def outputs(self) -> Outputs:
        """What was kept."""
        shapes = {tuple(array.shape[1:] for array in part.values()) for part in self._kept}
        if len(shapes) != 1 or self.broken:
            return {}
        return {name: np.concatenate([part[name] for part in self._kept]) for name in self._kept[0]}
