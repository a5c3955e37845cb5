"""`--report FORMAT[:PATH]`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit import report
from edgekit.cli.reports import EXTENSIONS, ReportRequest, parse_reports, write_report
from edgekit.errors import OutputError, UnknownNameError
from edgekit.pipeline.result import CalibrateResult

RESULT = CalibrateResult(Path("ranges.json"), "minmax", 8, 3)


def test_formats_are_those_of_the_report_package() -> None:
    assert report.FORMATS == EXTENSIONS


def test_values() -> None:
    assert parse_reports(["json", "html:a/b:c.html"], verb="bench") == (
        ReportRequest("json", Path("edgekit-bench.json")),
        ReportRequest("html", Path("a/b:c.html")),
    )
    assert parse_reports([], verb="bench") == ()


def test_an_unknown_format_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="report format 'markdwon'") as caught:
        parse_reports(["markdwon"], verb="release")
    assert "json" in caught.value.why
    assert "did you mean markdown?" in caught.value.remedy


def test_a_report_is_written_whole_and_into_a_new_folder(tmp_path: Path) -> None:
    path = write_report(RESULT, ReportRequest("json", tmp_path / "new" / "r.json"))
    assert json.loads(path.read_text())["samples"] == 8
    assert [each.name for each in path.parent.iterdir()] == ["r.json"]


def test_a_path_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_report(RESULT, ReportRequest("json", tmp_path / "taken"))
    assert caught.value.remedy
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(RESULT, ReportRequest("json", tmp_path / "file" / "r.json"))
