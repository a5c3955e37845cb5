"""loss, slowdown, growth (C1 to C7), and what MOVER covers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.errors import ExitCode
from edgekit.validation.baseline import Changes, baseline_gates
from edgekit.validation.budget import Budget, verdict_of
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.regression import (
    Change,
    NotComparable,
    Scored,
    growth,
    loss,
    mover,
    slowdown,
    wilson,
)

SEED = 0
COUNT = 500


def evaluation(wrong: int, *, count: int = COUNT) -> Evaluation:
    """``wrong`` of the first samples are wrong."""
    hit = np.arange(count) >= wrong
    return Evaluation("top1", float(hit.mean()), {"hit": hit}, count, {"output": "y"})


def scored(wrong: int, *, paired: bool = True, reference: float = 0.98, count: int = COUNT) -> Scored:
    value = 1 - wrong / count
    drop = 100 * (reference - value)
    return Scored(
        "top1",
        "pp",
        value,
        reference,
        drop,
        drop - 0.5,
        drop + 0.5,
        count,
        evaluation(wrong, count=count) if paired else None,
    )


def change(old: Scored | None, new: Scored | None, *, same_file: bool = False) -> Change:
    found = loss(old, new, same_file=same_file, seed=SEED)
    assert isinstance(found, Change), found
    return found


def why(old: Scored | None, new: Scored | None) -> str:
    found = loss(old, new, same_file=False, seed=SEED)
    assert isinstance(found, NotComparable), found
    return found.why


def test_the_same_file_loses_nothing() -> None:  # C1
    assert change(None, None, same_file=True) == Change(0, 0, 0, "pp", "the same file")


def test_evidence_for_each_sample_is_paired() -> None:  # C2
    found = change(scored(10), scored(20))
    assert found.value == pytest.approx(2.0)
    assert found.method.startswith("paired: paired proportions")


def test_without_evidence_the_drops_are_subtracted() -> None:  # C3
    found = change(scored(10), scored(20, paired=False))
    assert found.value == pytest.approx(2.0)
    assert "same reference" in found.method
    assert found.high - found.value == pytest.approx(np.hypot(0.5, 0.5))


def test_against_another_reference_the_values_are() -> None:  # C4
    found = change(scored(10, paired=False), scored(20, paired=False, reference=0.99))
    assert found.value == pytest.approx(2.0)
    assert "Wilson" in found.method
    assert found.low < 2.0 < found.high


def test_what_cannot_be_compared_says_why() -> None:  # C5
    assert "of the old one" in why(None, scored(1))
    assert "of the new one" in why(scored(1), None)
    assert "scored by auc" in why(replace(scored(1), metric="auc"), scored(1))
    mae = replace(scored(1, paired=False), metric="mae")
    assert "has no interval" in why(mae, replace(mae, reference=0.5))
    own = replace(scored(1, paired=False), metric="mine.py:score")
    assert "has no interval" in why(own, replace(own, reference=0.5))
    assert "on 400 samples" in why(scored(1, count=400), scored(1))


def test_latency_needs_one_machine() -> None:  # C6
    old, new = (1.0, 0.9, 1.1), (2.0, 1.9, 2.1)
    found = slowdown(old, new, same_machine=True)
    assert isinstance(found, Change)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.9 / 1.1, 2.1 / 0.9))
    other = slowdown(old, new, same_machine=False)
    assert isinstance(other, NotComparable)
    assert "different machines" in other.why
    assert isinstance(slowdown(None, new, same_machine=True), NotComparable)


def test_one_measurement_is_no_change_however_wide_its_interval() -> None:  # C6
    noisy = (1.0, 0.5, 3.0)
    found = slowdown(noisy, noisy, same_machine=True)
    assert isinstance(found, Change)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    other = slowdown(noisy, (1.0, 0.5, 2.9), same_machine=True)
    assert isinstance(other, Change)
    assert other.high > 1.1


def test_sizes_are_exact() -> None:  # C7
    found = growth(100, 150)
    assert isinstance(found, Change)
    assert (found.low, found.value, found.high) == (1.5, 1.5, 1.5)
    assert isinstance(growth(None, 150), NotComparable)


def test_mover_with_wilson_covers_the_true_difference() -> None:
    """Two independent shares at n = 500: 95 % +- 2 % of 2,000 intervals hold the true difference."""
    rng = np.random.default_rng(SEED)
    one, other, trials = 0.97, 0.94, 2000
    counts = rng.binomial(COUNT, (one, other), (trials, 2)) / COUNT
    intervals = [mover(wilson(a, COUNT), wilson(b, COUNT)) for a, b in counts]
    covered = np.mean([low <= one - other <= high for _, low, high in intervals])
    assert 0.93 <= covered <= 0.97


BUDGET = Budget(baseline_max_drop_pp=1.0, baseline_max_latency=1.1, baseline_max_size=1.1)
GOOD = Change(0.0, -0.5, 0.5, "pp", "")
FAST, SMALL = Change(1.0, 0.95, 1.05, "x", ""), Change(1.0, 1.0, 1.0, "x", "")


def codes(changes: Changes | None, budget: Budget = BUDGET) -> tuple[list[str], ExitCode]:
    gates = baseline_gates(budget, changes, source="baseline b")
    return [gate.status for gate in gates], verdict_of(gates).exit_code


def test_gates_against_a_baseline() -> None:
    assert codes(Changes(GOOD, FAST, SMALL)) == (["pass"] * 3, ExitCode.OK)
    worse = Change(3.0, 2.0, 4.0, "pp", "")
    assert codes(Changes(worse, FAST, SMALL))[1] is ExitCode.ACCURACY_GATE
    slow = Change(1.5, 1.4, 1.6, "x", "")
    assert codes(Changes(GOOD, slow, SMALL))[1] is ExitCode.LATENCY_OR_SIZE_GATE
    assert codes(Changes(GOOD, FAST, slow))[1] is ExitCode.LATENCY_OR_SIZE_GATE
    open_ = Change(1.0, 0.5, 1.5, "pp", "")
    assert codes(Changes(open_, FAST, SMALL)) == (["inconclusive", "pass", "pass"], ExitCode.INCONCLUSIVE)
    strict = replace(BUDGET, on_inconclusive="fail")
    assert codes(Changes(open_, FAST, SMALL), strict)[1] is ExitCode.ACCURACY_GATE


def test_a_target_that_the_baseline_lacks_is_not_measured() -> None:
    assert codes(None) == (["not_measured"] * 3, ExitCode.OK)
    assert codes(None, replace(BUDGET, require_measured=True))[1] is ExitCode.OK
    elsewhere = Changes(GOOD, NotComparable("another machine"), SMALL)
    assert codes(elsewhere)[1] is ExitCode.OK
    assert codes(elsewhere, replace(BUDGET, require_measured=True))[1] is ExitCode.LATENCY_OR_SIZE_GATE
