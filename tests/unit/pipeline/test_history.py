"""The file that results are appended to, and what is read from it. F: the cases of history_file.py."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.errors import InputError, OutputError
from edgekit.pipeline.bench import history_file
from edgekit.pipeline.bench.history import history
from edgekit.pipeline.result import (
    BenchResult,
    BenchRow,
    DeviceRow,
    DisturbanceRow,
    EnvironmentRow,
    LatencyRow,
    RunRow,
)
from edgekit.report import view_history

GOLDEN = Path(__file__).parents[2] / "golden" / "report" / "bench.json"
FACTS = {"runtime": "onnxruntime", "version": "1.31.1", "threads": "2"}


def bench(p50_ms: float, *, artifact: str = "gone.onnx", version: str = "1.31.1") -> BenchResult:
    plain = TypeAdapter(BenchResult).validate_python(json.loads(GOLDEN.read_text("utf-8")))
    latency = LatencyRow(p50_ms, p50_ms, p50_ms, p50_ms, p50_ms * 0.99, p50_ms * 1.01, 400, stable=True)
    row = BenchRow(artifact, "onnxruntime", latency, facts={**FACTS, "version": version})
    return replace(plain, rows=(row,))


def at(index: int) -> str:
    return f"2026-{1 + index // 28:02d}-{1 + index % 28:02d}T04:00:00+00:00"


def grown(file: Path, values: list[float], *, step_at: int = -1) -> Path:
    """A file of runs; the runtime's version changes at ``step_at``."""
    for index, value in enumerate(values):
        version = "1.31.1" if index < step_at else "1.32.0"
        history_file.append(file, bench(value, version=version), clock=lambda: at(index))  # noqa: B023 - at once
    return file


def test_a_line_says_who_what_where_and_when(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    artifact = tmp_path / "models" / "q.onnx"
    artifact.write_bytes(b"not a model, and still a file")
    seen = EnvironmentRow("", 1.0, (), (DisturbanceRow("", "W1", "stress", "stop it"),), ())
    result = replace(bench(5.0, artifact=str(artifact)), environments=(seen,))
    assert history_file.append(tmp_path / "h.jsonl", result, clock=lambda: at(0)) == 1
    fields = json.loads((tmp_path / "h.jsonl").read_text())
    assert fields["schema"] == history_file.SCHEMA
    (run,), unread = history_file.read(tmp_path / "h.jsonl")
    assert unread == 0
    assert (run.at, run.artifact, run.machine) == (at(0), "models/q.onnx", result.machine.key)
    assert (run.runtime, run.version, run.threads) == ("onnxruntime", "1.31.1", "2")
    assert run.disturbances == ("W1",)


def test_the_folder_that_one_types_in_makes_no_new_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    history_file.append(Path("../h.jsonl"), bench(5.0, artifact="q.onnx"))
    monkeypatch.chdir(tmp_path / "b")
    history_file.append(Path("../h.jsonl"), bench(5.0, artifact="../a/q.onnx"))
    (series,) = history(tmp_path / "h.jsonl", seed=0).series
    assert (series.artifact, len(series.runs)) == ("a/q.onnx", 2)


def test_series_are_told_apart_by_artifact_machine_runtime_and_conditions(tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    plain = bench(5.0)
    row = plain.rows[0]
    on_device = replace(row, device="pi5")
    variants = [
        plain,
        replace(plain, rows=(replace(row, artifact="other.onnx"),)),
        replace(plain, rows=(replace(row, facts={**FACTS, "threads": "1"}),)),
        replace(plain, rows=(replace(row, facts={**FACTS, "runtime": "openvino"}),)),
        replace(plain, rows=(replace(row, batch=8),)),
        replace(plain, rows=(replace(row, cores="0"),)),
        replace(plain, machine=replace(plain.machine, key="0123456789ab")),
        replace(plain, rows=(on_device,), devices=(DeviceRow("pi5", "complete", key="aaaabbbbcccc"),)),
        replace(plain, rows=(replace(row, facts={**FACTS, "version": "1.32.0"}),)),  # the first one's series
    ]
    for each in variants:
        history_file.append(file, each)
    found = history(file, seed=0).series
    assert len(found) == 8
    assert [len(each.runs) for each in found] == [2, 1, 1, 1, 1, 1, 1, 1]
    assert found[-1].machine == "aaaabbbbcccc"


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:  # F3
    file = grown(tmp_path / "h.jsonl", [5.0, 5.1])
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 40])
    runs, unread = history_file.read(file)
    assert (len(runs), unread) == (1, 1)
    history_file.append(file, bench(5.2))
    runs, unread = history_file.read(file)
    assert ([run.p50_ms for run in runs], unread) == ([5.0, 5.2], 1)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1, 2]",
        '{"schema": "edgekit/bench-history/2"}',
        '{"schema": "edgekit/bench-history/1", "at": "x"}',
    ],
    ids=["text", "a list", "a newer format", "fields are missing"],
)
def test_lines_of_another_format_are_passed_over_and_counted(line: str, tmp_path: Path) -> None:  # F4
    file = grown(tmp_path / "h.jsonl", [5.0])
    file.write_text(f"{line}\n\n{file.read_text()}")
    runs, unread = history_file.read(file)
    assert (len(runs), unread) == (1, 1)
    assert "passed over: 1" in report.render_text(history(file, seed=0))


