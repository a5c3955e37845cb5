"""A task that takes too long is ended with its process, and others go on; on Dask: test_sweep_on_workers."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from edgekit.pipeline.sweep.processes import Processes
from edgekit.pipeline.sweep.schedule import COMPILE, Crew, Limits, Reply, Schedule, Task
from edgekit.spec import Silent

LONG_S, LIMIT_S = 3600.0, 0.5


def _nothing(name: str, sleep_s: float) -> Task:
    return Task(name, {"kind": "nothing", "of": name, "sleep_s": sleep_s})


def _run(crew: Crew, task: Task, *, limit_s: float | None) -> Reply:
    ended: dict[str, Reply] = {}

    def then(task: Task, reply: Reply) -> Sequence[Task]:
        ended[task.id] = reply
        return ()

    limits = Limits(wait_s=60.0, retries=0, task_s=limit_s)
    Schedule(crew, devices=(), limits=limits, progress=Silent()).run([task], then)
    return ended[task.id]


def test_on_processes() -> None:
    crew = Processes(1, resources={COMPILE})
    try:
        (first,) = crew.pids.values()
        ended = _run(crew, _nothing("long", LONG_S), limit_s=LIMIT_S)
        assert (ended.how, ended.reason) == ("timed out", f"timed out: long took more than {LIMIT_S:g} s")
        assert _run(crew, _nothing("short", 0.0), limit_s=None).how == "done"
        assert first not in crew.pids.values()
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
    finally:
        crew.close()


def test_a_process_that_is_not_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: forgotten, but not ended, it would go on beside everything that follows."""
    crew = Processes(2, resources={COMPILE})
    monkeypatch.setattr(Processes, "stop", lambda self, worker: None)
    try:
        before = set(crew.pids.values())
        assert _run(crew, _nothing("long", LONG_S), limit_s=LIMIT_S).how == "timed out"
        assert set(crew.pids.values()) == before
    finally:
        crew.close()
