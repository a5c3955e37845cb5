"""judge: every gate in every status, and the order of the exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from edgekit.errors import ExitCode
from edgekit.validation.budget import Budget, Speed, Verdict, judge
from edgekit.validation.statistics import Drop


def drop(value: float, low: float, high: float, *, unit: str = "pp") -> Drop:
    lost = max(0, round(value * 10))
    return Drop("top1", 0.98, 0.98 - value / 100, value, low, high, unit, "given", 0.95, 1000, lost, 0)


FAST = Speed("yes", 0.6, 0.55, 0.66)
SLOW = Speed("no", 1.4, 1.3, 1.5)
OPEN = Speed("undecided", 1.04, 0.98, 1.1)


@dataclass(frozen=True)
class Accuracy:
    id: str
    drop: Drop | None
    status: str
    code: ExitCode
    on: Literal["error", "fail", "pass"] = "error"


ACCURACY = [
    Accuracy("inside", drop(0.2, -0.1, 0.9), "pass", ExitCode.OK),
    Accuracy("high-end-on-the-budget", drop(0.2, -0.1, 1.0), "pass", ExitCode.OK),
    Accuracy("better-than-reference", drop(-1, -2.0, -0.2), "pass", ExitCode.OK),
    Accuracy("above", drop(3.0, 1.01, 5.0), "fail", ExitCode.ACCURACY_GATE),
    Accuracy("above-whatever-straddling-means", drop(3, 1.01, 5), "fail", ExitCode.ACCURACY_GATE, "pass"),
    Accuracy("low-end-on-the-budget", drop(3.0, 1.0, 5.0), "inconclusive", ExitCode.INCONCLUSIVE),
    Accuracy("straddles", drop(0.5, -0.1, 1.1), "inconclusive", ExitCode.INCONCLUSIVE),
    Accuracy("straddles-fail", drop(0.5, -0.1, 1.1), "fail", ExitCode.ACCURACY_GATE, "fail"),
    Accuracy("straddles-pass", drop(0.5, -0.1, 1.1), "pass", ExitCode.OK, "pass"),
    Accuracy("not-measured", None, "inconclusive", ExitCode.INCONCLUSIVE),
    Accuracy("not-measured-never-passes", None, "inconclusive", ExitCode.INCONCLUSIVE, "pass"),
]


@pytest.mark.parametrize("case", ACCURACY, ids=lambda case: case.id)
def test_accuracy(case: Accuracy) -> None:
    verdict = judge(Budget(max_drop_pp=1.0, on_inconclusive=case.on), drop=case.drop)
    (gate,) = verdict.gates
    assert (gate.name, gate.status, verdict.exit_code) == ("accuracy", case.status, case.code)
    assert gate.reason
    assert bool(gate.remedy) == (case.status != "pass")


def test_a_straddled_budget_says_how_many_samples_would_decide() -> None:
    (gate,) = judge(Budget(max_drop_pp=1.0), drop=drop(0.5, -0.1, 1.1)).gates
    assert "samples would decide" in gate.reason
    assert gate.measured == "+0.5 pp [-0.1, +1.1] on 1000 samples"
    (gate,) = judge(Budget(max_drop_pp=0.5), drop=drop(0.5, -0.1, 1.1)).gates
    assert "no number of samples" in gate.reason


def test_relative_drops_keep_their_unit() -> None:
    (gate,) = judge(Budget(max_drop_pp=2.0), drop=drop(1.0, 0.5, 1.5, unit="%")).gates
    assert (gate.limit, "%" in gate.measured, "pp" in gate.measured) == ("drop <= 2 %", True, False)


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [
        (400, "pass", ExitCode.OK),
        (401, "fail", ExitCode.LATENCY_OR_SIZE_GATE),
        (None, "inconclusive", ExitCode.INCONCLUSIVE),
    ],
)
def test_size(size: int | None, status: str, code: ExitCode) -> None:
    verdict = judge(Budget(max_size_bytes=400), size_bytes=size)
    assert (verdict.gates[0].status, verdict.exit_code) == (status, code)


@pytest.mark.parametrize(
    ("p95", "required", "status", "code"),
    [
        (2.0, False, "pass", ExitCode.OK),
        (2.1, False, "fail", ExitCode.LATENCY_OR_SIZE_GATE),
        (float("nan"), False, "fail", ExitCode.LATENCY_OR_SIZE_GATE),
        (None, False, "not_measured", ExitCode.OK),
        (None, True, "fail", ExitCode.LATENCY_OR_SIZE_GATE),
    ],
)
def test_latency(p95: float | None, required: bool, status: str, code: ExitCode) -> None:
    budget = Budget(max_latency_ms=2.0, require_measured=required)
    verdict = judge(budget, latency_p95_ms=p95, unmeasured="no GPU here")
    assert (verdict.gates[0].status, verdict.exit_code) == (status, code)
    assert ("no GPU here" in verdict.gates[0].reason) == (p95 is None)


@dataclass(frozen=True)
class Slower:
    id: str
    speed: Speed | None
    status: str
    code: ExitCode
    on: Literal["error", "fail", "pass"] = "error"


SLOWER = [
    Slower("faster", FAST, "pass", ExitCode.OK),
    Slower("slower", SLOW, "fail", ExitCode.LATENCY_OR_SIZE_GATE),
    Slower("open", OPEN, "inconclusive", ExitCode.INCONCLUSIVE),
    Slower("open-fail", OPEN, "fail", ExitCode.LATENCY_OR_SIZE_GATE, "fail"),
    Slower("open-pass", OPEN, "pass", ExitCode.OK, "pass"),
    Slower("not-measured", None, "not_measured", ExitCode.OK),
]


@pytest.mark.parametrize("case", SLOWER, ids=lambda case: case.id)
def test_never_slower(case: Slower) -> None:
    verdict = judge(Budget(never_slower=True, on_inconclusive=case.on), speed=case.speed)
    assert (verdict.gates[0].status, verdict.exit_code) == (case.status, case.code)


BUDGET = Budget(max_drop_pp=1.0, max_size_bytes=400, max_latency_ms=2.0, never_slower=True)


def everything(found: Drop, size: int, speed: Speed) -> Verdict:
    return judge(BUDGET, drop=found, size_bytes=size, latency_p95_ms=1.0, speed=speed)


def test_the_gravest_exit_code_wins() -> None:
    bad, fine, between = drop(3, 2, 4), drop(0, -0.4, 0.4), drop(0.9, 0.1, 1.8)
    assert everything(bad, 999, OPEN).exit_code is ExitCode.ACCURACY_GATE
    assert everything(between, 999, OPEN).exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert everything(between, 400, FAST).exit_code is ExitCode.INCONCLUSIVE
    assert everything(fine, 400, FAST).exit_code is ExitCode.OK
    assert [everything(f, 400, FAST).status for f in (bad, between, fine)] == ["fail", "inconclusive", "pass"]


def test_gates_come_in_a_fixed_order_and_only_where_there_is_a_limit() -> None:
    names = [gate.name for gate in everything(drop(0, 0, 0), 1, FAST).gates]
    assert names == ["accuracy", "size", "latency", "never_slower"]
    assert judge(Budget()) == Verdict("pass", ExitCode.OK, ())
