"""Resampled data with a known true drop -> how often the 95 % interval holds it, and lets a bad model pass.

A population of samples has its drop; data sets are drawn from it with replacement, reference and candidate
together. Each data set gets the interval that `edgekit` would print (``paired_drop``), 1,000 times a case:

    coverage     share of intervals that hold the population's drop: 93 to 97 %
    false pass   share of data sets whose whole interval lies below the population's drop: at most 5 %. That
                 is a gate whose budget is the true drop, which passes a model that is exactly too bad; a
                 worse model passes less often.

A proportion of a few expected events cannot be covered by exactly 95 %: the counts are whole numbers, and the
only interval that is never too short covers more. Cases with fewer than ten expected differing samples
therefore have no upper bar, only the lower one.

Binary cases draw the counts of lost and gained samples (a population of any size looks the same). The others
draw samples of a synthetic population of per-sample statistics whose shape is that of the real metric: skewed
errors, boxes that are lost or shifted, pixels that flip in patches.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import RESULTS, Bar, Report
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import task_metric
from edgekit.validation.statistics import paired_drop

TRIALS = 1000
SEED = 20261126
LOWEST, HIGHEST = 0.93, 0.97
FALSE_PASS = 0.05
FEW_EXPECTED = 10.0  # differing samples in a data set
HEAVY = (
    "heavy tails, mae 5 % worse"  # reported, and no bar: no interval without a model of the tail holds there
)

Numbers = npt.NDArray[Any]
Statistics = Mapping[str, Numbers]


@dataclass(frozen=True)
class Population:
    """Per-sample statistics of reference and candidate, and the drop over all of them."""

    metric: str
    reference: Statistics
    candidate: Statistics

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.reference.values())))

    def pair(self, picks: npt.NDArray[np.int64]) -> tuple[Evaluation, Evaluation]:
        """The evaluations of the samples ``picks``."""
        row = task_metric(self.metric)
        found = []
        for statistics in (self.reference, self.candidate):
            taken = {name: array[picks] for name, array in statistics.items()}
            found.append(Evaluation(self.metric, row.value(taken), taken, len(picks), {}))
        return found[0], found[1]

    @property
    def true_drop(self) -> float:
        """The drop of the whole population, in the metric's unit."""
        reference, candidate = self.pair(np.arange(self.count))
        loss = reference.value - candidate.value
        row = task_metric(self.metric)
        if row.drop_unit == "%":
            return 100.0 * (1.0 if row.higher_is_better else -1.0) * loss / reference.value
        return (100.0 if row.drop_unit == "pp" else 1.0) * (loss if row.higher_is_better else -loss)

    @property
    def differing(self) -> float:
        """Share of samples whose statistics differ."""
        differs = np.zeros(self.count, bool)
        for name, one in self.reference.items():
            differs |= (one != self.candidate[name]).reshape(self.count, -1).any(axis=1)
        return float(differs.mean())


def errors(rng: np.random.Generator, *, metric: str, worse: float) -> Population:
    """Skewed errors (gamma, shape 1.5), of which the candidate's are a noisy ``1 + worse`` times as large."""
    size = 40_000
    base = rng.gamma(1.5, 1.0, size)
    other = np.abs(base + rng.normal(0.0, 0.3, size)) * (1.0 + worse)
    elements = np.ones(size, np.int64)
    return Population(metric, {"error": base, "elements": elements}, {"error": other, "elements": elements})


def heavy_errors(rng: np.random.Generator) -> Population:
    """Log-normal errors (sigma 1): a few samples carry most of the mean, and most data sets lack them."""
    size = 40_000
    base = rng.lognormal(0.0, 1.0, size)
    other = 1.05 * base * rng.lognormal(0.0, 0.3, size) / np.exp(0.3**2 / 2)
    elements = np.ones(size, np.int64)
    return Population("mae", {"error": base, "elements": elements}, {"error": other, "elements": elements})


def rare_errors(rng: np.random.Generator, *, share: float) -> Population:
    """Equal but for a ``share`` of samples, whose error is five times as large."""
    size = 40_000
    base = rng.lognormal(0.0, 0.5, size)
    other = np.where(rng.random(size) < share, 5.0 * base, base)
    elements = np.ones(size, np.int64)
    return Population("mae", {"error": base, "elements": elements}, {"error": other, "elements": elements})


def tokens(rng: np.random.Generator, *, worse: float) -> Population:
    """Losses of sentences of 5 to 60 tokens; the candidate loses ``worse`` a token more, unevenly."""
    size = 20_000
    length = rng.integers(5, 61, size)
    hardness = rng.gamma(4.0, 0.5, size)
    loss = length * hardness
    other = loss + length * rng.normal(worse, 0.1, size)
    return Population("perplexity", {"loss": loss, "tokens": length}, {"loss": other, "tokens": length})


