"""Replies that are wrong end their rows and no others; a disk that cannot be written ends the sweep."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ExitCode, OutputError
from edgekit.pipeline.sweep import matrix_file, store
from edgekit.pipeline.sweep.collect import Collected
from edgekit.pipeline.sweep.kept import Kept
from edgekit.pipeline.sweep.rows import Row, planned
from edgekit.pipeline.sweep.schedule import Reply
from edgekit.spec import Silent
from tests.unit.sweep import tiny

PREPARED: dict[str, Any] = {"lock": "0" * 64, "pruned": "", "changed": [], "findings": []}


def _collected(folder: Path) -> Collected:
    path = tiny.write(folder / "work")
    matrix = matrix_file.load(path)
    return _of(planned(matrix, path=path, today=date(2026, 1, 1)).rows, folder)


def _again(collected: Collected, folder: Path) -> Collected:
    """The next run of the same sweep."""
    return _of(collected._all, folder)


def _of(rows: tuple[Row, ...], folder: Path) -> Collected:
    return Collected(
        rows,
        kept=Kept(folder / "out", rounds=10),
        store=store.opened(str(folder / "store")),
        base={},
        devices={"local": None},
        unreachable={},
        update=False,
        progress=Silent(),
    )


def test_c4_a_lock_that_is_not_in_the_store_ends_its_models_rows(tmp_path: Path) -> None:
    collected = _collected(tmp_path)
    one, two = collected.begin()
    assert (one.id, two.id) == ("prepare one", "prepare two")
    assert collected.then(one, Reply("done", PREPARED)) == ()
    assert collected.then(two, Reply("lost", reason="its worker was lost 3 times")) == ()
    by = {row.recipe: (row.status, row.exit_code) for row in collected.rows()}
    assert by == {"one": ("error", ExitCode.BAD_INPUT), "two": ("error", ExitCode.INTERNAL)}
    assert "is not in the store" in collected.rows()[0].reason
    assert "lost 3 times" in collected.rows()[-1].reason


def test_rows_of_an_error_are_tried_again_and_refused_ones_are_not(tmp_path: Path) -> None:
    collected = _collected(tmp_path)
    one, two = collected.begin()
    refused = {"what": "no kernel", "why": "", "remedy": "", "exit_code": 5, "rejections": []}
    collected.then(one, Reply("done", {"error": refused}))
    collected.then(two, Reply("missing", reason="no worker that compiles was there within 5 s"))
    assert {row.status for row in collected.rows()} == {"refused", "missing"}
    assert [task.id for task in _again(collected, tmp_path).begin()] == ["prepare two"]


def test_a_row_with_a_flipped_bit_is_done_again(tmp_path: Path) -> None:
    collected = _collected(tmp_path)
    refused = {"what": "no kernel", "why": "", "remedy": "", "exit_code": 5, "rejections": []}
    for task in collected.begin():
        collected.then(task, Reply("done", {"error": refused}))
    assert _again(collected, tmp_path).begin() == [], "all rows are decided"
    path = next((tmp_path / "out" / "rows").glob("two*/row.json"))
    path.write_text(path.read_text().replace("no kernel", "no kernem"))
    assert [task.id for task in _again(collected, tmp_path).begin()] == ["prepare two"]


def test_rows_that_timed_out_say_so_and_are_tried_again(tmp_path: Path) -> None:
    collected = _collected(tmp_path)
    one, two = collected.begin()
    collected.then(one, Reply("timed out", reason="timed out: prepare one took more than 5 s"))
    collected.then(
        two,
        Reply("done", {"error": {"what": "no", "why": "", "remedy": "", "exit_code": 5, "rejections": []}}),
    )
    rows = [row for row in collected.rows() if row.recipe == "one"]
    assert {(row.status, row.exit_code) for row in rows} == {("timed out", ExitCode.INCONCLUSIVE)}
    assert rows[0].reason == "timed out: prepare one took more than 5 s"
    assert [task.id for task in _again(collected, tmp_path).begin()] == ["prepare one"]


def test_a_folder_that_cannot_be_written_ends_the_sweep(tmp_path: Path) -> None:
    collected = _collected(tmp_path)
    one, _ = collected.begin()
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(OutputError):
        collected.then(one, Reply("missing", reason="nobody came"))
