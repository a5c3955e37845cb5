"""The rule that chooses what ships, case by case (S1 to S6 of pipeline/search.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edgekit.errors import ExitCode
from edgekit.pipeline.judge import Judged, gate_rows, speed_of
from edgekit.pipeline.proof import Proof
from edgekit.pipeline.result import CandidateRow, RatioRow
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.search import choose, mark_shipped
from edgekit.spec import Artifact, FileEntry, Precision, RunOptions
from edgekit.validation.budget import Budget, judge, verdict_of
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.statistics import Drop
from edgekit.validation.waiver import Waiver, Waiving

SIZE = 1000


def judged(
    precision: Precision,
    *,
    drop: tuple[float, float, float] = (0.0, -0.3, 0.3),
    ratio: tuple[float, float, float] | None = None,
    budget: Budget | None = None,
    waived: str = "",
    pruned: bool = False,
) -> Judged:
    """An artifact with these figures: drop and ratio are (value, low, high)."""
    is_float = precision is Precision.FP32 and not pruned
    role: Literal["float", "candidate"] = "float" if is_float else "candidate"
    limits = budget or Budget(max_drop_pp=1.0, never_slower=role == "candidate")
    measured = RatioRow("fp32", *ratio) if ratio else None
    verdict = judge(
        limits,
        drop=Drop("top1", 0.9, 0.9, *drop, "pp", "test", 0.95, 900),
        size_bytes=SIZE,
        speed=speed_of(measured) if measured else None,
        unmeasured="no device here",
    )
    if waived:
        allowed = Waiving((Waiver(waived, "*", "for now", date(2026, 6, 30)),), date(2026, 6, 1))
        verdict = verdict_of(allowed(verdict.gates, target="t"))
    artifact = Artifact(Path(), (FileEntry("m", "0" * 64, SIZE),), "t", "b", precision, RunOptions(), (), ())
    evaluation = Evaluation("top1", 0.9, {"hit": np.ones(1, bool)}, 1, {"output": "y"})
    proof = Proof(evaluation, None, {}, (), "test")
    row = CandidateRow(
        "t", precision, role, "m", "0" * 64, SIZE, "", verdict.status, gate_rows(verdict), ratio=measured
    )
    return Judged(artifact, proof, row, verdict, Scheme(precision, pruned=pruned))


FLOAT = judged(Precision.FP32)


@dataclass(frozen=True)
class Case:
    """Candidates, and what must ship."""

    id: str
    candidates: tuple[Judged, ...]
    wanted: Precision
    ships: Precision | None
    exit_code: ExitCode = ExitCode.OK
    says: str = ""
    locked: bool = False


W8, FP16, AUTO = Precision.W8A8, Precision.FP16, Precision.AUTO
FASTER, SLOWER, OPEN = (0.5, 0.4, 0.6), (1.5, 1.4, 1.6), (1.02, 0.9, 1.2)

CASES = [
    Case("faster and inside the budget", (judged(W8, ratio=FASTER),), W8, W8, says="0.50 times"),
    Case("a tie within 5 % is not slower", (judged(W8, ratio=(1.0, 0.97, 1.04)),), W8, W8),
    Case("slower: float ships", (judged(W8, ratio=SLOWER),), W8, Precision.FP32, says="slower than float"),
    Case("not decided: float ships", (judged(W8, ratio=OPEN),), W8, Precision.FP32, says="not proved"),
    Case("the fastest of two", (judged(FP16, ratio=(0.7, 0.6, 0.8)), judged(W8, ratio=FASTER)), AUTO, W8),
    Case("the other order", (judged(FP16, ratio=FASTER), judged(W8, ratio=(0.7, 0.6, 0.8))), AUTO, FP16),
    Case("latency not measured here", (judged(FP16),), FP16, FP16, says="inside the budget"),
    Case(
        "accuracy broken, precision named",
        (judged(W8, drop=(5.0, 4.0, 6.0), ratio=FASTER),),
        W8,
        None,
        ExitCode.ACCURACY_GATE,
        "accuracy",
    ),
    Case(
        "accuracy broken, choice open",
        (judged(W8, drop=(5.0, 4.0, 6.0), ratio=FASTER),),
        AUTO,
        Precision.FP32,
    ),
    Case(
        "accuracy open, precision named",
        (judged(W8, drop=(1.0, 0.5, 1.5), ratio=FASTER),),
        W8,
        None,
        ExitCode.INCONCLUSIVE,
    ),
    Case(
        "size broken, precision named",
        (judged(W8, ratio=FASTER, budget=Budget(max_size_bytes=10, never_slower=True)),),
        W8,
        None,
        ExitCode.LATENCY_OR_SIZE_GATE,
        "size",
    ),
    Case(
        "accuracy waived",
        (judged(W8, drop=(5.0, 4.0, 6.0), ratio=FASTER, waived="accuracy"),),
        W8,
        W8,
        says="accuracy waived; otherwise inside",
    ),
    Case(
        "what needs no waiver goes first, though slower",
        (
            judged(W8, drop=(5.0, 4.0, 6.0), ratio=FASTER, waived="accuracy"),
            judged(FP16, ratio=(0.7, 0.6, 0.8)),
        ),
        AUTO,
        FP16,
    ),
    Case("slower and waived", (judged(W8, ratio=SLOWER, waived="never_slower"),), W8, W8, says="1.50 times"),
    Case("float asked for", (), Precision.FP32, Precision.FP32, says="asks for float"),
    Case("locked and undecided", (judged(W8, ratio=OPEN),), W8, W8, locked=True, says="lock"),
    Case(
        "locked and slower",
        (judged(W8, ratio=SLOWER),),
        W8,
        None,
        ExitCode.LATENCY_OR_SIZE_GATE,
        "--update",
        locked=True,
    ),
    Case(
        "unproved speed where measuring is required",
        (judged(FP16, budget=Budget(never_slower=True, require_measured=True)),),
        FP16,
        None,
        ExitCode.LATENCY_OR_SIZE_GATE,
        "not measured",
    ),
    Case("without never_slower", (judged(W8, ratio=SLOWER, budget=Budget(max_drop_pp=1.0)),), W8, W8),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_rule(case: Case) -> None:
    found = choose(FLOAT, case.candidates, wanted=case.wanted, locked=case.locked)
    assert (found.judged.row.precision if found.judged else None) == case.ships
    assert found.exit_code is case.exit_code
    assert case.says in found.reason


FP32, LOST = Precision.FP32, (5.0, 4.0, 6.0)
PRUNED = judged(FP32, ratio=(0.7, 0.6, 0.8), pruned=True)
PRUNED_LOSES = judged(FP32, drop=LOST, ratio=FASTER, pruned=True)
PRUNED_SLOW = judged(FP32, ratio=SLOWER, pruned=True)
PRUNED_CASES = [
    Case("S6: pruned and quantized is faster", (PRUNED, judged(W8, ratio=FASTER)), W8, W8),
    Case("S6: float asked for is the pruned one", (PRUNED,), FP32, FP32, says="0.70 times"),
    Case("S6: quantized loses, choice open", (PRUNED, judged(W8, drop=LOST, ratio=FASTER)), AUTO, FP32),
    Case("S6: quantized is slower", (PRUNED, judged(W8, ratio=SLOWER)), W8, FP32, says="slower than float"),
    Case(
        "S6: quantized loses, precision named",
        (PRUNED, judged(W8, drop=LOST, ratio=FASTER)),
        W8,
        None,
        ExitCode.ACCURACY_GATE,
    ),
    Case(
        "S6: pruning loses, choice open",
        (PRUNED_LOSES, judged(W8, drop=LOST, ratio=FASTER)),
        AUTO,
        None,
        ExitCode.ACCURACY_GATE,
    ),
    Case("S6: pruning loses, float asked for", (PRUNED_LOSES,), FP32, None, ExitCode.ACCURACY_GATE),
    Case("S6: pruned and locked", (PRUNED,), FP32, FP32, locked=True, says="the lock prescribes it"),
]


@pytest.mark.parametrize("case", PRUNED_CASES, ids=lambda case: case.id)
def test_the_rule_where_the_model_was_pruned(case: Case) -> None:
    found = choose(FLOAT, case.candidates, wanted=case.wanted, locked=case.locked)
    assert found.judged is None or found.judged in case.candidates, "the unpruned float form shipped"
    assert (found.judged.row.precision if found.judged else None) == case.ships
    assert found.exit_code is case.exit_code
    assert case.says in found.reason


def test_pruned_and_slower_ships_the_unpruned_float_form() -> None:
    """S4: nothing is worse or slower than float."""
    for wanted in (FP32, AUTO, W8):
        found = choose(FLOAT, (PRUNED_SLOW, judged(W8, ratio=SLOWER)), wanted=wanted, locked=False)
        assert found.judged is FLOAT
        assert found.exit_code is ExitCode.OK
        assert "fp32" in found.reason


def test_a_float_variant_that_breaks_the_size_budget_does_not_ship() -> None:
    large = judged(Precision.FP32, budget=Budget(max_size_bytes=10))
    found = choose(large, (judged(W8, ratio=SLOWER),), wanted=W8, locked=False)
    assert found.judged is None
    assert found.exit_code is ExitCode.LATENCY_OR_SIZE_GATE


def test_only_the_shipped_row_is_marked() -> None:
    assert mark_shipped(FLOAT).row.shipped
    assert not FLOAT.row.shipped
