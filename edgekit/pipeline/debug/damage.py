"""Own error of single layers -> what each does to the model's outputs and to the task metric, alone.

    y_v = suffix(r_v + (c_v - e_v))      the float model, with the own error of one layer added to its value

    noise    sum (y_v - y)^2 / sum y^2         flips    share of samples with another label
    drop     metric of y minus metric of y_v, in percentage points, where the data has labels

One model takes all errors as inputs; a zero that broadcasts stands for those that are not looked at. So a
layer costs one forward pass of the float model. A large error that later layers do not care about ranks low.

M1 at most MOST layers are measured, those with the least own signal to noise
M2 order: first what is proved to cost the metric something (its paired interval lies above zero), by the
   drop; then by noise. A few dozen samples cannot order layers that change a label or two, and noise can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan

import numpy as np

from edgekit.backends.onnxruntime import open_model
from edgekit.errors import DataError
from edgekit.ir import io
from edgekit.pipeline.debug.looking import Arrays, Looking
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED
from edgekit.spec import Array, Feeds, Progress, RunOptions, TensorSpec
from edgekit.validation import segments
from edgekit.validation.diagnose.evidence import Evidence
from edgekit.validation.evaluate import Evaluation, evaluate
from edgekit.validation.layers import KernelEvidence, sqnr_db
from edgekit.validation.statistics import Drop, paired_drop

MOST = 24  # layers: as many forward passes of each sample

Outputs = list[dict[str, Array]]


@dataclass(frozen=True)
class Damage:
    """What the own error of one layer does to the outputs.

    Attributes:
        value: name of the layer's end.
        sqnr_db: of the outputs, the worst of them; inf where nothing changes.
        flips: share of samples whose label changes; None without an output of scores.
        drop_pp: loss of the task metric; None without labels.
        proved: whether the interval of that loss lies above zero.
    """

    value: str
    sqnr_db: float
    flips: float | None
    drop_pp: float | None
    proved: bool = False

    @property
    def order(self) -> tuple[float, float]:
        """The most damaging first (M2)."""
        return -(self.drop_pp or 0.0) if self.proved else 0.0, self.sqnr_db


@dataclass(frozen=True)
class Measured:
    """All damages, the largest first, and what the whole artifact loses on the same samples.

    Attributes:
        accuracy: of the artifact against the float model; None without labels.
        flips: share of samples with another label; None without an output of scores.
        note: why there is no metric; "" where there is one, or no labels.
    """

    damages: tuple[Damage, ...]
    accuracy: Drop | None
    flips: float | None
    note: str = ""


@dataclass
class _Run:
    """Outputs of one kind of run, and how far they are from the float model's."""

    kept: Outputs = field(default_factory=list)
    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    flipped: int = 0
    labelled: int = 0

    def add(self, truth: Arrays, found: Arrays) -> None:
        self.kept.append(dict(found))
        for name, array in truth.items():
            r, c = array.astype(np.float64), found[name].astype(np.float64)
            self.signal[name] = self.signal.get(name, 0.0) + float(np.square(r).sum())
            self.noise[name] = self.noise.get(name, 0.0) + float(np.square(c - r).sum())
            if r.ndim == 2 and r.shape[1] > 1:
                self.labelled += len(r)
                self.flipped += int(np.count_nonzero(r.argmax(axis=1) != c.argmax(axis=1)))

    @property
    def flips(self) -> float | None:
        return self.flipped / self.labelled if self.labelled else None

    @property
    def sqnr_db(self) -> float:
        found = [sqnr_db(self.signal[name], self.noise[name]) for name in self.signal]
        return min((value for value in found if not isnan(value)), default=inf)


def measured(
    looking: Looking, evidence: Evidence, *, labels: Array | None, metric: str, progress: Progress
) -> Measured:
    """Rank the layers of ``evidence`` by what they do alone.

    Args:
        looking: open.
        evidence: of the same artifact.
        labels: (samples, ...) in the order of the data; None = flips and noise alone.
        metric: id of a task metric.
        progress: advanced by one for each batch.

    Raises:
        DataError: the labels do not fit the metric.
    """
    names = _chosen(evidence.kernels)
    runs = {name: _Run() for name in names}
    truth, whole = _Run(), _Run()
    with open_model(segments.injected(looking.reference, names), RunOptions()) as session:
        added = {
            spec.name.removeprefix(segments.ADDED): np.zeros((1,) * len(spec.shape), np.float32)
            for spec in session.inputs
            if spec.name.startswith(segments.ADDED)
        }
        for seen in looking.batches():
            truth.add(seen.truth, seen.truth)
            whole.add(seen.truth, seen.outputs)
            nothing = {f"{segments.ADDED}{name}": zero for name, zero in added.items()}
            for name in names:
                own = (seen.candidate[name] - seen.expected[name]).astype(np.float32)  # type: ignore[operator]
                found = session.run({**seen.feeds, **nothing, f"{segments.ADDED}{name}": own})
                runs[name].add(seen.truth, found)
            progress.advance(looking.batch)
    score = _scored(looking, labels, metric)
    try:
        reference = score(truth.kept)
        drop = None if reference is None else _drop(reference, score(whole.kept))
        drops = {
            name: None if reference is None else _drop(reference, score(runs[name].kept)) for name in names
        }
        note = ""
    except DataError as error:
        drop, drops, note = None, dict.fromkeys(names), f"{metric} is not measured: {error.what}"
    found_damages = [_damage(name, run, drops[name]) for name, run in runs.items()]
    return Measured(tuple(sorted(found_damages, key=lambda each: each.order)), drop, whole.flips, note)


def _damage(name: str, run: _Run, drop: Drop | None) -> Damage:
    if drop is None:
        return Damage(name, run.sqnr_db, run.flips, None)
    return Damage(name, run.sqnr_db, run.flips, drop.value_pp, proved=drop.low_pp > 0.0)


def _chosen(kernels: Sequence[KernelEvidence]) -> list[str]:
    """M1; what has no own error at all does no damage."""
    wrong = [kernel for kernel in kernels if kernel.own.rms > 0.0]
    return [kernel.name for kernel in sorted(wrong, key=lambda each: each.own.sqnr_db)[:MOST]]


def _drop(reference: Evaluation, found: Evaluation | None) -> Drop | None:
    return None if found is None else paired_drop(reference, found, seed=BOOTSTRAP_SEED)


def _scored(looking: Looking, labels: Array | None, metric: str) -> Callable[[Outputs], Evaluation | None]:
    outputs = io.specs(looking.reference)[1]
    inputs = io.specs(looking.reference)[0]

    def score(kept: Outputs) -> Evaluation | None:
        if labels is None:
            return None
        return evaluate(
            _Replay(inputs, outputs, iter(kept)),
            metric=metric,
            batches=lambda size: iter([{"row": np.zeros(size)}] * (looking.count // size)),
            labels=labels[: looking.count],
            count=looking.count,
            batch_size=looking.batch,
        )

    return score


@dataclass(frozen=True)
class _Replay:
    """A Runner that gives what was computed before, batch by batch."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kept: Iterator[Mapping[str, Array]]

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The next outputs."""
        del feeds
        return dict(next(self.kept))
