"""This process -> the most memory that it held at once since a moment, less what it held then.

    held_bytes  = VmRSS now - VmRSS at the start
    taken_bytes = VmHWM now - VmRSS at the start, with the high-water mark set back at the start

Source: proc(5): /proc/pid/status (VmRSS, VmHWM), /proc/pid/clear_refs ("5" sets the mark back, Linux 4.0).
``getrusage`` is no substitute: its ru_maxrss survives ``exec``, so a worker would report its parent's memory.

P1 Linux: exact to a page.
P2 the mark cannot be set back: a peak that is not above the old mark is not known.
P3 another system: not known. What is not known is None, never an estimate.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
LARGE_BYTES = 2**26  # of a file, or that opening it took, from which on what it freed goes back to the system
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_RESET_PEAK = "5"  # proc(5): "reset the peak resident set size to the process's current one"


class Meter:
    """Counts from its construction on. The mark is the process's: the last meter counts.

    Args:
        status: what the kernel says of the process.
        reset: where the mark is set back.
    """

    def __init__(self, *, status: Path = STATUS, reset: Path = RESET) -> None:
        self._status = status
        self._old_mark = 0
        try:
            with reset.open("w") as file:
                file.write(_RESET_PEAK)
        except OSError:
            self._old_mark = self._field("VmHWM") or 0  # P2
        self.before = self._field("VmRSS")
        """What was held at the start; None: P3."""

    def taken_bytes(self) -> int | None:
        """The most memory taken at once since the start; None: P2, P3."""
        mark = self._field("VmHWM")
        if mark is None or self.before is None or mark <= self._old_mark:
            return None
        return max(0, mark - self.before)

    def held_bytes(self) -> int | None:
        """What is held now beyond what was held at the start; None: P3."""
        now = self._field("VmRSS")
        return None if now is None or self.before is None else max(0, now - self.before)

    def _field(self, name: str) -> int | None:
        return _field(self._status, name)


def given_back(status: Path = STATUS) -> int | None:
    """Give what was freed back to the system where the C library can; what is held then. None: P3.

    glibc keeps freed pages of its arenas otherwise (malloc_trim(3)).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library; Windows knows no None
        ctypes.CDLL(None).malloc_trim(0)
    return _field(status, "VmRSS")


def is_large(path: Path) -> bool:
    """Whether a model's file, with the one beside it that holds its tensors, is LARGE_BYTES."""
    data = path.with_name(f"{path.name}.data")
    return sum(each.stat().st_size for each in (path, data) if each.is_file()) >= LARGE_BYTES


@contextlib.contextmanager
def frees_at_once() -> Iterator[None]:
    """What is freed inside goes back to the system at once, where the C library can.

    glibc raises the size from which on an allocation is a map of its own to that of the largest map that was
    freed, up to 32 MiB: from the first tensor on, others come out of arenas, and stay there. A file of 300 MB
    took 576 MB to open, and takes 364. Behind it the size is what it would have become (mallopt(3)).
    """
    _mallopt(_MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        _mallopt(_MMAP_THRESHOLD, 2**25)
        _mallopt(_TRIM_THRESHOLD, 2**26)


def _mallopt(name: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library; Windows knows no None
        ctypes.CDLL(None).mallopt(name, value)


def _field(status: Path, name: str) -> int | None:
    try:
        lines = status.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # P3
        return None
    found = next((line.split() for line in lines if line.startswith(f"{name}:")), None)
    return int(found[1]) * 1024 if found else None  # proc(5): the unit is always kB
