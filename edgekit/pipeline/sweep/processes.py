"""Crew of processes of this machine: JSON lines through pipes, one task at a time each.

    {"id": ..., ...task} --stdin--> ``process_main`` --stdout--> {...reply}

Started with ``subprocess`` and the parent's ``sys.path``, as the runtimes' workers are
(``backends.worker_process``): nothing is pickled, and a user's script needs no ``__main__`` guard. A process
that dies is gone from ``workers``, and another one with another name stands in for it. A process whose pipe
closes removes what it was just writing and ends, in the middle of a task too: so does one whose parent has
ended, ``kill -9`` included.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from edgekit import settings
from edgekit.pipeline.sweep.process_main import CLEAN_S
from edgekit.pipeline.sweep.schedule import Document, Task, Worker

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from edgekit.pipeline.sweep.process_main import main; main()"
_HOST = "this machine"
_TAIL_BYTES, _TAIL_LINES, _LINE_CHARACTERS = 8192, 6, 200  # what is quoted of a dead process
_CLOSE_S = CLEAN_S + 1.0  # it ends itself before; this is for one that is stopped or swaps


@dataclass
class _Child:
    """One process, the file of what it says, and the thread that waits for its replies."""

    process: subprocess.Popen[str]
    log: IO[bytes]
    reader: threading.Thread


class Processes:
    """So many processes of this machine, each of which compiles and benches.

    Args:
        jobs: how many.
        resources: what each announces.
    """

    def __init__(self, jobs: int, *, resources: Collection[str]) -> None:
        self._jobs = jobs
        self._resources = frozenset(resources)
        self._children: dict[str, _Child] = {}
        self._dead: dict[str, str] = {}
        self._count = 0
        self._came: queue.Queue[tuple[str, str]] = queue.Queue()
        for _ in range(jobs):
            self._spawn()

    def workers(self) -> Mapping[str, Worker]:
        """Those that live; the place of a dead one is filled."""
        for name in [name for name, child in self._children.items() if child.process.poll() is not None]:
            self._end(name)
        while len(self._children) < self._jobs:
            self._spawn()
        return {name: Worker(_HOST, self._resources) for name in self._children}

    def start(self, worker: str, task: Task) -> None:
        """Write the task into the process's pipe; one that died meanwhile is noticed by ``workers``."""
        pipe = self._children[worker].process.stdin
        assert pipe is not None  # noqa: S101  it was opened with one
        with contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(task.document) + "\n")
            pipe.flush()

    def replies(self, wait_s: float) -> Sequence[tuple[str, Document]]:
        """What arrived; waits for the first at most ``wait_s``."""
        found: list[tuple[str, Document]] = []
        try:
            name, line = self._came.get(timeout=wait_s) if wait_s else self._came.get_nowait()
            while True:
                if line:
                    found.append((name, json.loads(line)))
                name, line = self._came.get_nowait()
        except queue.Empty:
            return found

    def stop(self, worker: str) -> None:
        """End it; the runtimes that it started end with its pipes, and ``workers`` fills its place."""
        self._end(worker)

    def last_words(self, worker: str) -> str:
        """How it ended, and the end of what it said."""
        return self._dead.get(worker, "")

    def close(self) -> None:
        """End all of them, side by side."""
        for child in self._children.values():
            _hang_up(child)
        for name in list(self._children):
            self._end(name)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: child.process.pid for name, child in self._children.items()}

    def _spawn(self) -> None:
        self._count += 1
        name = f"process {self._count}"
        log = tempfile.TemporaryFile()  # noqa: SIM115  closed with its process
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**settings.child_environment(), **settings.QUIET_NATIVE_ENVIRONMENT},
        )
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        self._children[name] = _Child(process, log, reader)
        reader.start()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        pipe = process.stdout
        assert pipe is not None  # noqa: S101  it was opened with one
        with contextlib.suppress(ValueError):  # closed under it, at the end
            for line in pipe:
                self._came.put((name, line))
        self._came.put((name, ""))  # wakes ``replies``: a death is looked for at once

    def _end(self, name: str) -> None:
        child = self._children.pop(name)
        _hang_up(child)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(_CLOSE_S)
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()
        child.reader.join(_CLOSE_S)
        if child.process.stdout is not None:
            child.process.stdout.close()
        self._dead[name] = _words(child.process.returncode, child.log)
        child.log.close()


def _hang_up(child: _Child) -> None:
    pipe = child.process.stdin
    with contextlib.suppress(BrokenPipeError):
        if pipe is not None:
            pipe.close()


def _words(code: int, log: IO[bytes]) -> str:
    size = log.seek(0, 2)
    log.seek(max(0, size - _TAIL_BYTES))
    lines = [
        line[:_LINE_CHARACTERS] for line in log.read().decode(errors="replace").split("\n") if line.strip()
    ]
    how = f"exit status {code}" if code >= 0 else f"signal {-code}"
    said = "; ".join(lines[-_TAIL_LINES:])
    return f" ({how}: {said})" if said else f" ({how})"