def classes(rng: np.random.Generator, *, metric: str, wrong: float, more: float) -> Population:
    """Ten unequal classes: a share ``wrong`` is guessed at random, and ``more`` of it by the candidate."""
    size = 40_000
    label = rng.choice(10, size, p=np.arange(1, 11) / 55.0)
    guess = np.where(rng.random(size) < wrong, rng.integers(0, 10, size), label)
    other = np.where(rng.random(size) < more, rng.integers(0, 10, size), guess)
    return Population(metric, {"guess": guess, "label": label}, {"guess": other, "label": label})


def ranks(rng: np.random.Generator, *, noise: float) -> Population:
    """Scores of two classes a standard deviation and a half apart; the candidate's are noisier."""
    size = 20_000
    label = (rng.random(size) < 0.3).astype(np.int64)
    score = rng.normal(1.5 * label, 1.0)
    other = score + rng.normal(0.0, noise, size)
    return Population("auc", {"score": score, "label": label}, {"score": other, "label": label})


def pixels(rng: np.random.Generator, *, flips: float) -> Population:
    """Images of 256 pixels, four classes of which one is rare; whole patches are wrong."""
    size, width = 20_000, 256
    prior = np.array([0.6, 0.25, 0.12, 0.03])
    tables = {name: np.zeros((2, size, 4), np.int64) for name in ("intersection", "truth", "found")}
    for n in range(size):
        mix = rng.dirichlet(4.0 * prior)
        truth = rng.multinomial(width, mix)
        for side, share in enumerate((0.08, 0.08 + flips * rng.exponential())):
            moved = np.array([rng.binomial(k, min(share, 0.9)) for k in truth])
            right = truth - moved
            landed = rng.multinomial(int(moved.sum()), [0.25] * 4)
            tables["truth"][side, n] = truth
            tables["intersection"][side, n] = right
            tables["found"][side, n] = right + landed
    return Population("miou", {k: v[0] for k, v in tables.items()}, {k: v[1] for k, v in tables.items()})


def boxes(rng: np.random.Generator, *, lost: float, shift: float) -> Population:
    """Images of up to three boxes of two classes; the candidate loses some and places the others worse."""
    size = 3_000
    corner = rng.uniform(0, 200, (size, 3, 2))
    truth = np.concatenate([corner, corner + rng.uniform(10, 40, (size, 3, 2))], axis=2)
    kind = rng.integers(-1, 2, (size, 3))
    score = rng.beta(4, 2, (size, 5))
    false = np.concatenate([rng.uniform(0, 200, (size, 2, 2)), rng.uniform(210, 240, (size, 2, 2))], axis=2)
    false_kind = rng.integers(0, 2, (size, 2))
    found = truth + rng.normal(0, 1.5, truth.shape)
    missed = rng.random((size, 3)) < 0.15
    labels = np.concatenate([truth, kind[..., None]], axis=2)
    row = task_metric("map")

    def statistics(box: Numbers, gone: Numbers, noise: float) -> Statistics:
        return row.sufficient(
            {
                "boxes": np.concatenate([box, false], axis=1),
                "scores": np.clip(score + noise * rng.normal(0, 1, score.shape), 0, 1),
                "classes": np.concatenate([np.where(gone, -1, kind), false_kind], axis=1),
            },
            labels,
        )

    worse = found + rng.normal(0, shift, truth.shape)
    gone = missed | (rng.random((size, 3)) < lost)
    return Population("map", statistics(found, missed, 0.0), statistics(worse, gone, 0.03))


@dataclass(frozen=True)
class Case:
    """One population and one number of samples."""

    id: str
    count: int
    make: Callable[[np.random.Generator], Population]


@dataclass(frozen=True)
class Counts:
    """Right/wrong: probabilities of a lost and of a gained sample."""

    lost: float
    gained: float
    count: int

    @property
    def id(self) -> str:
        """The case in words."""
        return f"top1, {self.count} samples, lost {self.lost:.1%}, gained {self.gained:.1%}"


@dataclass(frozen=True)
class Covered:
    """What 1,000 intervals did."""

    id: str
    true_drop: float
    expected_differing: float
    coverage: float
    below: float
    above: float
    width: float


BINARY = tuple(
    Counts(lost, gained, count)
    for count in (200, 500, 2000, 10_000)
    for lost, gained in (
        (0.0, 0.0),
        (0.005, 0.005),
        (0.01, 0.0),
        (0.015, 0.005),
        (0.03, 0.01),
        (0.05, 0.05),
        (0.12, 0.02),
    )
)

