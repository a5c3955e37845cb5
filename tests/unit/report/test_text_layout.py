"""Text fits the width, turns wide tables into records, and says the same with colour as without."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.result import ReleaseResult, ValidateResult
from edgekit.report import render_text, text
from edgekit.report.page import Cell, Column, Facts, Heading, Line, Lines, Page, Table
from tests.unit.report import rich_results

PASSING = Path(__file__).parents[2] / "golden" / "report" / "release_passing.json"
WIDE = Table(
    "Things",
    (Column("name"), Column("size", right=True), Column("reason")),
    (
        (Cell("first"), Cell("9", "good"), Cell("a reason that is long enough to be broken in two " * 2)),
        (Cell("second"), Cell("10", note="[9, 11]"), Cell("short")),
    ),
)
PAGE = Page(
    "Title", "failed", "bad", (WIDE, Lines("", (Line("word " * 40, "warn"),)), Facts("F", (("a", "b"),)))
)


@pytest.mark.parametrize("width", [30, 60, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = text.render(PAGE, width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_a_table_that_fits_is_a_table_and_one_that_does_not_is_records() -> None:
    table = text.render(PAGE, width=130)
    assert re.search(r"^name +size +reason$", table, re.MULTILINE)
    records = text.render(PAGE, width=60)
    assert not re.search(r"^name +size", records, re.MULTILINE)
    assert re.search(r"^  size +10 \[9, 11\]$", records, re.MULTILINE)


def test_a_log_keeps_a_sentence_on_one_line() -> None:
    assert ("word " * 40).strip() in text.render(PAGE)


def test_colour_changes_no_character() -> None:
    colored = text.render(PAGE, width=100, color=True)
    plain = text.render(PAGE, width=100)
    assert "\x1b[" in colored
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_details_are_for_reports() -> None:
    page = Page("T", "", "plain", (Heading("Part"), Lines("Deep", (Line("deep"),), detail=True)))
    assert text.render(page) == "T\n"


def test_a_gate_repeats_no_reason_that_the_caveat_gave() -> None:
    found = TypeAdapter(ReleaseResult).validate_python(json.loads(PASSING.read_text("utf-8")))
    gpu = found.targets[-1]
    caveat = gpu.candidates[-1].caveat
    gates = tuple(
        replace(gate, reason=f"not here: {caveat}") if gate.status == "not_measured" else gate
        for gate in gpu.candidates[-1].gates
    )
    repeating = replace(gpu, candidates=(gpu.candidates[0], replace(gpu.candidates[-1], gates=gates)))
    shown = render_text(replace(found, targets=(*found.targets[:-1], repeating)))
    assert shown.count(caveat) == 1
    assert "gpu-cuda: never_slower was not judged" in shown
    assert "never_slower: no CUDA device on this machine" in render_text(found)


def test_groups_that_are_left_out_are_counted_and_those_that_fit_are_not_talked_about() -> None:
    path = PASSING.with_name("validate.json")
    found = TypeAdapter(ValidateResult).validate_python(json.loads(path.read_text("utf-8")))
    (row,) = found.artifacts
    few, many = (row.groups * 2, row.groups * 4)
    assert "more, which lose no more" not in render_text(
        replace(found, artifacts=(replace(row, groups=few),))
    )
    shown = render_text(replace(found, artifacts=(replace(row, groups=many),)))
    assert f"and {len(many) - 5} more, which lose no more than these" in shown


def test_notes_of_several_artifacts_say_which_one_they_are_about() -> None:
    found = rich_results.validate()
    noted = tuple(replace(row, notes=("it ran elsewhere",)) for row in found.artifacts)
    assert render_text(replace(found, artifacts=noted)).count(": it ran elsewhere") == 2
    assert "\n  it ran elsewhere" in render_text(replace(found, artifacts=noted[:1], matrix=()))


def test_compile_shows_what_runs_on_the_cpu() -> None:
    notes = ("gpu-webgpu: 1 operator runs",)
    made = CompileResult((), notes=notes)
    assert f"  {notes[0]}" in render_text(made)
