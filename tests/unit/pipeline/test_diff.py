"""diff: D1 to D6 and exit codes, on release reports (K2) and artifacts (K3); tests/sabotage has bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.backends.base import file_entries
from edgekit.errors import BaselineError, ExitCode
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline.result import DiffResult
from edgekit.spec import Artifact, Precision, RunOptions

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "release_passing.json"
TARGET = "onnxruntime-cpu"
Document = dict[str, Any]
Edit = Callable[[Document], None]


def document() -> Document:
    """A release report with the one target and the digest of its data."""
    found: Document = json.loads(GOLDEN.read_text("utf-8"))
    found["targets"] = [each for each in found["targets"] if each["target"] == TARGET]
    found["inputs"] = {"evaluation data": "d" * 64}
    return found


def shipped(report: Document) -> Document:
    (row,) = (each for each in report["targets"][0]["candidates"] if each["shipped"])
    assert isinstance(row, dict)
    return row


def compared(folder: Path, edit: Edit, *, old: Edit = lambda _: None) -> DiffResult:
    paths = []
    for name, change in (("old", old), ("new", edit)):
        report = document()
        change(report)
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(report), "utf-8")
    return edgekit.diff(*paths)


def accuracy(**values: float) -> Edit:
    def edit(report: Document) -> None:
        shipped(report)["sha256"] = format(round(1000 * (50 + values["drop_pp"])), "064x")  # another file
        shipped(report)["accuracy"] |= values

    return edit


def latency(p50: float, low: float, high: float) -> Edit:
    def edit(report: Document) -> None:
        shipped(report)["latency"] |= {"p50_ms": p50, "low_ms": low, "high_ms": high}

    return edit


def field_of(**values: object) -> Edit:
    return lambda report: shipped(report).update(values)


TIGHT = {"drop_low_pp": 0.0, "drop_high_pp": 0.1, "drop_pp": 0.05}
SLOW_MS = latency(10.0, 9.9, 10.1)
OTHER_MACHINE: Edit = lambda report: report["machine"].update(key="other")  # noqa: E731 - a row of the table


@dataclass(frozen=True)
class Case:
    """A change of the new report, and what the comparison says."""

    id: str
    edit: Edit
    code: ExitCode
    figure: str = ""
    verdict: str = ""
    says: str = ""
    old: Edit = field(default=lambda _: None)


OK, WORSE, SLOW, OPEN = (
    ExitCode.OK,
    ExitCode.ACCURACY_GATE,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.INCONCLUSIVE,
)
CASES = [
    Case("nothing", lambda _: None, OK, "accuracy", "same", "the same file"),
    Case(
        "accuracy worse",
        accuracy(drop_pp=5.0, drop_low_pp=4.9, drop_high_pp=5.1),
        WORSE,
        "accuracy",
        "worse",
        "MOVER",
        old=accuracy(**TIGHT),
    ),
    Case(
        "accuracy better",
        accuracy(drop_pp=-5.0, drop_low_pp=-5.1, drop_high_pp=-4.9),
        OK,
        "accuracy",
        "better",
        old=accuracy(**TIGHT),
    ),
    Case(
        "accuracy open",
        accuracy(drop_pp=1.0, drop_low_pp=0.1, drop_high_pp=1.9),
        OPEN,
        "accuracy",
        "undecided",
        old=accuracy(**TIGHT),
    ),
    Case("accuracy unknown", field_of(accuracy=None, sha256="e" * 64), OPEN, "accuracy", "undecided"),
    Case("slower", SLOW_MS, SLOW, "latency", "worse", "medians", old=latency(5.0, 4.9, 5.1)),
    Case("faster", latency(5.0, 4.9, 5.1), OK, "latency", "better", old=SLOW_MS),
    Case("slower by noise", latency(1.02, 1.0, 1.04), OK, "latency", "same", old=latency(1.0, 0.98, 1.02)),
    Case("larger", field_of(size_bytes=10**9), SLOW, "size", "worse", "exact"),
    Case("smaller", field_of(size_bytes=1000), OK, "size", "better"),
    Case(
        "less of it runs as asked",
        field_of(coverage={"share": 0.8, "by": "MACs", "operators": 5, "covered": 4}),
        SLOW,
        "coverage",
        "worse",
        old=field_of(coverage={"share": 1.0, "by": "MACs", "operators": 5, "covered": 5}),
    ),
    Case("more memory", field_of(memory_bytes=200), SLOW, "memory", "worse", old=field_of(memory_bytes=100)),
    Case("another precision", field_of(label="w8a8-mixed"), OK, "precision", "changed"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_change(case: Case, tmp_path: Path) -> None:
    result = compared(tmp_path, case.edit, old=case.old)
    change = next(each for each in result.targets[0].changes if each.figure == case.figure)
    assert (result.exit_code, change.verdict) == (case.code, case.verdict), change
    assert case.says in change.reason


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (latency(10.0, 9.9, 10.1), "2 times [1.941, 2.061]: slower"),
        (latency(2.5, 2.4, 2.6), "0.5 times [0.4706, 0.5306]: faster"),
        (latency(5.1, 4.9, 5.3), "1.02 times [0.9608, 1.082]: undecided"),
        (latency(5.0, 4.9, 5.1), "1 times"),
    ],
    ids=["slower", "faster", "undecided", "one measurement"],
)
def test_latency_says_who_is_faster_and_by_how_much(new: Edit, says: str, tmp_path: Path) -> None:
    """What is allowed is in the verdict and not in these words."""
    result = compared(tmp_path, new, old=latency(5.0, 4.9, 5.1))
    change = next(each for each in result.targets[0].changes if each.figure == "latency")
    assert change.change == says


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (latency(5.1, 4.9, 5.3), "10 times the rounds would decide, if it is the 2.00% that it looks like"),
        (latency(4.9, 4.7, 5.1), "9 times the rounds would decide, if it is the 2.04% that it looks like"),
        (latency(5.001, 4.9, 5.2), "they look equal, which no number of rounds decides"),
        (latency(10.0, 9.9, 10.1), ""),
    ],
    ids=["slower by 2 %", "faster by 2 %", "equal", "decided"],
)
def test_undecided_latency_says_what_would_decide(new: Edit, says: str, tmp_path: Path) -> None:
    result = compared(tmp_path, new, old=latency(5.0, 4.9, 5.1))
    change = next(each for each in result.targets[0].changes if each.figure == "latency")
    assert says in change.reason
    assert ("edgekit bench NEW --baseline OLD" in change.reason) == bool(says)


def test_latency_of_another_machine_has_no_vote_and_says_so(tmp_path: Path) -> None:  # D5
    def edit(report: Document) -> None:
        SLOW_MS(report)
        OTHER_MACHINE(report)

    result = compared(tmp_path, edit)
    change = next(each for each in result.targets[0].changes if each.figure == "latency")
    assert (result.exit_code, change.verdict) == (OK, "not_comparable")
    assert "different machines" in change.reason
    assert any("different machines" in text for text in result.findings)


def test_other_evaluation_data_leaves_accuracy_open(tmp_path: Path) -> None:  # D4
    def edit(report: Document) -> None:
        accuracy(drop_pp=0.0)(report)
        report["inputs"] = {"evaluation data": "e" * 64}

    result = compared(tmp_path, edit)
    assert result.exit_code is OPEN
    assert any("different evaluation data" in text for text in result.findings)


def test_targets_come_and_go(tmp_path: Path) -> None:
    def rename(report: Document) -> None:
        shipped(report)["target"] = "litert-cpu"

    result = compared(tmp_path, rename)
    assert {each.target: each.status for each in result.targets} == {TARGET: "removed", "litert-cpu": "added"}
    assert result.exit_code is OPEN


def test_two_models_are_no_pair(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"of model 'digits-cnn', and .* of 'other'"):
        compared(tmp_path, lambda report: report.update(name="other"))


def test_an_older_schema_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"schema 'edgekit/release-result/1', and this edgekit reads"):
        compared(
            tmp_path, lambda _: None, old=lambda report: report.update(schema="edgekit/release-result/1")
        )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.json", None, "does not exist"),
        ("broken.json", "{", "cannot be read as the report of a release"),
        ("other.json", '{"schema": "edgekit/release-result/2", "name": 3}', "cannot be read as the report"),
        ("model.bin", "?", "neither a bundle, a release's report nor an artifact"),
    ],
)
def test_what_cannot_be_read_says_so(name: str, content: str | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BaselineError, match=says):
        edgekit.diff(tmp_path / name, GOLDEN)


def test_artifacts_alone_say_sizes_and_leave_accuracy_open(tmp_path: Path) -> None:  # K3
    folders = []
    for size in (100, 300):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "m.onnx").write_bytes(b"x" * size)
        entries = file_entries(folder, ["m.onnx"])
        made = Artifact(folder, entries, TARGET, "onnxruntime", Precision.W8A8, RunOptions(), (), ())
        (folder / "m.onnx.json").write_text(artifacts.json_of(made))
        folders.append(folder)
    small, large = folders
    assert edgekit.diff(small, small).exit_code is OK
    result = edgekit.diff(small, large)
    assert result.exit_code is SLOW
    assert {each.figure: each.verdict for each in result.targets[0].changes}["accuracy"] == "undecided"
    assert edgekit.diff(large, small).exit_code is OPEN
