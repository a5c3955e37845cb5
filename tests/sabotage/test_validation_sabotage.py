"""The accuracy gate must go red: broken candidates, swapped labels, and an interval that could not fail."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import ExitCode
from edgekit.spec import Array, Feeds, TensorSpec
from edgekit.validation.budget import Budget, Verdict, judge
from edgekit.validation.drift import agreement, drift
from edgekit.validation.evaluate import Evaluation, evaluate
from edgekit.validation.statistics import paired_drop

Numbers = npt.NDArray[Any]

SEED = 3
COUNT = 899  # the digits test set
RNG_CENTRES = np.random.default_rng(SEED).normal(size=(10, 20))
LABELS = np.random.default_rng(SEED).integers(0, 10, COUNT)
SAMPLES = RNG_CENTRES[LABELS] + np.random.default_rng(SEED).normal(scale=0.5, size=(COUNT, 20))


def batches(size: int) -> Iterator[dict[str, Array]]:
    for start in range(0, COUNT, size):
        yield {"x": SAMPLES[start : start + size]}


@dataclass
class Linear:
    """Scores x @ w.T: a classifier that is nearly always right."""

    w: Numbers

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float64", ("batch", 20)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("scores", "float64", ("batch", 10)),)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        distance = ((np.asarray(feeds["x"])[:, None, :] - self.w[None]) ** 2).sum(axis=2)
        return {"scores": -distance}


def verdict_on(candidate: Numbers, *, labels: Numbers = LABELS) -> Verdict:
    reference, other = (
        evaluate(Linear(w), metric="top1", batches=batches, labels=labels, count=COUNT)
        for w in (RNG_CENTRES, candidate)
    )
    return judge(Budget(max_drop_pp=1.0), drop=paired_drop(reference, other))


def test_the_healthy_candidate_passes() -> None:
    """What must not fire: int8-like rounding of the weights keeps every gate green."""
    step = np.abs(RNG_CENTRES).max() / 127
    assert verdict_on(np.round(RNG_CENTRES / step) * step).exit_code is ExitCode.OK


@dataclass(frozen=True)
class Fault:
    id: str
    break_it: Callable[[Numbers], Numbers]


FAULTS = [
    Fault("another-model", lambda w: np.random.default_rng(SEED + 1).normal(size=w.shape)),
    Fault("classes-rolled", lambda w: np.roll(w, 1, axis=0)),
    Fault("two-classes-swapped", lambda w: w[[1, 0, *range(2, 10)]]),
    Fault("input-features-reversed", lambda w: w[:, ::-1]),
    Fault("scale-eight-times-too-large", lambda w: 8.0 * w),
    Fault("all-zero", np.zeros_like),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_broken_candidate_fails_the_accuracy_gate(fault: Fault) -> None:
    verdict = verdict_on(fault.break_it(RNG_CENTRES))
    assert verdict.exit_code is ExitCode.ACCURACY_GATE
    assert verdict.gates[0].status == "fail"


def test_swapped_labels_show_in_the_reference_itself() -> None:
    """The drop alone cannot see them: both sides are at chance. The value that is reported can."""
    shuffled = np.random.default_rng(SEED).permutation(LABELS)
    value = evaluate(Linear(RNG_CENTRES), metric="top1", batches=batches, labels=shuffled, count=COUNT).value
    assert value < 0.2
    assert (
        evaluate(Linear(RNG_CENTRES), metric="top1", batches=batches, labels=LABELS, count=COUNT).value > 0.9
    )


def test_a_small_sample_cannot_pass() -> None:
    """Twenty samples without a disagreement prove nothing about one point: inconclusive, not green."""

    def few(size: int) -> Iterator[dict[str, Array]]:
        yield {"x": SAMPLES[:20]}

    both = evaluate(Linear(RNG_CENTRES), metric="top1", batches=few, labels=LABELS[:20], count=20)
    verdict = judge(Budget(max_drop_pp=1.0), drop=paired_drop(both, both))
    assert verdict.exit_code is ExitCode.INCONCLUSIVE
    assert "about 381 samples" in verdict.gates[0].reason  # z^2 (100 - 1) = 380.3


@pytest.mark.parametrize("true_drop", [0.01, 0.012, 0.02])
def test_a_truly_bad_model_passes_in_at_most_five_percent(true_drop: float) -> None:
    """1,000 data sets of 899 samples with a true loss at or above the budget of 1 pp, seed 3."""
    rng = np.random.default_rng(SEED)
    passed = 0
    for lost, gained, _ in rng.multinomial(COUNT, [true_drop + 0.003, 0.003, 0.994 - true_drop], 1000):
        passed += _verdict_on_counts(int(lost), int(gained)) is ExitCode.OK
    assert passed <= 50


@functools.cache
def _verdict_on_counts(lost: int, gained: int) -> ExitCode:
    reference, candidate = np.ones(COUNT, bool), np.ones(COUNT, bool)
    candidate[:lost] = False
    reference[lost : lost + gained] = False
    pair = [
        Evaluation("top1", float(hit.mean()), {"hit": hit}, COUNT, {"output": "scores"})
        for hit in (reference, candidate)
    ]
    return judge(Budget(max_drop_pp=1.0), drop=paired_drop(*pair)).exit_code


def test_drift_sees_one_wrong_element() -> None:
    class OneWrong(Linear):
        def run(self, feeds: Feeds) -> dict[str, Array]:
            scores = super().run(feeds)["scores"].astype(np.float64)
            scores[0, 4] += 5.0
            return {"scores": scores}

    found = drift(
        Linear(RNG_CENTRES),
        OneWrong(RNG_CENTRES),
        batches=batches,
        count=COUNT,
        output_steps={"scores": 0.1},
        batch_size=COUNT,
    ).outputs[0]
    assert found.max_steps == pytest.approx(50.0)
    assert found.p95_steps == 0.0 or (found.p95_steps or 1.0) <= 1e-6
    clean = drift(
        Linear(RNG_CENTRES), Linear(RNG_CENTRES), batches=batches, count=COUNT, output_steps={}
    ).outputs[0]
    assert clean.max_abs == 0.0


def test_agreement_sees_one_other_label() -> None:
    other = LABELS.copy()
    other[5] = (other[5] + 1) % 10
    assert agreement(LABELS, other) == pytest.approx(1 - 1 / COUNT)
