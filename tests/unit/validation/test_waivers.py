"""Waiving: W1 to W4, the day of expiry to the day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import get_args

import pytest

from edgekit.errors import ExitCode, RecipeError
from edgekit.recipe import GateName, parse
from edgekit.validation.budget import GATE_CODES, Gate, verdict_of
from edgekit.validation.waiver import Waiver, Waiving

DAY = date(2026, 6, 30)
ACCURACY = Waiver("accuracy", "litert-*", "the new head is not trained yet", DAY)
FAILED = Gate("accuracy", "fail", "+3 pp", "drop <= 1 pp", "above the budget", "quantize less")


def one(gate: Gate = FAILED, *, target: str = "litert-cpu", today: date = DAY) -> Gate:
    (found,) = Waiving((ACCURACY,), today)([gate], target=target)
    return found


def test_a_waived_gate_passes_and_says_why() -> None:  # W1
    gate = one()
    assert gate.status == "waived"
    assert gate.reason == "waived until 2026-06-30 (the new head is not trained yet); above the budget"
    assert gate.measured == FAILED.measured
    assert verdict_of([gate]).exit_code is ExitCode.OK


def test_the_day_after_it_fails_again_and_names_the_waiver() -> None:  # W2
    gate = one(today=DAY + timedelta(days=1))
    assert gate.status == "fail"
    assert "its waiver (the new head is not trained yet) expired on 2026-06-30" in gate.reason
    assert verdict_of([gate]).exit_code is ExitCode.ACCURACY_GATE


def test_an_inconclusive_gate_is_waived_too() -> None:  # W1
    gate = one(Gate("accuracy", "inconclusive", "", "", "straddles", "more samples"))
    assert gate.status == "waived"
    assert verdict_of([gate]).exit_code is ExitCode.OK


@dataclass(frozen=True)
class Untouched:
    id: str
    gate: Gate
    target: str = "litert-cpu"


@pytest.mark.parametrize(
    "case",
    [
        Untouched("another gate", Gate("size", "fail", "", "", "too large")),
        Untouched("another target", FAILED, "onnxruntime-cpu"),
        Untouched("it passes", Gate("accuracy", "pass", "", "", "")),
        Untouched("it was not measured", Gate("accuracy", "not_measured", "", "", "")),
    ],
    ids=lambda case: case.id,
)
def test_nothing_changes_where(case: Untouched) -> None:  # W3
    assert one(case.gate, target=case.target) == case.gate


def test_of_two_the_later_one_counts() -> None:
    older = Waiver("accuracy", "*", "old", DAY - timedelta(days=9))
    (gate,) = Waiving((older, ACCURACY), DAY)([FAILED], target="litert-cpu")
    assert "the new head" in gate.reason


@dataclass(frozen=True)
class Finding:
    id: str
    gates: dict[str, list[tuple[str, str]]]
    says: str


@pytest.mark.parametrize(
    "case",
    [
        Finding("used", {"litert-cpu": [("accuracy", "waived")]}, ""),
        Finding("expired and missed", {"litert-cpu": [("accuracy", "fail")]}, ""),
        Finding("not released this time", {"openvino-cpu": [("accuracy", "pass")]}, ""),
        Finding("not needed", {"litert-cpu": [("accuracy", "pass")]}, "is not needed"),
        Finding("no such gate", {"litert-cpu": [("size", "pass")]}, "matches no gate"),
    ],
    ids=lambda case: case.id,
)
def test_a_waiver_without_use_is_a_finding(case: Finding) -> None:  # W4
    found = Waiving((ACCURACY,), DAY).findings(case.gates, targets=("litert-cpu", "openvino-cpu"))
    assert bool(found) == bool(case.says)
    assert case.says in "".join(found)


def test_a_waiver_for_a_target_that_is_not_there_is_a_finding() -> None:  # W4
    (found,) = Waiving((ACCURACY,), DAY).findings({}, targets=("openvino-cpu",))
    assert "matches no target of the recipe (openvino-cpu)" in found


RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
evaluation = { source = "e.npz" }
[[target]]
name = "onnxruntime-cpu"
[[waiver]]
gate = "accuracy"
reason = "why"
expires = 2026-06-30
"""


def test_a_recipe_holds_waivers() -> None:
    (waiver,) = parse(RECIPE, name="r").waiver
    assert (waiver.gate, waiver.target, waiver.reason, waiver.expires) == ("accuracy", "*", "why", DAY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('gate = "accuracy"', 'gate = "acuracy"'),
        ('reason = "why"', 'reason = ""'),
        ('reason = "why"', ""),
        ("expires = 2026-06-30", ""),
        ("expires = 2026-06-30", 'expires = "soon"'),
    ],
    ids=["unknown gate", "empty reason", "no reason", "no date", "not a date"],
)
def test_a_waiver_that_says_too_little_is_refused(old: str, new: str) -> None:
    with pytest.raises(RecipeError, match="waiver"):
        parse(RECIPE.replace(old, new), name="r")


def test_the_recipe_knows_every_gate() -> None:
    assert set(get_args(GateName)) == set(GATE_CODES)
