"""Float model x samples -> how far float16 arithmetic is off, and the fewest nodes that mend it in float32.

    emulate (``float16_noise``) -> within LIMITS: nothing is kept
                                -> else rank what float16 does by what it does alone to the values that err
                                   most -> the shortest prefix of the ranking that is within GOAL

E1 What is measured: the largest difference as a part of the output's range, and for class scores the share
   of labels that may change: the chance that the difference of the two best classes changes its sign, for
   errors as large as those of that difference over all samples. Counting labels would need hundreds.
E2 GOAL is a third of LIMITS: what mends the largest differences of these samples is chosen by them, so that
   other samples show larger ones. Chosen by one model: at half of LIMITS Mesa gave 1.70 % (docs/gpu.md).
E3 Sums alone are ranked where float32 sums mend it; else roundings between nodes too. A rounding between
   nodes that all stay in float32 vanishes, so it names all of them.
E4 The samples and the noise are the same for equal input, so the result is.

Cost: an estimate is a pass over SAMPLES, fewer where MACS or BYTES would be exceeded, of the emulated model,
which takes about five times as long as the float model. Where that is over LIMITS: about eight estimates
more, and one pass over BATCH samples for each place.

Source: the greedy order is that of ``mixed``; the chance is that of a normal variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import DataError
from edgekit.ir.cost import with_open_sizes
from edgekit.ir.graph import is_float32, rank
from edgekit.ir.macs import macs
from edgekit.quantization.float16 import IN_FLOAT32, left_float
from edgekit.quantization.float16_masks import saturate_masks
from edgekit.quantization.float16_noise import SWITCHES, Place, Switched, with_switches
from edgekit.quantization.sensitivity import OpenModel, batch_size, limited
from edgekit.spec import BatchStream, Feeds, Progress, Range, Rejection, RunOptions, Session, Silent

SAMPLES = 64  # of each estimate: the largest of fewer differences is too often a small one
FEWEST = 8  # where a sample is large
DRAWS = 4  # of noise for each sample, where that is within DRAWN_MACS
DRAWN_MACS = 1e10
BATCH = 4  # as in calibration: larger ones leave the processor's cache
MACS = 1e11  # of the float model in an estimate: half a minute or so on one core
BYTES = 2**28  # of outputs that are held
WORST = 64  # values that the ranking looks at
SEEN = 1e-6  # share of labels below which there are none: 1e-54 is the tail of a normal variable alone
RULE = "float16-error"

Reals = npt.NDArray[np.float64]
Outputs = Mapping[str, Reals]


@dataclass(frozen=True)
class Estimate:
    """How far the outputs are off.

    Attributes:
        error: largest difference over the range of its output.
        flips: share of labels that may change; None where no output looks like class scores.
    """

    error: float
    flips: float | None = None

    def within(self, other: Estimate) -> bool:
        """Whether this is no worse than ``other``."""
        return self.error <= other.error and (self.flips or 0.0) <= (other.flips or 0.0)

    def __str__(self) -> str:
        flips = self.flips if self.flips is None or self.flips > SEEN else 0.0
        labels = "" if flips is None else f", {flips:.2g} of the labels"
        return f"{self.error:.2g} of the output's range{labels}"


LIMITS = Estimate(0.01, 0.005)
GOAL = Estimate(0.0033, 0.0017)


@dataclass(frozen=True)
class Float16Error:
    """What was found.

    Attributes:
        kept: name of a node that must stay in float32 -> why.
        before, after: with none of them in float32, and with all.
        samples: how many each estimate has seen.
    """

    kept: Mapping[str, Rejection]
    before: Estimate
    after: Estimate
    samples: int

    @property
    def said(self) -> str:
        """One sentence for reports."""
        seen = f"estimated on {self.samples} calibration samples, for sums in float16"
        if not self.kept:
            return f"float16 is off by {self.before} ({seen})"
        one = len(self.kept) == 1
        many = f"{len(self.kept)} {'operator that adds' if one else 'operators that add'} up or "
        many += f"{'rounds too coarsely stays' if one else 'round too coarsely stay'} in float32"
        return f"float16 is off by {self.after} with {many}, by {self.before} without ({seen})"


def estimated(
    model: ir.Model,
    *,
    ranges: Mapping[str, Range],
    open_model: OpenModel,
    batches: BatchStream,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> Float16Error:
    """The error of ``model`` in float16, and what must stay in float32 beyond what ranges say.

    Args:
        model: canonical float32 model; untouched.
        ranges: by value name, of calibration.
        open_model: opens a model in a runtime that computes in float32.
        batches: batch size -> a pass over samples, those of calibration.
        options: how to open; the default is one thread.
        progress: advanced by one for each estimate; the caller has opened the stage.

    Raises:
        DataError: no samples.
    """
    left = [each.node for each in left_float(model, ranges=ranges)]
    inside = model.clone()
    saturate_masks(inside, ranges)
    switched = with_switches(inside, left=left)
    if not switched.places or not any(is_float32(value) for value in switched.model.graph.outputs):
        return Float16Error({}, Estimate(0.0), Estimate(0.0), 0)
    with open_model(switched.model, options or RunOptions()) as session:
        trials = _Trials(switched, session, batches, work=_macs(model), progress=progress or Silent())
        before = trials.estimate(frozenset())
        if before.within(LIMITS):
            return Float16Error({}, before, before, trials.samples)
        order = _order(trials)
        kept, after = _shortest(order, trials)
    causes = {name: step for step in reversed(order) for name in step.place.operators}
    why = {name: _rejection(name, causes[name]) for name in sorted(kept)}
    return Float16Error(why, before, after, trials.samples)


@dataclass(frozen=True)
class _Step:
    """A place, and what it does alone: root mean square over the worst values, over the range."""

    place: Place
    error: float


class _Trials:
    """Runs the model with switches; with all of them off it is the float model."""

    def __init__(
        self, switched: Switched, session: Session, batches: BatchStream, *, work: float, progress: Progress
    ) -> None:
        self.places, self.work = switched.places, work
        self._session, self._progress = session, progress
        outputs = switched.model.graph.outputs
        self._names = [value.name or "" for value in outputs if is_float32(value)]
        self._classes = self._names[0] if len(outputs) == 1 and rank(outputs[0]) == 2 else ""
        self._feeds: list[tuple[Feeds, int]] = []
        self._float: list[Outputs] = []
        off = np.zeros(len(self.places), np.float32)
        held, most = 0, int(np.clip(MACS / max(work, 1.0), FEWEST, SAMPLES))
        fixed = batch_size(switched.model)
        for feeds, many in limited(batches(fixed or BATCH), most, fixed=fixed):
            self._feeds.append((feeds, many))
            self._float.append(self._run(off, feeds, many))
            held += sum(array.nbytes for array in self._float[-1].values())
            if held > BYTES:
                break
        self.samples = sum(many for _, many in self._feeds)
        if not self.samples:
            raise DataError(
                "there are no samples to estimate the error of float16 with",
                why="it is measured on data",
                remedy=f"give the calibration data: {SAMPLES} samples are enough",
            )
        # noise is drawn anew in each pass
        self._again = int(np.clip(DRAWN_MACS / (max(work, 1.0) * self.samples), 1, DRAWS))
        self._span = {
            name: float(max(each[name].max() for each in self._float))
            - float(min(each[name].min() for each in self._float))
            or 1.0
            for name in self._names
        }
        self._worst_batch = 0

    def estimate(self, kept: frozenset[str]) -> Estimate:
        """E1 with ``kept`` in float32."""
        switches = np.array([not kept.issuperset(each.operators) for each in self.places], np.float32)
        largest, of_two, margins = 0.0, [], []
        for _ in range(self._again):
            for number, (exact, (feeds, many)) in enumerate(zip(self._float, self._feeds, strict=True)):
                away = self._away(switches, feeds, many, exact)
                error = max(_largest(each) for each in away.values())
                if error > largest:
                    largest, self._worst_batch = error, number
                if self._classes:
                    margin, between = _between_best(exact[self._classes], away[self._classes])
                    margins.append(margin / self._span[self._classes])
                    of_two.append(between)
        self._progress.advance()
        flips = _chance(np.concatenate(margins), np.concatenate(of_two)) if self._classes else None
        return Estimate(largest, flips)

    def alone(self, places: Sequence[int]) -> Iterator[float]:
        """What each place does alone to the ``WORST`` values of the batch that erred most."""
        (feeds, many), exact = self._feeds[self._worst_batch], self._float[self._worst_batch]
        whole = self._away(np.ones(len(self.places), np.float32), feeds, many, exact)
        flat = np.concatenate([np.abs(each).reshape(-1) for each in whole.values()])
        worst = np.argsort(-np.nan_to_num(flat, nan=np.inf), kind="stable")[:WORST]
        for index in places:
            switches = np.zeros(len(self.places), np.float32)
            switches[index] = 1.0
            away = self._away(switches, feeds, many, exact)
            values = np.concatenate([each.reshape(-1) for each in away.values()])[worst]
            power = float(np.mean(np.square(values)))
            yield math.sqrt(power) if math.isfinite(power) else math.inf

    def _run(self, switches: npt.NDArray[np.float32], feeds: Feeds, many: int) -> Outputs:
        found = self._session.run({**feeds, SWITCHES: switches})
        # an output without a batch has one entry, and a fixed batch is filled up
        return {name: np.atleast_1d(found[name])[:many].astype(np.float64) for name in self._names}

    def _away(
        self, switches: npt.NDArray[np.float32], feeds: Feeds, many: int, exact: Outputs
    ) -> dict[str, Reals]:
        got = self._run(switches, feeds, many)
        return {name: (got[name] - exact[name]) / self._span[name] for name in self._names}


def _order(trials: _Trials) -> list[_Step]:
    """E3, what helps most for each operator that it keeps first."""
    sums = [index for index, each in enumerate(trials.places) if each.is_sum]
    of_sums = frozenset(trials.places[index].operators[0] for index in sums)
    mends = bool(sums) and trials.estimate(of_sums).within(GOAL)
    chosen = sums if mends else range(len(trials.places))
    errors = list(trials.alone(chosen))
    waiting = [_Step(trials.places[index], error) for index, error in zip(chosen, errors, strict=True)]
    order: list[_Step] = []
    kept: set[str] = set()
    while waiting:
        best = max(waiting, key=lambda each: _worth(each, kept))
        waiting.remove(best)
        order.append(best)
        kept.update(best.place.operators)
    return order


def _worth(step: _Step, kept: set[str]) -> float:
    """Power taken away for each operator more; what takes none more is free."""
    more = len(set(step.place.operators) - kept)
    return step.error**2 / more if more else math.inf


def _shortest(order: Sequence[_Step], trials: _Trials) -> tuple[frozenset[str], Estimate]:
    """The shortest prefix within GOAL, by halves; all of the order where none is."""

    def prefix(many: int) -> frozenset[str]:
        return frozenset(name for step in order[:many] for name in step.place.operators)

    bad, good, after = 0, len(order), None
    while good - bad > 1:
        middle = (bad + good) // 2
        found = trials.estimate(prefix(middle))
        if found.within(GOAL):
            good, after = middle, found
        else:
            bad = middle
    return prefix(good), after or trials.estimate(prefix(good))


def _rejection(name: str, step: _Step) -> Rejection:
    what = "its sum" if step.place.is_sum else f"rounding {step.place.value!r}"
    reason = f"{what} in float16 alone is {step.error:.2g} of the output's range off where outputs err most"
    return Rejection(name, RULE, reason, IN_FLOAT32)


def _between_best(exact: Reals, away: Reals) -> tuple[Reals, Reals]:
    """exact, away: (samples, classes) -> how far the two best classes are apart, and its error."""
    if exact.shape[1] < 2:
        return np.zeros(0), np.zeros(0)
    best = np.argsort(exact, axis=1)[:, -2:]
    values = np.take_along_axis(exact, best, axis=1)
    errors = np.take_along_axis(away, best, axis=1)
    return values[:, 1] - values[:, 0], errors[:, 1] - errors[:, 0]


def _chance(margins: Reals, errors: Reals) -> float | None:
    """That an error as large as ``errors`` are turns a margin, on average; 1 where errors are not finite."""
    if not margins.size:
        return None
    size = float(np.sqrt(np.mean(np.square(errors))))
    if not math.isfinite(size):
        return 1.0
    if size == 0.0:
        return 0.0
    return float(np.mean([0.5 * math.erfc(margin / size / math.sqrt(2)) for margin in margins]))


def _largest(away: Reals) -> float:
    found = float(np.max(np.abs(away), initial=0.0))
    return found if math.isfinite(found) else math.inf


def _macs(model: ir.Model) -> float:
    """Multiply-accumulates of one sample."""
    return float(sum(macs(node) or 0 for node in with_open_sizes(model).graph))
