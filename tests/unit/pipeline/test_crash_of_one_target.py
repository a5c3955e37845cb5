"""A worker that dies while one target is tried ends that target's row; the others go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgekit.backends.worker_process import WorkerMemoryError
from edgekit.errors import ExitCode, OutputError
from edgekit.pipeline.release import try_targets

NAMES = ("first", "second")


def _tried(monkeypatch: pytest.MonkeyPatch, error: Exception) -> tuple[dict[str, Any], tuple[Any, ...]]:
    def try_target(plan: Any, bench: object, **_: object) -> Any:
        if plan.target.name == "first":
            raise error
        return SimpleNamespace(
            choice=SimpleNamespace(judged=None, reason="inside every budget", exit_code=ExitCode.OK),
            judged=(),
        )

    monkeypatch.setattr(try_targets, "try_target", try_target)
    targets = [SimpleNamespace(target=SimpleNamespace(name=name), embed=()) for name in NAMES]
    plan, benches = SimpleNamespace(targets=targets), {(): SimpleNamespace(missed=None)}
    return try_targets.try_all(cast("Any", plan), cast("Any", benches), None, measured={})


def test_the_row_names_the_crash_and_the_other_target_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = WorkerMemoryError("the worker process of a.onnx was killed by SIGKILL while running it")
    outcomes, rows = _tried(monkeypatch, crash)
    assert list(outcomes) == ["second"]
    assert [(row.target, row.exit_code) for row in rows] == [
        ("first", ExitCode.INTERNAL),
        ("second", ExitCode.OK),
    ]
    assert "killed by SIGKILL" in rows[0].reason


def test_a_disk_that_is_full_ends_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must not be a target's row: the next one would meet the same."""
    with pytest.raises(OutputError):
        _tried(monkeypatch, OutputError("the cache cannot be written"))
