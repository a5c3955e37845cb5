"""A bench on devices in every format: who measured what, who is missing, what did not run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.errors import ExitCode
from edgekit.pipeline.result import BenchResult, DeviceRow, FailedRow
from edgekit.report import checks, csv

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "bench.json"


@pytest.fixture
def result() -> BenchResult:
    plain = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    return replace(
        plain,
        rows=tuple(replace(row, device="pi5") for row in plain.rows),
        devices=(
            DeviceRow("pi5", "incomplete", "the connection was lost", "run it again", {"cores": "4"}),
            DeviceRow("phone", "missing", "adb:1 is not there", "unlock it"),
        ),
        failures=(FailedRow("bad.tflite", "pi5", "crash", "signal SIGSEGV", "compile it again"),),
        exit_code=ExitCode.INTERNAL,
    )


def test_the_text_names_devices_and_what_went_wrong(result: BenchResult) -> None:
    text = report.render_text(result, width=200, color=False, everything=True)
    for words in (
        "pi5: incomplete: the connection was lost; next: run it again",
        "phone: missing: adb:1 is not there; next: unlock it",
        "bad.tflite on pi5: crash: signal SIGSEGV; next: compile it again",
        "q.onnx on pi5: onnxruntime",
        "cores",
    ):
        assert words in text


def test_without_devices_there_is_no_such_column(result: BenchResult) -> None:
    plain = replace(result, rows=(replace(result.rows[0], device=""),), devices=(), failures=())
    assert "device" not in report.render_text(plain, width=200, color=False, everything=True)
    assert "device" not in csv.render(plain).splitlines()[0]


def test_missing_devices_and_failures_are_red_in_ci(result: BenchResult) -> None:
    found = checks.of_bench(result).rows
    assert [(each.target, each.outcome) for each in found[len(result.rows) :]] == [
        ("pi5", "inconclusive"),
        ("phone", "error"),
        ("bad.tflite on pi5", "error"),
    ]


def test_csv_has_the_device_first(result: BenchResult) -> None:
    head, first, *_ = csv.render(result).splitlines()
    assert head.startswith("device,artifact,")
    assert first.startswith("pi5,")


@pytest.mark.parametrize("form", ["json", "markdown", "html", "junit", "sarif", "csv"])
def test_every_format_takes_a_bench_without_any_row(form: str, result: BenchResult) -> None:
    """All devices are missing: nothing was measured, and that is said."""
    text = report.render(replace(result, rows=()), form)
    assert form == "csv" or "SIGSEGV" in text