OTHERS = tuple(
    Case(f"{name}, {count} samples", count, make)
    for name, make, counts in (
        ("mae, 5 % worse", functools.partial(errors, metric="mae", worse=0.05), (50, 100, 500)),
        ("mae, equal on average", functools.partial(errors, metric="mae", worse=0.0), (100, 500)),
        ("mae, 2 % are five times worse", functools.partial(rare_errors, share=0.02), (300, 600)),
        ("rmse, 5 % worse", functools.partial(errors, metric="rmse", worse=0.05), (200, 500)),
        ("perplexity, 2 % a token", functools.partial(tokens, worse=0.02), (100, 500)),
        ("f1, 3 % more guesses", functools.partial(classes, metric="f1", wrong=0.2, more=0.03), (200, 400)),
        ("auc, noisier", functools.partial(ranks, noise=0.5), (100, 500)),
        ("miou, patches flip", functools.partial(pixels, flips=0.03), (50, 200, 1000)),
        ("map, lost and shifted", functools.partial(boxes, lost=0.05, shift=1.0), (80, 160)),
        ("map, equal boxes but 2 %", functools.partial(boxes, lost=0.02, shift=0.0), (120,)),
        (HEAVY, heavy_errors, (100, 500)),
    )
    for count in counts
)  # fmt: skip


def cover_counts(case: Counts, *, trials: int = TRIALS, seed: int = SEED) -> Covered:
    """Right/wrong: the counts alone decide the interval."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(case.count, [case.lost, case.gained, 1 - case.lost - case.gained], trials)
    limits = np.array([_limits(int(lost), int(gained), case.count) for lost, gained, _ in draws])
    return _covered(case.id, 100 * (case.lost - case.gained), (case.lost + case.gained) * case.count, limits)


@functools.cache
def _limits(lost: int, gained: int, count: int) -> tuple[float, float]:
    reference, candidate = np.ones(count, bool), np.ones(count, bool)
    candidate[:lost] = False
    reference[lost : lost + gained] = False
    drop = paired_drop(
        *(Evaluation("top1", float(hit.mean()), {"hit": hit}, count, {}) for hit in (reference, candidate))
    )
    return drop.low_pp, drop.high_pp


def cover(case: Case, *, trials: int = TRIALS, seed: int = SEED) -> Covered:
    """Any other metric: samples are drawn."""
    population = case.make(np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    limits = []
    for trial in range(trials):
        drop = paired_drop(*population.pair(rng.integers(0, population.count, case.count)), seed=trial)
        limits.append((drop.low_pp, drop.high_pp))
    return _covered(case.id, population.true_drop, population.differing * case.count, np.array(limits))


def _covered(name: str, truth: float, differing: float, limits: Numbers) -> Covered:
    low, high = limits[:, 0], limits[:, 1]
    slack = 1e-9  # a drop of exactly zero, and its interval's end, are sums of rounded numbers
    below, above = float(np.mean(high < truth - slack)), float(np.mean(low > truth + slack))
    return Covered(name, truth, differing, 1.0 - below - above, below, above, float(np.mean(high - low)))


def _timed(case: Case | Counts) -> tuple[Covered, float]:
    begin = time.monotonic()
    found = cover_counts(case) if isinstance(case, Counts) else cover(case)
    return found, time.monotonic() - begin


def run() -> Report:
    """All cases, in as many processes as there are processors.

    EDGEKIT_BENCH_CASES=REGEX measures only the cases that match and keeps the results of the others.
    """
    wanted = re.compile(os.environ.get("EDGEKIT_BENCH_CASES", ""))
    every: list[Case | Counts] = [*BINARY, *OTHERS]
    measured = {}
    with ProcessPoolExecutor(int(os.environ.get("EDGEKIT_BENCH_PROCESSES", os.cpu_count() or 1))) as pool:
        for row, seconds in pool.map(_timed, [case for case in every if wanted.search(case.id)]):
            text = f"{row.coverage:.3f}, below {row.below:.3f}, above {row.above:.3f}, width {row.width:.3g}"
            print(
                f"  {row.id}: true drop {row.true_drop:.3g}, covered {text} ({seconds:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
            measured[row.id] = row
    known = {**_kept(), **measured}
    found = [known[case.id] for case in every if case.id in known]
    return Report(
        "interval_coverage", _bars(found), {"trials": TRIALS, "cases": [vars(row) for row in found]}
    )


def _kept() -> dict[str, Covered]:
    """What the last run found."""
    path = RESULTS / "interval_coverage.json"
    if not path.is_file():
        return {}
    return {row["id"]: Covered(**row) for row in json.loads(path.read_text("utf-8"))["raw"]["cases"]}


def _bars(found: list[Covered]) -> tuple[Bar, ...]:
    found = [row for row in found if not row.id.startswith(HEAVY)] or found
    many = [row for row in found if row.expected_differing >= FEW_EXPECTED] or found
    lowest = min(found, key=lambda row: row.coverage)
    highest = max(many, key=lambda row: row.coverage)
    passed = max(found, key=lambda row: row.below)
    return (
        Bar(f"lowest coverage ({lowest.id})", lowest.coverage, LOWEST, at_most=False),
        Bar(f"highest coverage where ten samples or more differ ({highest.id})", highest.coverage, HIGHEST),
        Bar(f"share of data sets where a model at the budget passes ({passed.id})", passed.below, FALSE_PASS),
    )
