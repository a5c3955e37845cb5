"""The sequential test of process pairs: its size, its direction, its interval, and what it plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgekit.measure import sequential
from edgekit.measure.sequential import Decision, Trial

Noise = Callable[[np.random.Generator], float]


def normal(rng: np.random.Generator) -> float:
    return float(rng.normal(0, 0.1))


def stalled(rng: np.random.Generator) -> float:
    """One pair in ten has a process that was stopped for most of its life."""
    return float(rng.normal(0, 0.5 if rng.random() < 0.1 else 0.03))


def two_levels(rng: np.random.Generator) -> float:
    """Where memory lies decides: a process is fast or slow, hardly anything between."""
    return float(rng.choice([-0.14, 0.0, 0.14]) + rng.normal(0, 0.003))


def tried(values: Sequence[float]) -> Decision:
    """A look after every pair, and the last one."""
    trial = Trial()
    for value in values:
        trial.take(value)
        trial.look(len(values))
    trial.finish()
    return trial.decision()


def run(noise: Noise, *, effect: float, seed: int) -> Decision:
    """Until it is decided or has what it plans."""
    rng, trial = np.random.default_rng(seed), Trial()
    while not trial.decided and (not trial.pairs or trial.pairs < trial.planned):
        trial.take(effect + noise(rng))
        trial.look(trial.planned)
    trial.finish()
    return trial.decision()


@pytest.mark.parametrize("noise", [normal, stalled, two_levels])
def test_equal_ones_are_called_different_in_five_percent_at_most(noise: Noise) -> None:
    """60 trials; 8 are three standard errors above 5 %."""
    verdicts = [run(noise, effect=0.0, seed=seed).verdict for seed in range(60)]
    assert sum(each != "undecided" for each in verdicts) <= 8


def test_looks_that_spend_nothing_beforehand_would_err_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: all of alpha at every look, nothing marked as spent, as a naive loop over p < 0.05 does."""
    monkeypatch.setattr(sequential.Trial, "_share", lambda self, planned: 1.0)
    monkeypatch.setattr(sequential.Trial, "_pay", lambda self, crossed: None)
    verdicts = [run(normal, effect=0.0, seed=seed).verdict for seed in range(60)]
    assert sum(each != "undecided" for each in verdicts) > 8


@pytest.mark.parametrize("noise", [normal, stalled, two_levels])
def test_a_difference_of_five_percent_is_found_by_what_it_plans(noise: Noise) -> None:
    """60 trials; 95 % are promised, 51 are three standard errors below; the other direction never."""
    verdicts = [run(noise, effect=math.log(1.05), seed=seed).verdict for seed in range(60)]
    assert verdicts.count("slower") >= 51
    assert "faster" not in verdicts


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "slower"), (0.5, "faster")])
def test_a_large_difference_needs_few_pairs(factor: float, verdict: str) -> None:
    for seed in range(5):
        found = run(normal, effect=math.log(factor), seed=seed)
        assert found.verdict == verdict
        assert found.pairs <= 16
        assert found.ratio.low <= factor <= found.ratio.high


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_fewer_than_six_pairs_are_no_verdict(pairs: int) -> None:
    found = tried([0.7] * pairs)
    assert found.verdict == "undecided"
    assert found.ratio.value == pytest.approx(math.exp(0.7))


def test_six_pairs_of_one_sign_are_one() -> None:
    values = [0.02, 0.03, 0.01, 0.05, 0.04, 0.03]
    assert tried(values).verdict == "slower"
    assert tried([-each for each in values]).verdict == "faster"
    assert tried([*values[:5], -0.03]).verdict == "undecided"


def test_noise_free_pairs_are_decided_and_equal_ones_never() -> None:
    assert tried([0.1] * 6).verdict == "slower"
    assert tried([0.0] * 50).verdict == "undecided"
    assert tried([0.0] * 50).ratio.value == 1.0


@pytest.mark.parametrize("noise", [normal, stalled, two_levels])
def test_the_interval_excludes_one_exactly_where_there_is_a_verdict(noise: Noise) -> None:
    for seed in range(20):
        for effect in (0.0, 0.05, -0.2):
            found = run(noise, effect=effect, seed=seed)
            assert found.ratio.low <= found.ratio.value <= found.ratio.high
            assert (found.verdict == "undecided") is (found.ratio.low <= 1 <= found.ratio.high)


def test_the_interval_holds_the_true_ratio() -> None:
    """80 runs of 12 pairs; 4 misses are expected, 10 are three standard errors above."""
    misses = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        found = tried([0.3 + normal(rng) for _ in range(12)])
        misses += not found.ratio.low <= math.exp(0.3) <= found.ratio.high
    assert misses <= 10


def test_one_stalled_process_does_not_carry_the_estimate_away() -> None:
    rng = np.random.default_rng(2)
    values = [float(each) for each in rng.normal(0.05, 0.01, 19)]
    assert tried([*values, 3.0]).ratio.value == pytest.approx(1.05, abs=0.01)
    assert math.exp(np.mean([*values, 3.0])) > 1.2  # the mean would be


def test_the_plan_uses_sizes_alone() -> None:
    """Signs turned at will, the plan is the same: that is why planning again costs no size."""
    rng, plans = np.random.default_rng(3), set()
    values = rng.normal(0, 0.1, 20)
    for _ in range(5):
        trial = Trial()
        for value in values * rng.choice([-1, 1], 20):
            trial.take(float(value))
        plans.add(trial.planned)
    assert len(plans) == 1


def test_more_noise_and_smaller_differences_need_more_pairs() -> None:
    needed = sequential.pairs_needed
    assert needed(0.05, 0.1, pairs=50) > needed(0.1, 0.1, pairs=50) > needed(0.1, 0.02, pairs=50)
    assert needed(0.5, 0.001, pairs=50) == sequential.LEAST_PLANNED
    assert needed(0.0, 0.1, pairs=50) == sequential.MOST_PAIRS
    assert needed(0.05, 0.1, pairs=6) > needed(0.05, 0.1, pairs=50)  # the spread is known less well


def test_an_undecided_one_says_how_many_more_would_decide() -> None:
    """And with so many it is decided in most cases."""
    rng = np.random.default_rng(5)
    values = [float(each) for each in rng.normal(0.03, 0.06, 10)]
    found = tried(values)
    assert found.verdict == "undecided"
    assert found.more is not None
    decided = 0
    for seed in range(20):
        again = np.random.default_rng(seed).normal(math.log(found.ratio.value), 0.06, 10 + found.more)
        decided += tried([float(each) for each in again]).verdict == "slower"
    assert decided >= 17
    assert tried([0.5, 0.51, 0.49, 0.5, 0.52, 0.5]).more is None


def test_what_was_decided_stands() -> None:
    trial = Trial()
    for value in [0.1, 0.11, 0.09, 0.1, 0.12, 0.1, -5.0, -5.0]:
        trial.take(value)
        trial.look(6)
    assert trial.decision().verdict == "slower"
    assert trial.pairs == 6


def test_a_decision_without_a_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="one pair at least"):
        Trial().decision()
