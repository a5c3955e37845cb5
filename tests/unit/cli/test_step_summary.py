"""$GITHUB_STEP_SUMMARY: verdicts and errors are appended, nothing else is, and a full file is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgekit.cli import summary
from edgekit.cli.main import run
from edgekit.errors import BaselineError, ExitCode
from edgekit.pipeline.result import RESULTS

GOLDENS = Path(__file__).parents[2] / "golden" / "report"


def result(name: str, kind: str) -> Any:
    text = (GOLDENS / f"{name}.json").read_text("utf-8")
    return TypeAdapter(RESULTS[kind]).validate_python(json.loads(text))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("release_failing", "release"), ("validate", "validate"), ("bench", "bench"), ("diff", "diff")],
)
def test_a_verdict_is_appended(name: str, kind: str, page: Path) -> None:
    assert summary.append_result(result(name, kind)) == ""
    text = page.read_text("utf-8")
    assert text.startswith("before\n# ")
    assert "**Verdict: " in text


def test_what_judges_nothing_is_not(page: Path) -> None:
    assert summary.append_result(result("doctor", "doctor")) == ""
    assert page.read_text() == "before\n"


def test_an_error_of_a_judging_verb_is_appended(page: Path) -> None:
    error = BaselineError("baseline b is of model 'x'", why="another", remedy="name the last release")
    assert summary.append_error(error, error.exit_code, verb="release") == ""
    text = page.read_text("utf-8")
    assert "**Error, exit code 2" in text
    assert "- next: name the last release" in text
    assert summary.append_error(error, error.exit_code, verb="export") == ""
    assert page.read_text("utf-8") == text


def test_the_command_line_does_it(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", str(tmp_path / "no"), str(tmp_path / "none")]) == ExitCode.BAD_INPUT
    assert "does not exist" in page.read_text("utf-8")
    assert "does not exist" in capsys.readouterr().err


def test_without_the_variable_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert summary.append_result(result("diff", "diff")) == ""
    assert not list(tmp_path.iterdir())


def test_a_full_file_and_one_that_cannot_be_written_are_said(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write_bytes(b"x" * (summary.MOST_BYTES - 10))
    assert "above 1 MiB" in summary.append_result(result("diff", "diff"))
    assert page.stat().st_size == summary.MOST_BYTES - 10
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page.parent))
    assert "not added to the job's summary" in summary.append_result(result("diff", "diff"))
