"""Pinning: what a list of cores says, and that every thread of a worker is where it was put."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends import affinity
from edgekit.backends.worker import WorkerSession
from edgekit.errors import InputError
from edgekit.spec import RunOptions, WatchedOptions
from tests.unit.backends.test_worker_session import FOLDER, artifact_in

needs_pinning = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
X = np.ones((1, 3), np.float32)


@pytest.mark.parametrize(("listed", "cores"), [("0-2,5", (0, 1, 2, 5)), ("3", (3,)), ("", ())])
def test_a_list_of_cores_is_read_and_written(listed: str, cores: tuple[int, ...]) -> None:
    assert affinity.read(listed) == cores
    assert affinity.written(cores) == listed


@pytest.mark.parametrize("listed", ["a", "1-", "1-2-3"])
def test_what_is_no_list_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        affinity.read(listed)


def test_the_threads_that_may_run_elsewhere_are_seen(tmp_path: Path) -> None:
    """Sabotage: one thread of three is not pinned."""
    for thread, listed in (("1", "0"), ("2", "0"), ("3", "0-3")):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "status").write_text(f"Name:\tx\nCpus_allowed_list:\t{listed}\n")
    assert affinity.text(tmp_path) == "0-3"
    (tmp_path / "3" / "status").unlink()
    assert affinity.text(tmp_path) == "0"
    assert affinity.text(tmp_path / "no folder") == ""


def _opened(folder: Path, options: RunOptions) -> WorkerSession:
    return WorkerSession("fake_engine:FakeEngine", artifact_in(folder), options)


@needs_pinning
def test_a_worker_runs_where_it_was_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    core = affinity.available()[-1]
    with _opened(tmp_path, WatchedOptions(cores=(core,))) as session:
        session.time_ms({"x": X}, runs=1)
        assert session.facts["cores"] == str(core)
        tasks = Path(f"/proc/{session.pid}/task")
        assert affinity.text(tasks) == str(core)
        assert all(os.sched_getaffinity(int(each.name)) == {core} for each in tasks.glob("*"))


@needs_pinning
def test_without_cores_nothing_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    with _opened(tmp_path, RunOptions()) as session:
        assert "cores" not in session.facts
        assert os.sched_getaffinity(session.pid) == set(affinity.available())


@needs_pinning
def test_a_core_that_is_not_there_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    with pytest.raises(InputError, match="core 4095 is not to be had"):
        _opened(tmp_path, WatchedOptions(cores=(4095,)))


@needs_pinning
def test_threads_that_were_there_before_are_pinned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of those that are listed has ended by the time of its turn."""
    before = os.sched_getaffinity(0)
    core, done, seen = max(before), threading.Event(), []
    ended = threading.Thread(target=threading.get_ident)
    ended.start()
    ended.join()
    there = affinity._threads
    monkeypatch.setattr(affinity, "_threads", lambda: [ended.native_id, *there()])

    def wait() -> None:
        done.wait(20)
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        affinity.pin((core,))
        done.set()
        thread.join()
    finally:
        for each in there():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(each, before)
    assert seen == [{core}]
    assert os.sched_getaffinity(0) == before
