"""Sessions of one artifact, each of a new process -> start, first inference, memory: medians over processes.

    process --import_ms--> runtime --load_ms--> session --first_ms--> first result --> steady state
               baseline memory       + loaded                         + peak

The file is in the page cache when it is loaded: its hash was read before. A start from a cold disk is slower.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from edgekit.backends.worker import WorkerSession
from edgekit.measure.launch import Launch
from edgekit.pipeline.result import MemoryRow, PhasesRow
from edgekit.spec import Session


def launch_of(session: Session) -> Launch | None:
    """Asked after its samples were taken; None of a session that is no worker of ours."""
    if not isinstance(session, WorkerSession):
        return None
    memory = session.memory()
    return Launch(
        import_ms=session.import_ms,
        load_ms=session.load_ms,
        first_ms=session.first_ms,
        baseline_bytes=memory.baseline_bytes,
        loaded_bytes=memory.loaded_bytes,
        peak_bytes=memory.peak_bytes,
    )


def phases_row(launches: Sequence[Launch]) -> PhasesRow | None:
    """Medians; None where there is no process."""
    if not launches:
        return None
    return PhasesRow(
        import_ms=_median(launches, lambda each: each.import_ms),
        load_ms=_median(launches, lambda each: each.load_ms),
        first_ms=_median(launches, lambda each: each.first_ms),
        launches=len(launches),
    )


def memory_row(launches: Sequence[Launch], *, peak_bytes: int | None = None) -> MemoryRow | None:
    """Medians; None where no process could say anything. ``peak_bytes`` where another source knows it."""
    found = MemoryRow(
        baseline_bytes=_rounded(_median(launches, lambda each: each.baseline_bytes)),
        loaded_bytes=_rounded(_median(launches, lambda each: each.loaded_bytes)),
        peak_bytes=peak_bytes or _rounded(_median(launches, lambda each: each.peak_bytes)),
    )
    return None if found == MemoryRow(None, None, None) else found


def _median(launches: Sequence[Launch], value: Callable[[Launch], float | None]) -> float | None:
    known = [each for each in map(value, launches) if each is not None]
    return statistics.median(known) if known else None


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
