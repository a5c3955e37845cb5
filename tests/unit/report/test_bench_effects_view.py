"""What a verdict's line says: effect size, what it rests on, and of an undecided one what would decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.pipeline.result import BenchResult, BenchRow, EffectRow, RatioRow
from edgekit.report import checks, csv, view_effects

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "bench.json"


@pytest.fixture
def row() -> BenchRow:
    result = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    return replace(
        result.rows[1],
        ratio=RatioRow("a", 1.02, 0.994, 1.05),
        verdict="undecided",
        effect=EffectRow(12, 8, 0.031, 0.051, 57, 80.0),
    )


def test_an_undecided_one_says_what_would_decide(row: BenchRow) -> None:
    said = view_effects.sentence(row)
    assert said.startswith("undecided, 1.02 [0.994, 1.05] times the baseline's time")
    assert "12 launches of 8 rounds; two processes of one file differ by 3.1%" in said
    assert "a difference of 5.1 % would have been found" in said
    assert "57 more launches (456 rounds, 80 s) would decide" in said
    assert said.endswith("--budget 2m")


def test_a_decided_one_says_no_more_than_its_effect(row: BenchRow) -> None:
    decided = replace(
        row, verdict="slower", ratio=RatioRow("a", 1.2, 1.1, 1.3), effect=EffectRow(7, 8, 0.02, 0.06)
    )
    said = view_effects.sentence(decided)
    assert said.startswith("slower, 1.20 [1.10, 1.30] times")
    assert "would" not in said
    assert "the difference is 9.1 of that" in said


def test_two_that_are_equal_are_not_sent_to_measure_for_days(row: BenchRow) -> None:
    hopeless = replace(row, effect=EffectRow(12, 8, 0.031, 0.051, 9000, 9000.0))
    assert "--budget" not in view_effects.sentence(hopeless)
    assert "1000 more launches would not decide" in view_effects.sentence(hopeless)


def test_one_launch_is_no_interval(row: BenchRow) -> None:
    alone = replace(row, ratio=None, effect=EffectRow(1, 8, 0.0, 0.0))
    assert view_effects.sentence(alone) == "undecided: 1 launch of 8 rounds are no interval"


def test_noise_free_pairs_have_no_multiple_of_their_noise(row: BenchRow) -> None:
    exact = replace(row, verdict="slower", effect=EffectRow(7, 8, 0.0, 0.0))
    assert "of that" not in view_effects.sentence(exact)


def test_ci_and_spreadsheets_have_it_too(row: BenchRow) -> None:
    result = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    open_one = replace(result, rows=(result.rows[0], row))
    (found,) = (each for each in checks.of_bench(open_one).rows if each.outcome == "inconclusive")
    assert "57 more launches" in found.reason
    assert "more_launches" in csv.render(open_one).splitlines()[0]
    assert ",57," in csv.render(open_one)


def test_the_lines_stand_in_the_report(row: BenchRow) -> None:
    result = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    assert "Against the baseline" in report.render_text(
        replace(result, rows=(result.rows[0], row)), width=200, color=False
    )
    assert "Against the baseline" not in report.render_text(result, width=200, color=False)
