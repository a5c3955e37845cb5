"""command -> what its whole process tree held at most, sampled from the kernel's own counters.

    held  = anonymous memory + shared memory, added up over all processes
    total = held + pages of mapped files that were resident at that moment

Held is what must be in RAM: it has no other place. Pages of mapped files are the file's own in the system's
cache; the system takes them back when it needs room, and reads them again. Both are given. What two processes
share counts twice in both: neither figure is too small.

Source: proc_pid_status(5): RssAnon, RssShmem, RssFile. They are counters; smaps walks page tables instead,
and made the watched process several times slower.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.02  # a gigabyte takes longer to fill


@dataclass(frozen=True)
class Peak:
    """What a command took.

    Attributes:
        held_bytes: the most that was held at once.
        total_bytes: the most with pages of mapped files; not of the same moment.
        seconds: wall clock.
        status: exit status; None where it was stopped at the limit.
        words: what it printed last.
    """

    held_bytes: int
    total_bytes: int
    seconds: float
    status: int | None
    words: str


def watch(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str], cwd: Path, limit_bytes: int
) -> Peak:
    """Run ``command`` to its end, or until it holds ``limit_bytes``: then all its processes are ended."""
    with log.open("wb") as words:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=words, stderr=words, env=dict(environment), cwd=cwd, start_new_session=True
        )
        held = total = 0
        stopped = False
        while process.poll() is None:
            now_held, now_total = held_and_total(process.pid)
            held, total = max(held, now_held), max(total, now_total)
            if now_held > limit_bytes:
                stopped = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - start
    said = log.read_text("utf-8", "replace").strip()[-2000:]
    return Peak(held, total, seconds, None if stopped else process.returncode, said)


def held_and_total(process: int) -> tuple[int, int]:
    """Bytes of ``process`` and all below it at this moment.

    A child is in its parent's memory until it begins its own program (vfork(2)): the same command line and
    the same address space are counted once.
    """
    held = total = 0
    own: dict[int, tuple[bytes, int]] = {}
    for parent, each in tree(process):
        with contextlib.suppress(OSError, KeyError):  # it has ended
            parts = _parts(Path(f"/proc/{each}/status").read_text())
            own[each] = Path(f"/proc/{each}/cmdline").read_bytes(), parts["VmSize"]
            if own[each] == own.get(parent):
                continue
            anonymous = parts["RssAnon"] + parts["RssShmem"]
            held += anonymous
            total += anonymous + parts["RssFile"]
    return held, total


def tree(process: int, parent: int = 0) -> Iterator[tuple[int, int]]:
    """(parent, process) of ``process`` and its descendants."""
    yield parent, process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():  # any thread may have started a child
            for child in (task / "children").read_text().split():
                yield from tree(int(child), process)


def _parts(text: str) -> dict[str, int]:
    """Bytes by name."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}
