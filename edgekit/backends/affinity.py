"""Cores -> this process runs on no others; and which ones its threads may really use.

Source: sched_setaffinity(2): a mask belongs to a thread, and a new thread has that of the one that made it.
So ``pin`` comes before a runtime is loaded. A runtime may set masks of its own (OpenVINO does), so ``text``
reads back every thread's (proc(5): /proc/pid/task/tid/status, Cpus_allowed_list).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import InputError

TASKS = Path("/proc/self/task")


def pin(cores: Sequence[int]) -> None:
    """Run on ``cores`` only, from now on; empty = as before.

    Raises:
        InputError: one of them is not to be had, or the system cannot pin.
    """
    if not cores:
        return
    allowed = available()
    missing = sorted(set(cores) - set(allowed))
    if missing:
        raise InputError(
            f"core {missing[0]} is not to be had here",
            why=f"this process may run on {written(allowed)}" if allowed else "this system pins no process",
            remedy="name some of these with --pin" if allowed else "leave --pin out",
        )
    for thread in _threads() or [0]:
        with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
            os.sched_setaffinity(thread, cores)


def available() -> tuple[int, ...]:
    """The cores that this process may run on; () where the system cannot pin."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def _threads() -> list[int]:
    """Ids of this process's threads: one that was there before has a mask of its own."""
    return [int(each.name) for each in TASKS.glob("*")]


def text(tasks: Path = TASKS) -> str:
    """The cores that any thread of this process may use, as "0-1,3"; "" where the system does not say it."""
    cores: set[int] = set()
    for status in tasks.glob("*/status"):
        try:
            lines = status.read_text("ascii", errors="replace").splitlines()
        except OSError:  # the thread has ended
            continue
        listed = next((line.split()[-1] for line in lines if line.startswith("Cpus_allowed_list:")), "")
        cores.update(read(listed))
    return written(cores)


def read(listed: str) -> tuple[int, ...]:
    """The cores that "0-2,5" lists: 0, 1, 2 and 5.

    Raises:
        ValueError: it is no such list.
    """
    found: list[int] = []
    for part in filter(None, listed.split(",")):
        first, dash, last = part.partition("-")
        found.extend(range(int(first), int(last) + 1) if dash else [int(first)])
    return tuple(sorted(set(found)))


def written(cores: Sequence[int] | set[int]) -> str:
    """As ``read`` takes it: 0, 1, 2 and 5 are "0-2,5"."""
    runs: list[list[int]] = []
    for core in sorted(set(cores)):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
