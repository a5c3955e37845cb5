"""Launches of fresh processes: their order, end (N1 to N4), what fails on the way, what comes of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgekit.measure import replicate as replicating
from edgekit.measure.replicate import (
    BUDGET_S,
    LAUNCHES,
    Plan,
    Replicated,
    Replication,
    backwards,
    log_ratio,
    replicate,
    said_of,
)
from edgekit.measure.sequential import FIRST_LOOK, LEAST_PLANNED
from edgekit.measure.timer import Rounds, Taken

Cost = Callable[[str, int], float]


class Bench:
    """Processes whose inferences take ``cost(name, launch)`` milliseconds; a launch lasts ``launch_s``."""

    def __init__(self, cost: Cost, *, launch_s: float = 1.0, gone: dict[str, int] | None = None) -> None:
        self.cost, self.launch_s, self.gone = cost, launch_s, gone or {}
        self.now_s, self.orders = 0.0, list[tuple[str, ...]]()

    def launch(self, order: Sequence[str]) -> Taken:
        index = len(self.orders)
        self.orders.append(tuple(order))
        self.now_s += self.launch_s
        alive = [name for name in order if index < self.gone.get(name, 10_000)]
        samples: dict[str, Rounds] = {name: [(self.cost(name, index),)] * 8 for name in alive}
        return Taken(samples, dict.fromkeys(alive, ""))

    def run(self, *names: str, plan: Plan) -> Replicated:
        return replicate(self.launch, names, plan, clock=lambda: self.now_s)


def lucky(*, factor: float = 1.0, spread: float = 0.1, seed: int = 0) -> Cost:
    """Each process has its own luck; all of "b" take ``factor`` times as long."""
    rng = np.random.default_rng(seed)
    return lambda name, launch: (
        (factor if name == "b" else 1.0) * float(np.exp(rng.normal(0, spread / 2**0.5)))
    )


def test_without_a_baseline_there_are_so_many_launches_and_no_decision() -> None:
    """N1"""
    bench = Bench(lucky())
    found = bench.run("a", "b", plan=Plan())
    assert len(bench.orders) == LAUNCHES
    assert found.decisions == {}
    comparison = found.comparison(baseline="a", seed=0)
    assert comparison.latencies["a"].runs == LAUNCHES * 8
    assert comparison.ratios == {}


def test_a_clear_difference_ends_it() -> None:
    """N2"""
    bench = Bench(lucky(factor=2.0, spread=0.01))
    found = bench.run("a", "b", plan=Plan("a"))
    assert found.decisions["b"].verdict == "slower"
    assert len(bench.orders) == FIRST_LOOK + 1
    assert found.comparison(baseline="a", seed=0).ratios["b"].value == pytest.approx(2.0, rel=0.02)


def test_equal_ones_end_when_five_percent_would_have_been_found() -> None:
    """N3; quiet processes need few launches for that, lucky ones many."""
    quiet, loud = Bench(lucky(spread=0.01)), Bench(lucky(spread=0.06), launch_s=0.1)
    assert quiet.run("a", "b", plan=Plan("a")).decisions["b"].verdict == "undecided"
    assert len(quiet.orders) == LEAST_PLANNED
    assert loud.run("a", "b", plan=Plan("a")).decisions["b"].verdict == "undecided"
    assert len(loud.orders) > LEAST_PLANNED


@pytest.mark.parametrize(
    ("budget_s", "launch_s", "launches"),
    [
        (None, 3.0, BUDGET_S / 3),
        (None, 30.0, 6),
        (None, 100.0, 3),
        (10.0, 3.0, 3),
        (1.0, 3.0, 1),
        (200.0, 1.0, 200),
    ],
    ids=["a minute", "six launches", "five minutes", "the user's", "one at least", "all of the user's"],
)
def test_time_ends_it(budget_s: float | None, launch_s: float, launches: float) -> None:
    """N4"""
    bench = Bench(lucky(spread=0.3), launch_s=launch_s)
    found = bench.run("a", "b", plan=Plan("a", budget_s))
    assert len(bench.orders) == launches
    assert found.decisions["b"].pairs <= launches
    assert found.launch_s == pytest.approx(launch_s)


def test_the_order_is_drawn_and_balanced() -> None:
    for seed in range(5):
        drawn = [backwards(index, seed=seed) for index in range(40)]
        assert all(drawn[index] is not drawn[index + 1] for index in range(0, 40, 2))
        assert len({drawn[index] for index in range(0, 40, 2)}) == 2
    bench = Bench(lucky())
    bench.run("a", "b", plan=Plan(seed=1))
    assert bench.orders[0] == bench.orders[1][::-1]


def test_what_a_process_gains_by_being_first_is_no_difference() -> None:
    """10 % for whoever is opened first; of 20 runs two at most are called different."""
    verdicts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        run = Replication(("a", "b"), Plan("a", seed=seed))
        while True:
            first = run.order()[0]
            costs = {
                name: (0.9 if name == first else 1.0) * float(np.exp(rng.normal(0, 0.01))) for name in "ab"
            }
            run.take({name: [(cost,)] for name, cost in costs.items()}, elapsed_s=run.count + 1.0)
            if run.over():
                break
        verdicts.append(run.decisions()["b"].verdict)
    assert sum(each != "undecided" for each in verdicts) <= 2


def test_always_the_same_order_would_make_it_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of the order."""
    monkeypatch.setattr(replicating, "backwards", lambda launch, *, seed: False)
    run = Replication(("a", "b"), Plan("a"))
    while not run.count or not run.over():
        first = run.order()[0]
        run.take({name: [(0.9 if name == first else 1.0,)] for name in "ab"}, elapsed_s=run.count + 1.0)
    assert run.decisions()["b"].verdict == "slower"


