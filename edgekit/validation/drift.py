"""Two runners, the same inputs -> how far apart their outputs are, output by output.

    max_abs        max |r - c|
    mean_abs       mean |r - c|
    steps          |r - c| / step of the candidate's output, where it is quantized: p95, p99.9, max
    cosine         sum r c / sqrt(sum r^2 sum c^2), over all elements of all samples
    sqnr_db        10 log10(sum r^2 / sum (r - c)^2)
    agreement      share of samples with the same argmax, for outputs that look like class scores (rank 2)
    flips          how many samples have another argmax
    kl             mean over samples of KL(softmax r || softmax c) in nats, for class scores (``confidence``)

Streamed: sums, maxima and one histogram of the steps are kept. Its bins are logarithmic, 32 to an octave, so
that a quantile is exact to 2.2 %; the bin's upper edge is reported (never too small), and never more than the
exact maximum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.spec import Array, BatchStream, Progress, Runner, Silent
from edgekit.validation.confidence import are_probabilities, are_scores, divergence
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE, scored_outputs
from edgekit.validation.streaming import checked, stream

BINS_PER_OCTAVE = 32
LOWEST_OCTAVE, HIGHEST_OCTAVE = -20, 30  # a millionth of a step to a billion steps; beyond: the edge bins


@dataclass(frozen=True)
class OutputDrift:
    """How far one output of the candidate is from the reference's.

    Attributes:
        output: name.
        max_abs: largest difference, in the output's unit.
        mean_abs: mean difference.
        step: one quantization step of the candidate's output; None where it is not quantized.
        p95_steps: 95 % of the elements differ by at most so many steps; None without a step.
        p999_steps: likewise for 99.9 %.
        max_steps: the largest difference in steps.
        cosine: 1 = same direction; 0 where exactly one side is all zero.
        sqnr_db: signal to noise; inf where nothing differs, -inf where the reference is all zero.
        label_agreement: share of samples with the same argmax; None unless the output has rank 2.
        elements: how many elements were compared.
        flips: samples with another argmax; None unless the output has rank 2.
        kl: mean KL divergence of the class probabilities in nats; None where there are none.
        samples: how many samples were compared.
    """

    output: str
    max_abs: float
    mean_abs: float
    step: float | None
    p95_steps: float | None
    p999_steps: float | None
    max_steps: float | None
    cosine: float
    sqnr_db: float
    label_agreement: float | None
    elements: int
    flips: int | None = None
    kl: float | None = None
    samples: int = 0


@dataclass(frozen=True)
class Drift:
    """Drift of all outputs, in the reference's order.

    Attributes:
        outputs: one row for each output.
        count: number of samples.
    """

    outputs: tuple[OutputDrift, ...]
    count: int

    @property
    def worst(self) -> OutputDrift:
        """The output with the lowest SQNR; of equals the first."""
        return min(self.outputs, key=lambda row: row.sqnr_db)


def _histogram() -> npt.NDArray[np.int64]:
    return np.zeros((HIGHEST_OCTAVE - LOWEST_OCTAVE) * BINS_PER_OCTAVE + 1, np.int64)


@dataclass
class _Accumulator:
    """What is kept of one output while it streams by."""

    name: str
    step: float | None
    elements: int = 0
    samples: int = 0
    max_abs: float = 0.0
    sum_abs: float = 0.0
    dot: float = 0.0
    reference_power: float = 0.0
    candidate_power: float = 0.0
    noise_power: float = 0.0
    same_label: int | None = None
    divergence: float | None = None
    probable: bool = False
    histogram: npt.NDArray[np.int64] = field(default_factory=_histogram)

    def add(self, reference: npt.NDArray[Any], candidate: npt.NDArray[Any]) -> None:
        if reference.shape != candidate.shape:
            raise DataError(
                f"output {self.name!r} is {reference.shape} in the reference and {candidate.shape}"
                " in the candidate",
                why="drift compares element by element",
                remedy="compare an artifact with the model it was made from",
            )
        r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
        gap = np.abs(r - c)
        self.elements += gap.size
        self.samples += len(reference)
        self.max_abs = max(self.max_abs, float(gap.max(initial=0.0)))
        self.sum_abs += float(gap.sum())
        self.dot += float(r @ c)
        self.reference_power += float(r @ r)
        self.candidate_power += float(c @ c)
        self.noise_power += float(gap @ gap)
        if self.step is not None:
            with np.errstate(divide="ignore"):
                octave = np.log2(gap / self.step)
            place = np.ceil(
                (np.clip(octave, LOWEST_OCTAVE, HIGHEST_OCTAVE) - LOWEST_OCTAVE) * BINS_PER_OCTAVE
            )
            self.histogram += np.bincount(place.astype(np.int64), minlength=len(self.histogram))
        if reference.ndim == 2 and reference.shape[1] > 1:
            same = int((reference.argmax(axis=1) == candidate.argmax(axis=1)).sum())
            self.same_label = (self.same_label or 0) + same
        if are_scores(reference) and len(reference):
            if self.divergence is None:  # the reference's first batch says whether softmax is in the model
                self.probable, self.divergence = are_probabilities(reference), 0.0
            self.divergence += float(divergence(reference, candidate, given=self.probable).sum())

    def quantile_steps(self, share: float) -> float | None:
        if self.step is None:
            return None
        place = int(np.searchsorted(np.cumsum(self.histogram), math.ceil(share * self.elements)))
        largest = self.max_abs / self.step
        if place == 0:  # everything below a millionth of a step
            return min(2.0**LOWEST_OCTAVE, largest)
        return min(float(2.0 ** (LOWEST_OCTAVE + place / BINS_PER_OCTAVE)), largest)

    def finish(self) -> OutputDrift:
        norm = math.sqrt(self.reference_power) * math.sqrt(self.candidate_power)
        cosine = self.dot / norm if norm else float(self.noise_power == 0.0)
        if self.noise_power == 0.0:
            sqnr = math.inf
        elif self.reference_power == 0.0:
            sqnr = -math.inf
        else:
            sqnr = 10.0 * math.log10(self.reference_power / self.noise_power)
        return OutputDrift(
            output=self.name,
            max_abs=self.max_abs,
            mean_abs=self.sum_abs / self.elements if self.elements else 0.0,
            step=self.step,
            p95_steps=self.quantile_steps(0.95),
            p999_steps=self.quantile_steps(0.999),
            max_steps=None if self.step is None else self.max_abs / self.step,
            cosine=max(-1.0, min(1.0, cosine)),
            sqnr_db=sqnr,
            label_agreement=None if self.same_label is None else self.same_label / self.samples,
            elements=self.elements,
            flips=None if self.same_label is None else self.samples - self.same_label,
            kl=None if self.divergence is None else self.divergence / self.samples,
            samples=self.samples,
        )


class DriftTally:
    """Drift of all outputs of two runners whose outputs stream by.

    Args:
        outputs: names of the reference's outputs.
        output_steps: one quantization step of the candidate's outputs, by name; absent = not quantized.

    Raises:
        DataError: a step that is not a positive number.
    """

    def __init__(self, outputs: Iterable[str], *, output_steps: Mapping[str, float]) -> None:
        for name, step in output_steps.items():
            if not (math.isfinite(step) and step > 0.0):
                raise DataError(
                    f"the quantization step of output {name!r} is {step}",
                    why="a step is a positive number; anything else makes drift in steps meaningless",
                    remedy="compile the artifact again",
                )
        self._rows = {name: _Accumulator(name, output_steps.get(name)) for name in outputs}

    def add(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> None:
        """Outputs of the same samples.

        Raises:
            DataError: an output is missing or has another shape.
        """
        for name, row in self._rows.items():
            if name not in candidate:
                raise _no_output(name)
            row.add(reference[name], candidate[name])

    def finish(self) -> Drift:
        """The drift of everything that was added."""
        rows = tuple(row.finish() for row in self._rows.values())
        return Drift(rows, max((row.samples for row in rows), default=0))


def _no_output(name: str) -> DataError:
    return DataError(
        f"the candidate has no output {name!r}",
        why="drift compares outputs of the same name",
        remedy="compare an artifact with the model it was made from",
    )


def drift(
    reference: Runner,
    candidate: Runner,
    *,
    batches: BatchStream,
    count: int,
    output_steps: Mapping[str, float],
    progress: Progress | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Drift:
    """Run both on the first ``count`` samples and compare every output of the reference.

    Args:
        reference: the float original.
        candidate: what would ship, in the reference's names and layouts.
        batches: the samples.
        count: how many of them; fewer is an error.
        output_steps: one quantization step of the candidate's outputs, by name; absent = not quantized.
        progress: one step for each sample.
        batch_size: samples for one call of the runners.

    Raises:
        DataError: no samples, an output that is missing, of another shape or not finite, a step that is not
            a positive number.
    """
    names = tuple(spec.name for spec in reference.outputs)
    missing = [name for name in names if name not in {spec.name for spec in candidate.outputs}]
    if missing:
        raise _no_output(missing[0])
    tally = DriftTally(names, output_steps=output_steps)
    told = progress or Silent()
    told.stage("drift", total=count)
    for first, feeds in stream(batches, count=count, batch_size=batch_size, exact=False):
        length = max(len(v) for v in feeds.values() if v.ndim > 0)
        left = checked(reference.run(feeds), first=first, length=length, who="reference", is_reference=True)
        right = checked(candidate.run(feeds), first=first, length=length, who="candidate")
        tally.add(left, right)
        told.advance(length)
    return tally.finish()


def labels(
    runner: Runner,
    *,
    batches: BatchStream,
    count: int,
    output: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Array:
    """The runner's own labels, argmax of the scored output (N, C) -> (N,).

    Raises:
        DataError: no samples, or an output that is not (N, C) or not finite.
    """
    name = scored_outputs(tuple(s.name for s in runner.outputs), roles=("output",), output=output)["output"]
    parts = []
    for first, feeds in stream(batches, count=count, batch_size=batch_size, exact=False):
        length = max(len(v) for v in feeds.values() if v.ndim > 0)
        scores = checked(runner.run(feeds), first=first, length=length, who="candidate")[name]
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise DataError(
                f"output {name!r} has shape {scores.shape}, which gives no labels",
                why="labels are the argmax of scores of shape (batch, classes)",
                remedy="name the output that holds class scores",
            )
        parts.append(scores.argmax(axis=1))
    return np.concatenate(parts)


def agreement(a: Array, b: Array) -> float:
    """Share of samples with the same label, of two candidates' labels (N,).

    Raises:
        DataError: no labels, or another number of them.
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise DataError(
            f"labels of shape {a.shape} and {b.shape} cannot be compared",
            why="agreement counts the same samples one by one",
            remedy="label the same samples with both",
        )
    return float(np.mean(a == b))
