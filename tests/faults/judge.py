"""A disturbed run and the next one -> what is wrong about them; nothing, where the guards hold.

J1 the exit code is one that is documented, and no traceback or "internal error" is shown
J2 a run that failed says the cause in the system's words, and what to do
J3 under a final name is what was there before, or what an undisturbed run writes: whole
J4 no temporary name is left; after a kill -9, or where nothing may be removed, the next run has removed it,
   except below TMPDIR, which is the system's to clean
J5 the next run succeeds and gives the same bytes
J6 no process of it lives on
"""

from __future__ import annotations

import fnmatch
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.inject import FAULTS, Ended, Room

MEASURED = (
    *("*/evidence*", "*.evidence.tar", "*.sha256", "*/SHA256SUMS"),
    *("*/report/*", "*/golden/*", "*report.*"),
)
"""Files that hold what a run measured or when it ran: another run's differ."""


@dataclass(frozen=True)
class Job:
    """What is disturbed.

    Attributes:
        arguments: of edgekit.
        codes: with which it has done its work.
        seed: a folder as it is before; copied.
        differs: globs of files whose bytes are no two runs'.
        once: whether it refuses to be done again.
        boot: code that takes a guard away, in each run.
    """

    name: str
    arguments: tuple[str, ...]
    seed: Path
    codes: frozenset[int] = frozenset({0})
    differs: tuple[str, ...] = MEASURED
    boot: str = ""
    once: bool = False


@dataclass(frozen=True)
class Undisturbed:
    """What a run gives that nobody disturbs."""

    before: Mapping[str, str]
    wanted: Mapping[str, str]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is wrong, by which rule, and where the fault was."""

    job: str
    fault: str
    at: int
    call: str
    rule: str
    what: str
    said: str = field(default="", compare=False)


def undisturbed(job: Job, room: Room) -> Undisturbed:
    """Run the job on a fresh copy."""
    room.fill_from(job.seed)
    before = room.files()
    done = room.run(job.arguments, boot=job.boot)
    assert done.code in job.codes, f"{job.name}: {done.out}\n{done.err}"
    assert room.left() == (), room.left()
    return Undisturbed(before, room.files(), done.calls)


def disturbed(job: Job, room: Room, wanted: Undisturbed, *, fault: str, at: int) -> list[Finding]:
    """Run it with a fault, then once more without."""
    room.fill_from(job.seed)
    ended = room.run(job.arguments, fault=fault, at=at, boot=job.boot)
    return judged(job, room, wanted, ended, fault=fault, at=at)


def judged(job: Job, room: Room, wanted: Undisturbed, ended: Ended, *, fault: str, at: int) -> list[Finding]:
    """What is wrong about a run with a fault that has just ended in ``room``; runs it once more without."""
    call = ended.calls[at - 1].split(" ", 1)[1] if len(ended.calls) >= at else "(none)"
    found: list[Finding] = []

    def wrong(rule: str, what: str, said: Ended = ended) -> None:
        text = f"exit {said.code}\n{said.err[-1500:]}"
        found.append(Finding(job.name, fault, at, call.replace(str(room.home), ""), rule, what, text))

    _judge_ending(job, ended, fault, wrong)
    for name, digest in room.files().items():
        free = any(fnmatch.fnmatch(name, glob) for glob in job.differs)
        if digest not in {wanted.before.get(name), wanted.wanted.get(name)} and not free:
            wrong("J3", f"{name} is neither the earlier file nor the whole new one")
    excused = fault in {"kill", "denied", "read-only", "broken"}

    def left() -> list[str]:
        return [name for name in room.left() if not (excused and name.startswith("tmp/"))]

    removal = fault == "broken" and call.startswith(("unlink ", "rmdir "))  # that one stays
    if fault not in {"kill", "denied", "read-only"} and not removal and left():
        wrong("J4", f"left: {', '.join(left()[:4])}")
    if job.once and (ended.code in job.codes or not different(job, wanted, room)):
        return found  # killed after its last file, it had done all
    again = room.run(job.arguments, boot=job.boot)
    if again.code not in job.codes or "Traceback" in again.err:
        wrong("J5", f"the next run ended with {again.code}", again)
        return found
    for name in different(job, wanted, room):
        wrong("J5", f"the next run has another {name}", again)
    if left():
        wrong("J4", f"left by the next run: {', '.join(left()[:4])}", again)
    return found


def different(job: Job, wanted: Undisturbed, room: Room) -> list[str]:
    """Files that are not what an undisturbed run gives."""
    seen = room.files()
    return [
        name
        for name in sorted(wanted.wanted.keys() | seen.keys())
        if seen.get(name) != wanted.wanted.get(name)
        and not (name in seen and any(fnmatch.fnmatch(name, glob) for glob in job.differs))
    ]


def _judge_ending(job: Job, ended: Ended, fault: str, wrong: Callable[[str, str], None]) -> None:
    if ended.silent:
        wrong("J1", "it hung")
    if ended.outlived:
        wrong("J6", "a process of it lives on")
    if "Traceback" in ended.err or "internal error" in ended.err:
        wrong("J1", "a traceback, or an internal error")
    if fault == "kill":
        if ended.code not in {-signal.SIGKILL, *job.codes}:
            wrong("J1", f"exit code {ended.code}")
        return
    if fault in {"SIGTERM", "SIGINT"}:
        if ended.code not in {130, *job.codes}:
            wrong("J1", f"exit code {ended.code}")
        return
    if ended.code in job.codes:
        return
    if fault == "clock":
        wrong("J1", f"exit code {ended.code}")
        return
    if ended.code != 2:
        wrong("J1", f"exit code {ended.code}")
    number = FAULTS[fault].rpartition(":")[2]
    cause = "No space left on device" if fault == "full" else os.strerror(int(number))
    if cause not in ended.err or "next:" not in ended.err:
        wrong("J2", f"it does not say {cause!r}, or not what to do")
