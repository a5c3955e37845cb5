"""Turns -> minutes, throttle factor and verdict. G1 to G4: the cases of edgekit/measure/sustained.py."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.measure import agent, sustained
from edgekit.measure.conditions import Reading
from edgekit.measure.sustained import Turn

MINUTE_S = 60.0


def run(
    factors: list[float], *, noise: float = 0.02, seed: int = 0, last_turns: int = agent.TURNS
) -> list[Turn]:
    """One factor for each minute; the last one has ``last_turns`` turns."""
    rng = np.random.default_rng(seed)
    turns = []
    for minute, factor in enumerate(factors):
        count = agent.TURNS if minute < len(factors) - 1 else last_turns
        for _ in range(count):
            level = 10 * factor * float(np.exp(rng.normal(0, noise)))
            samples = level * np.exp(rng.normal(0, 0.01, 50))
            clock = Reading(0.0, frequency_mhz=2400 / factor, temperature_c=60 + 10 * minute)
            seconds = MINUTE_S / agent.TURNS
            turns.append(
                Turn(minute, seconds, round(seconds * 1000 / level), tuple(map(float, samples)), clock)
            )
    return turns


def test_a_machine_that_slows_down_has_throttled() -> None:  # G1
    found = sustained.factor(run([1, 1.02, 1.2, 1.3, 1.3, 1.3]), minute_s=MINUTE_S, seed=0)
    assert found is not None
    assert found.low < 1.3 < found.high
    assert found.low > 1.25
    assert sustained.held(found) == "throttled"


def test_a_machine_that_holds_its_speed_has_not() -> None:  # G2
    for seed in range(30):
        found = sustained.factor(run([1] * 6, seed=seed), minute_s=MINUTE_S, seed=seed)
        assert sustained.held(found) == "steady"


def test_near_the_limit_is_undecided() -> None:  # G3
    found = sustained.factor(run([1, 1.05, 1.05], noise=0.03), minute_s=MINUTE_S, seed=0)
    assert sustained.held(found) == "undecided"


def test_sabotage_a_slow_first_minute_is_no_throttling() -> None:
    """Warming up is the other direction."""
    found = sustained.factor(run([1.3, 1, 1, 1]), minute_s=MINUTE_S, seed=0)
    assert found is not None
    assert found.high < 1
    assert sustained.held(found) == "steady"


def test_a_slow_minute_in_between_is_no_throttling() -> None:
    found = sustained.factor(run([1, 1, 1.5, 1, 1, 1]), minute_s=MINUTE_S, seed=0)
    assert sustained.held(found) == "steady"


@pytest.mark.parametrize(
    "turns", [run([1]), run([1, 1.5], last_turns=6), []], ids=["one", "one and a half", "none"]
)
def test_without_two_whole_minutes_there_is_no_verdict(turns: list[Turn]) -> None:  # G4
    assert sustained.factor(turns, minute_s=MINUTE_S, seed=0) is None
    assert sustained.held(None) == ""


def test_a_part_of_a_minute_is_shown_and_not_judged_by() -> None:
    turns = run([1, 1, 1, 2.0], last_turns=3)
    minutes = sustained.minutes(turns, minute_s=MINUTE_S)
    assert [each.whole for each in minutes] == [True, True, True, False]
    assert sustained.held(sustained.factor(turns, minute_s=MINUTE_S, seed=0)) == "steady"


def test_a_minute_says_percentiles_throughput_clock_and_heat() -> None:
    first, second = sustained.minutes(run([1, 2]), minute_s=MINUTE_S)
    assert first.p50_ms == pytest.approx(10, rel=0.02)
    assert first.p50_ms < first.p95_ms < 11
    assert first.per_s == pytest.approx(100, rel=0.05)
    assert (first.frequency_mhz, second.frequency_mhz) == (2400, 1200)
    assert (first.temperature_c, second.temperature_c) == (60, 70)


def test_without_a_sensor_there_is_no_figure() -> None:
    turns = [Turn(0, 5.0, 5, (1.0, 2.0), Reading(0.0))]
    (minute,) = sustained.minutes(turns, minute_s=MINUTE_S)
    assert (minute.frequency_mhz, minute.temperature_c) == (None, None)


def test_samples_that_travel_are_spread_over_the_turn() -> None:
    assert agent.thinned(list(range(10)), None) == list(range(10))
    kept = agent.thinned(list(range(1001)), 100)
    assert len(kept) <= 100
    assert kept[0] == 0
    assert kept[-1] > 980