@pytest.mark.parametrize("gone", ["a", "b"])
def test_what_fails_on_the_way_is_waited_for_by_nobody(gone: str) -> None:
    bench = Bench(lucky(spread=0.1), gone={gone: 2})
    found = bench.run("a", "b", "c", plan=Plan("a"))
    assert len(found.launches[gone]) == 2
    assert len(found.launches["c"]) == len(bench.orders)
    if gone == "a":  # the baseline: what is left is measured as without one
        assert len(bench.orders) == LAUNCHES


def test_one_candidate_that_is_decided_does_not_end_the_other() -> None:
    costs = lucky(factor=2.0, spread=0.07)
    bench = Bench(costs, launch_s=0.1)
    found = bench.run("a", "b", "c", plan=Plan("a"))
    assert found.decisions["b"].verdict == "slower"
    assert found.decisions["b"].pairs < found.decisions["c"].pairs == len(bench.orders)


def test_luck_of_processes_is_in_the_interval_of_the_median() -> None:
    """Rounds without noise, processes that differ by 10 %: 9 of 10 intervals hold the truth."""
    held = 0
    for seed in range(40):
        cost = lucky(spread=0.14, seed=seed)
        launches: list[Rounds] = [[(cost("a", index),)] * 8 for index in range(12)]
        latency = Replicated({"a": launches}, {}, {}, 1.0).comparison(baseline="a", seed=0).latencies["a"]
        held += latency.low_ms <= 1.0 <= latency.high_ms
        assert latency.high_ms / latency.low_ms > 1.03
        one_process = (
            Replicated({"a": launches[:1]}, {}, {}, 1.0).comparison(baseline="a", seed=0).latencies["a"]
        )
        assert one_process.high_ms == one_process.low_ms  # that is what one process cannot know
    assert held >= 33


def test_a_pair_is_the_median_of_its_rounds() -> None:
    assert log_ratio([(2.0,), (2.0,), (9.0,)], [(1.0,), (1.0,), (1.0,)]) == pytest.approx(np.log(2))
    assert log_ratio([(2.0,), (2.0,)], [(1.0,)]) == pytest.approx(np.log(2))  # a launch that broke off
    assert log_ratio([(0.0,)], [(1.0,)]) == 0.0  # a clock that saw nothing says nothing


def test_warnings_of_launches_are_said_once() -> None:
    assert said_of(["", "", ""]) == ""
    assert said_of(["it did not settle"]) == "it did not settle"
    assert said_of(["", "it did not settle", ""]) == "it did not settle (1 of 3 launches)"
