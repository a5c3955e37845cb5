"""Interleaved timing with fake sessions on a fake clock: deterministic to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from edgekit.errors import InputError, UnknownNameError
from edgekit.measure import timer
from edgekit.measure.timer import Comparison, Ratio, compare
from edgekit.spec import Array, Feeds, Session, TensorSpec, from_json, to_json

FEEDS: dict[str, Array] = {"x": np.zeros((1, 1), np.float32)}


@dataclass
class Clock:
    now_ms: float = 0.0
    turns: list[str] = field(default_factory=list)


@dataclass
class FakeSession:
    """Takes ``cost(now, runs so far)`` milliseconds for each inference of a clock that all sessions share."""

    name: str
    clock: Clock
    cost: Callable[[float, int], float]
    done: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def run(self, feeds: Feeds) -> dict[str, Array]:
        raise NotImplementedError

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        assert feeds is FEEDS
        self.clock.turns.append(self.name)
        samples = []
        for _ in range(runs):
            samples.append(self.cost(self.clock.now_ms, self.done))
            self.clock.now_ms += samples[-1]
            self.done += 1
        return tuple(samples)

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError


class Counting:
    def __init__(self) -> None:
        self.total: int | None = None
        self.steps = 0

    def stage(self, name: str, *, total: int | None = None) -> None:
        self.total = total

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        raise AssertionError(text)


def sessions_of(**costs: Callable[[float, int], float]) -> dict[str, FakeSession]:
    clock = Clock()
    return {name: FakeSession(name, clock, cost) for name, cost in costs.items()}


def jitter(center: float, *, spread: float, seed: int) -> Callable[[float, int], float]:
    rng = np.random.default_rng(seed)
    return lambda now, done: center * float(np.exp(rng.normal(0, spread)))


def compared(sessions: dict[str, FakeSession], *, rounds: int = timer.ROUNDS) -> Comparison:
    typed: dict[str, Session] = dict(sessions)
    return compare(typed, FEEDS, baseline="float", seed=0, rounds=rounds)


@pytest.mark.parametrize(
    ("factor", "answer"), [(0.5, "yes"), (1.0, "yes"), (2.0, "no")], ids=["faster", "equal", "twice as slow"]
)
def test_the_verdict_follows_the_truth(factor: float, answer: str) -> None:
    found = compared(
        sessions_of(
            float=jitter(0.5, spread=0.02, seed=1), candidate=jitter(0.5 * factor, spread=0.02, seed=2)
        )
    )
    assert found.not_slower("candidate") == answer
    assert found.ratios["candidate"].value == pytest.approx(factor, rel=0.02)
    assert found.not_slower("float") == "yes"
    assert found.ratios["float"] == Ratio(1.0, 1.0, 1.0)
    assert found.latencies["float"].stable


def test_noise_makes_a_close_call_undecided() -> None:
    clock_noise = np.random.default_rng(3)

    def rough(now: float, done: int) -> float:  # each run of 100 inferences draws its own level
        return 0.3 * float(levels[done // 100 % 50])

    levels = np.exp(clock_noise.normal(0, 0.15, 50))
    found = compared(sessions_of(float=jitter(0.3, spread=0.02, seed=1), candidate=rough))
    assert found.not_slower("candidate") == "undecided"
    assert not found.latencies["candidate"].stable
    assert "standard deviation between rounds" in found.latencies["candidate"].warning
    assert found.latencies["float"].stable


def test_rounds_alternate_and_are_told_to_the_progress() -> None:
    sessions = sessions_of(float=lambda now, done: 1.0, b=lambda now, done: 1.0)
    typed: dict[str, Session] = dict(sessions)
    counting = Counting()
    compare(typed, FEEDS, baseline="float", seed=0, rounds=11, progress=counting)
    turns = sessions["float"].clock.turns[-24:]
    assert turns == ["float", "b", "b", "float"] * 6  # 11 made even
    assert (counting.total, counting.steps) == (12, 12)


def test_repetitions_fill_the_round_and_every_sample_is_kept() -> None:
    found = compared(sessions_of(float=lambda now, done: 0.5, slow=lambda now, done: 40.0), rounds=10)
    assert found.latencies["float"].runs == 10 * 60  # 30 ms of 0.5 ms; the lead-in of each round left out
    assert found.latencies["slow"].runs == 10  # longer than a round: one each, no lead-in
    assert len(found.latencies["float"].raw_ms) == 600


def test_very_short_inferences_are_capped_and_flagged() -> None:
    found = compared(sessions_of(float=lambda now, done: 0.001), rounds=10)
    assert found.latencies["float"].runs == 10 * timer.MOST_RUNS
    assert "too short for the clock" in found.latencies["float"].warning


def test_warm_up_is_detected_not_counted() -> None:
    def warming(now: float, done: int) -> float:
        return 1.0 + 9.0 * float(np.exp(-done / 15))

    found = compared(sessions_of(float=warming), rounds=10)
    assert found.latencies["float"].p99_ms < 1.2
    assert found.latencies["float"].warning == ""


def test_a_warm_up_that_never_settles_is_said_and_ends() -> None:
    def growing(now: float, done: int) -> float:
        return float(1.05**done)  # three windows are never within 5 %

    found = compared(sessions_of(float=growing), rounds=10)
    assert "did not settle" in found.latencies["float"].warning
    assert not found.latencies["float"].stable


def test_a_slow_model_that_never_settles_stops_at_its_time_budget() -> None:
    sessions = sessions_of(float=lambda now, done: 600.0 * (1 + done % 2))
    compared(sessions, rounds=10)
    assert sessions["float"].done <= 1 + 4 + 10  # first, warm-up, rounds


def test_percentiles_tell_a_tail() -> None:
    found = compared(sessions_of(float=lambda now, done: 10.0 if done % 10 == 9 else 1.0))
    latency = found.latencies["float"]
    assert latency.p50_ms == 1.0
    assert latency.p95_ms == pytest.approx(10.0)
    assert latency.low_ms <= latency.p50_ms <= latency.high_ms


def test_the_same_samples_give_the_same_comparison_and_survive_json() -> None:
    one, two = (
        compared(sessions_of(float=jitter(0.4, spread=0.1, seed=5), b=jitter(0.4, spread=0.1, seed=6)))
        for _ in range(2)
    )
    assert one == two
    assert from_json(Comparison, to_json(one)) == one


def test_a_baseline_that_is_not_there_and_too_few_rounds_are_refused() -> None:
    sessions: dict[str, Session] = dict(sessions_of(float=lambda now, done: 1.0))
    with pytest.raises(UnknownNameError, match="unknown baseline 'flaot'"):
        compare(sessions, FEEDS, baseline="flaot", seed=0)
    with pytest.raises(InputError, match="9 rounds are too few"):
        compare(sessions, FEEDS, baseline="float", seed=0, rounds=9)
    found = compare(sessions, FEEDS, baseline="float", seed=0, rounds=10)
    with pytest.raises(UnknownNameError, match="unknown session 'int8'"):
        found.not_slower("int8")
