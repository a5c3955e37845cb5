"""Each safeguard of the timer, seen to matter: with it the truth comes out, without it the bias does."""

from __future__ import annotations

import numpy as np

from edgekit.measure import statistics

ROUNDS = 20
DRIFT = 0.01  # each turn is 1 % slower than the one before: a machine that heats up


def turns(order: list[str]) -> dict[str, list[float]]:
    """Two equal programs under drift: the median of each turn, by program, in the order given."""
    found: dict[str, list[float]] = {"a": [], "b": []}
    for position, name in enumerate(order):
        found[name].append(float(np.exp(DRIFT * position)))
    return found


def test_abba_cancels_a_drift_that_a_fixed_order_takes_for_a_difference() -> None:
    reversing = turns(["a", "b", "b", "a"] * (ROUNDS // 2))
    fair = statistics.ratio_interval(reversing["b"], reversing["a"], seed=0)
    assert abs(fair.value - 1) < 1e-12
    fixed = turns(["a", "b"] * ROUNDS)
    biased = statistics.ratio_interval(fixed["b"], fixed["a"], seed=0)
    assert biased.low > 1 + DRIFT / 2  # red: certain of a difference that is not there


def test_swapped_sides_turn_a_no_into_a_yes() -> None:
    rng = np.random.default_rng(0)
    fast, slow = (list(level * np.exp(rng.normal(0, 0.03, ROUNDS))) for level in (1.0, 1.5))
    assert statistics.not_slower(statistics.ratio_interval(slow, fast, seed=0), limit=1.05) == "no"
    assert statistics.not_slower(statistics.ratio_interval(fast, slow, seed=0), limit=1.05) == "yes"


def test_pairing_by_round_survives_a_disturbance_that_hits_both_sides() -> None:
    """A neighbour doubles every time in half of the blocks. Paired: exact. Shuffled pairs: useless."""
    rng = np.random.default_rng(1)
    load = np.repeat(rng.choice([1.0, 2.0], ROUNDS // 2), 2)
    a, b = list(load), list(1.1 * load)
    paired = statistics.ratio_interval(b, a, seed=0)
    assert abs(paired.value - 1.1) < 1e-12
    assert paired.high - paired.low < 1e-12
    shuffled = statistics.ratio_interval(list(rng.permutation(b)), a, seed=0)
    assert shuffled.high - shuffled.low > 0.2


def test_a_five_percent_slow_down_is_found_and_never_with_the_wrong_sign() -> None:
    """100 trials at 3 % noise between rounds, 40 rounds: found in 90 at least, never called faster."""
    rng, found = np.random.default_rng(2), 0
    for trial in range(100):
        a, b = (list(level * np.exp(rng.normal(0, 0.03, 40))) for level in (1.0, 1.05))
        ratio = statistics.ratio_interval(b, a, seed=trial)
        found += ratio.low > 1
        assert ratio.high > 1
    assert found >= 90


def test_an_interval_without_the_expansion_misses_more_than_it_says() -> None:
    """Eight blocks, 1000 trials: the plain 95 % interval misses over 6.5 %, the expanded under 5 %."""
    rng, plain, expanded = np.random.default_rng(3), 0, 0
    for trial in range(1000):
        values = rng.normal(1, 0.1, 8)
        draws = np.median(values[np.random.default_rng(trial).integers(0, 8, (500, 8))], axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        plain += not low <= 1 <= high
        ours = statistics.median_interval(list(values), seed=trial)
        expanded += not ours.low <= 1 <= ours.high
    assert plain / 1000 > 0.065
    assert expanded / 1000 <= 0.05
