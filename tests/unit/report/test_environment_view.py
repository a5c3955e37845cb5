"""What a reader of `bench` hears about the machine: why figures are unstable, and what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.pipeline.result import BenchResult, ConditionRow, DisturbanceRow, EnvironmentRow

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "bench.json"
REASON, REMEDY = "other processes (stress 60 %) took 61 % of the CPU during the rounds", "stop them"
CONDITIONS = (ConditionRow("", "frequency", "MHz", 3200, 1900), ConditionRow("", "others", "%", None, 61.2))


def bench(*, warning: str, disturbed: bool, unread: tuple[str, ...] = ()) -> BenchResult:
    plain = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    first = plain.rows[0]
    latency = replace(first.latency, stable=not warning, warning=warning)
    fired = (DisturbanceRow("", "W1", REASON, REMEDY),) if disturbed else ()
    seen = EnvironmentRow("", 1.2, CONDITIONS, fired, unread)
    return replace(plain, rows=(replace(first, latency=latency),), environments=(seen,))


@pytest.mark.parametrize("warning", ["", "one round is 60 % off the mean"], ids=["stable", "unstable"])
def test_a_disturbance_is_said_with_its_remedy(warning: str) -> None:
    result = bench(warning=warning, disturbed=True)
    for text in (
        report.render_text(result),
        report.render(result, "markdown"),
        report.render(result, "html"),
    ):
        assert REASON in text
        assert "W1" in text
        assert REMEDY in text
        assert "nothing that the system shows" not in text


def test_an_unstable_figure_without_a_reason_says_what_could_not_be_seen() -> None:
    text = report.render_text(bench(warning="unstable", disturbed=False, unread=("frequency", "temperature")))
    assert "nothing that the system shows explains the unstable figures" in text
    assert "frequency, temperature: not shown here" in text
    assert "next: measure again" in text


def test_a_stable_figure_on_a_quiet_machine_says_nothing() -> None:
    text = report.render_text(bench(warning="", disturbed=False, unread=("frequency",)))
    assert "disturbed" not in text
    assert "explains" not in text


def test_reports_have_the_conditions_in_numbers() -> None:
    page = report.render(bench(warning="", disturbed=False), "markdown")
    assert "3,200 MHz" in page
    assert "1,900 MHz" in page
    assert "61.2 %" in page
    document = json.loads(report.render(bench(warning="", disturbed=True), "json"))
    (seen,) = document["environments"]
    assert seen["conditions"][0] == {
        "device": "",
        "name": "frequency",
        "unit": "MHz",
        "before": 3200,
        "after": 1900,
    }
    assert seen["disturbances"][0]["rule"] == "W1"


def test_where_nothing_was_measured_nothing_disturbed_it() -> None:
    text = report.render_text(replace(bench(warning="", disturbed=True), rows=()))
    assert "disturbed" not in text
