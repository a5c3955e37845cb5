"""Conditions, start, memory and size of a bench as a reader sees them; what is not known is a dash."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit.pipeline.result import (
    BenchResult,
    EndToEndRow,
    FailedRow,
    MemoryRow,
    PhasesRow,
    StepRow,
    StreamsRow,
)
from edgekit.report import checks, render, render_text

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "bench.json"


@pytest.fixture
def result() -> BenchResult:
    return TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))


def test_batches_and_threads_are_named_where_they_differ(result: BenchResult) -> None:
    row = result.rows[0]
    swept = replace(
        result,
        rows=(row, replace(row, batch=4), replace(row, threads=2, caveats=("2 threads share 1 core",))),
    )
    text = render_text(swept)
    assert "model.onnx at batch 4, 1 thread" in text
    assert "model.onnx at batch 1, 2 threads: 2 threads share 1 core" in text
    assert "Throughput, one inference after the other" in text
    names = [check.target for check in checks.of_bench(swept).rows]
    assert len(set(names)) == 3  # a CI shows one line for each


def test_equal_conditions_are_not_repeated(result: BenchResult) -> None:
    text = render_text(result)
    assert "at batch" not in text
    assert "Throughput, one" not in text  # of one batch it is the latency again
    assert "Throughput, one" in render(result, "markdown")


def test_cores_are_shown(result: BenchResult) -> None:
    pinned = replace(result, rows=tuple(replace(row, cores="0-1") for row in result.rows))
    assert "0-1" in render_text(pinned)
    assert "not pinned" not in render_text(pinned)


def test_what_the_system_does_not_say_is_a_dash_and_never_a_zero(result: BenchResult) -> None:
    silent = replace(
        result.rows[0], phases=PhasesRow(None, 5.0, None, 1), memory=MemoryRow(None, None, None), size=None
    )
    text = render_text(replace(result, rows=(silent,)))
    (line,) = (each for each in text.splitlines() if each.startswith("model.onnx") and " 5.00 " in each)
    assert line.split() == ["model.onnx", "-", "5.00", "-", "0.0941", "-", "-", "-", "-"]
    assert "start: medians of 1 new process;" in text
    assert "memory:" not in text


def test_without_any_of_it_there_is_no_table(result: BenchResult) -> None:
    bare = tuple(replace(row, phases=None, memory=None, size=None) for row in result.rows)
    assert "Start, memory, size" not in render_text(replace(result, rows=bare))


def test_processes_at_once_and_the_way_around_an_inference(result: BenchResult) -> None:
    row = replace(
        result.rows[0],
        streams=(StreamsRow(2, 15_000.0, 1.4, "2 threads share 1 cores"),),
        end_to_end=EndToEndRow((StepRow("1 resize", "pre-processing", 0.3),), 0.1, 0.4, 0.25, 8),
    )
    text = render_text(replace(result, rows=(row,)))
    assert "1.40×" in text
    assert "25.00 %" in text
    assert "1 resize" not in text  # single steps are in reports
    assert "1 resize" in render(replace(result, rows=(row,)), "html")


def test_what_failed_here_names_no_device(result: BenchResult) -> None:
    failed = replace(
        result, failures=(FailedRow("bad.tflite", "", "crash", "killed by SIGSEGV", "compile again"),)
    )
    assert "bad.tflite: crash: killed by SIGSEGV; next: compile again" in render_text(failed)
    assert checks.of_bench(failed).rows[-1].target == "bad.tflite"
