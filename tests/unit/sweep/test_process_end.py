"""A process of a sweep that is ended in mid-task leaves no draft, however it is ended; kill -9 alone does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.pipeline.sweep import processes
from edgekit.pipeline.sweep.processes import Processes
from edgekit.pipeline.sweep.schedule import COMPILE, Task

# a task that writes a draft and never ends; "stubborn": nor does it let go, as native code does not
WRITING = """
import sys; sys.path[:] = sys.argv[1:]
import time
from pathlib import Path
from edgekit import drafts
from edgekit.pipeline.sweep import process_main, work
def write(document):
    with drafts.file(Path(document["path"])) as draft:
        while True:
            try:  # once anybody can see the text, an interrupt finds the task in here
                draft.write_text("half")
                time.sleep(3600)
            except KeyboardInterrupt:
                if not document["stubborn"]:
                    raise
work._KINDS["write"] = write
process_main.CLEAN_S = 0.3
process_main.main()
"""


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(processes, "_BOOT", WRITING)
    found = Processes(1, resources={COMPILE})
    yield found
    found.close()


def _writing(crew: Processes, path: Path, *, stubborn: bool = False) -> int:
    """Its process id, once it is at it."""
    ((name, process),) = crew.pids.items()
    crew.start(name, Task("write", {"kind": "write", "path": str(path), "stubborn": stubborn}))
    for _ in range(1200):
        if any(each.read_text() == "half" for each in path.parent.iterdir()):
            return process
        time.sleep(0.05)
    raise AssertionError("it did not begin")


def _close(crew: Processes, process: int) -> None:
    del process
    crew.close()


def _stop(crew: Processes, process: int) -> None:
    del process
    crew.stop(next(iter(crew.pids)))


def _terminate(crew: Processes, process: int) -> None:
    """As those who end a whole group do: the parent's hang-up comes beside it."""
    os.kill(process, signal.SIGTERM)
    crew.close()


@pytest.mark.parametrize("end", [_close, _stop, _terminate])
def test_nothing_is_left(crew: Processes, tmp_path: Path, end: Callable[[Processes, int], None]) -> None:
    process = _writing(crew, tmp_path / "blob")
    end(crew, process)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_native_code_that_does_not_let_go_is_ended(crew: Processes, tmp_path: Path) -> None:
    process = _writing(crew, tmp_path / "blob", stubborn=True)
    crew.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert len(list(tmp_path.iterdir())) == 1, "until the next run writes it"


def test_a_process_that_is_killed_leaves_its_draft(crew: Processes, tmp_path: Path) -> None:
    """Sabotage: so would all of them, ended as they were before."""
    os.kill(_writing(crew, tmp_path / "blob"), signal.SIGKILL)
    crew.close()
    assert len(list(tmp_path.iterdir())) == 1