def _append_with_room_for(file: Path, more: int) -> None:
    """In a process whose files must not grow by more than that: a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = file.stat().st_size + more
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        history_file.append(file, bench(5.1))
    except OutputError:
        raise SystemExit(9) from None


@pytest.mark.parametrize(("room", "code"), [(0, 9), (10, 9), (100_000, 0)])
def test_a_write_that_does_not_end_is_taken_back(room: int, code: int, tmp_path: Path) -> None:  # F2
    file = grown(tmp_path / "h.jsonl", [5.0])
    before = file.read_bytes()
    writer = multiprocessing.get_context("spawn").Process(target=_append_with_room_for, args=(file, room))
    writer.start()
    writer.join(120)
    assert writer.exitcode == code
    assert (file.read_bytes() == before) is (code == 9)


def _append_many(file: Path, name: str, times: int) -> None:
    for _ in range(times):
        history_file.append(file, bench(5.0, artifact=name))


def test_two_writers_lose_nothing(tmp_path: Path) -> None:  # F1
    file = tmp_path / "h.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(file, f"{name}.onnx", 25)) for name in "ab"]
    for each in writers:
        each.start()
    for each in writers:
        each.join(120)
    runs, unread = history_file.read(file)
    assert (len(runs), unread) == (50, 0)


def test_a_file_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"h\.jsonl cannot be read") as caught:
        history(tmp_path / "h.jsonl", seed=0)
    assert "--history" in caught.value.remedy


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        history_file.append(tmp_path / "file" / "h.jsonl", bench(5.0))


def stepped(folder: Path) -> Path:
    values = 5 * np.exp(np.random.default_rng(0).normal(0, 0.01, 40))
    values[25:] *= 1.08
    return grown(folder / "h.jsonl", [float(each) for each in values], step_at=25)


def test_a_change_is_marked_with_what_else_changed(tmp_path: Path) -> None:
    (series,) = history(stepped(tmp_path), seed=0).series
    (change,) = series.changes
    assert (change.index, change.at) == (25, at(25))
    assert change.low < 1.08 < change.high
    assert change.with_it == ("onnxruntime 1.31.1 to 1.32.0",)


def test_the_change_is_in_terminal_markdown_and_html(tmp_path: Path) -> None:
    found = history(stepped(tmp_path), seed=0)
    (change,) = found.series[0].changes
    said = f"{100 * (change.ratio - 1):+.1f} %"
    text = report.render_text(found, width=200)
    assert said in text
    assert "onnxruntime 1.31.1 to 1.32.0" in text
    assert said in report.render(found, "markdown")
    page = report.render(found, "html")
    assert page.count("<circle") == 40
    assert f">{said}</text>" in page
    assert 'class="level bad"' in page


def test_noise_has_no_mark(tmp_path: Path) -> None:
    values = 5 * np.exp(np.random.default_rng(0).normal(0, 0.01, 40))
    found = history(grown(tmp_path / "h.jsonl", [float(each) for each in values]), seed=0)
    assert found.series[0].changes == ()
    assert "Changes of level" not in report.render_text(found, width=200)
    assert 'class="level bad"' not in report.render(found, "html")


def test_an_outlier_does_not_flatten_the_picture(tmp_path: Path) -> None:
    values = [5.0, 5.1, 4.9, 5.05, 50.0, 5.0, 4.95, 5.1, 5.0, 5.1] * 3
    values[14] = values[24] = 5.0
    page = report.render(history(grown(tmp_path / "h.jsonl", values), seed=0), "html")
    assert page.count("<circle") == 29
    assert page.count("<polygon") == 1
    assert "Triangle: outside the picture." in page


def test_a_sparkline_shows_heights_and_no_mountains_of_noise() -> None:
    assert view_history.sparkline([1.0, 2.0, 3.0]) == "\u2581\u2585\u2588"
    flat = view_history.sparkline([1.0, 1.001, 0.999])
    assert len(set(flat)) <= 2
    assert len(view_history.sparkline([1.0] * 100)) == 20


def test_a_row_of_the_file_survives_json() -> None:
    run = history_file.run_of(bench(5.0).rows[0], bench(5.0), file=Path("h.jsonl"), at=at(0))
    assert TypeAdapter(RunRow).validate_json(TypeAdapter(RunRow).dump_json(run)) == run
