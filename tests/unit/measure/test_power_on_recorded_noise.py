"""A small form of ``benchmarks/bench_power.py``: recorded noise, replayed through the decisions of bench."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bench_power, replayed_noise
from benchmarks.replayed_noise import SPREAD, Recorded, recordings, spread_of
from edgekit.measure.sequential import Trial

TRIALS = 12  # of each recording
HELD = recordings()


def verdicts(recorded: Recorded, *, slow_down: float) -> list[str]:
    return [bench_power.trial(recorded, slow_down=slow_down, seed=seed).verdict for seed in range(TRIALS)]


@pytest.mark.parametrize("recorded", HELD, ids=lambda each: each.name)
def test_the_replay_has_ten_percent_between_pairs(recorded: Recorded) -> None:
    assert len(recorded.a) >= 12
    assert spread_of(recorded, np.random.default_rng(1), count=1200) == pytest.approx(SPREAD, rel=0.15)


def test_a_difference_of_five_percent_is_found_and_equals_are_not_called_different() -> None:
    """60 trials each: 5 % of false verdicts are 3, 8 are three standard errors more; 95 % are 57, 51 less."""
    same = [each for recorded in HELD for each in verdicts(recorded, slow_down=0.0)]
    slower = [each for recorded in HELD for each in verdicts(recorded, slow_down=0.05)]
    assert sum(each != "undecided" for each in same) <= 8
    assert slower.count("slower") >= 51
    assert "faster" not in slower


def test_rounds_of_one_process_for_pairs_would_err(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: one pair of processes whose rounds are taken for launches is called different."""
    real = replayed_noise.launches

    def one_process(*args: object, **keywords: object) -> object:
        first = next(real(*args, **keywords))  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        while True:
            yield {
                name: [(value * float(np.exp(rng.normal(0, 0.01))),) for (value,) in rows]
                for name, rows in first.items()
            }

    monkeypatch.setattr(bench_power, "launches", one_process)
    found = [each for recorded in HELD for each in verdicts(recorded, slow_down=0.0)]
    assert sum(each != "undecided" for each in found) > 20


def test_a_spread_that_is_too_small_in_the_plan_would_find_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of the plan: it believes in a third of the noise."""
    real = Trial.planned
    monkeypatch.setattr(
        Trial,
        "planned",
        property(lambda self: max(6, real.fget(self) // 9)),  # type: ignore[attr-defined]
    )
    normal = replayed_noise.normal(np.random.default_rng(0), pairs=400)
    found = [bench_power.trial(normal, slow_down=0.05, seed=seed).verdict for seed in range(30)]
    assert found.count("slower") < 25


def test_one_launch_is_enough_for_a_release_that_allows_five_percent() -> None:
    """Over all recordings; without the allowance (a limit of 1) it would not be."""
    found = [bench_power.one_launch(recorded) for recorded in HELD]
    assert np.mean([each["slower called not slower"] for each in found]) <= 0.05
    assert np.mean([each["equal called slower"] for each in found]) <= 0.05


def test_one_launch_is_no_ground_for_faster_or_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side of it: why `bench` takes many launches."""
    monkeypatch.setattr(bench_power, "NOT_SLOWER_LIMIT", 1.0)
    found = [bench_power.one_launch(recorded)["equal called slower"] for recorded in HELD]
    assert max(found) > 0.025  # half of what two-sided 5 % would be
