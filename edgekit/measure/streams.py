"""Sessions that run at the same time -> inferences per second of all of them together.

    thread 1:  |block|block|block|block|          rate = inferences inside the window / window
    thread 2:    |block|block|block|block|        window = from the last first block to the first last end

Each session is a process of its own, driven by a thread here; a block is many inferences, so that the way to
the worker and back (0.2 ms) does not count much. A block that sticks out of the window counts with the part
that lies inside.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgekit.spec import Feeds, Session

BLOCK_MS = 100.0  # 500 times the way to a worker and back
WINDOW_MS = 1500.0  # at least 15 blocks of each
LONGEST_BLOCK = 10_000  # inferences: a reply of a 10 us model stays small


@dataclass(frozen=True, slots=True)
class Block:
    """``runs`` inferences between two readings of the clock, in nanoseconds."""

    begin: int
    end: int
    runs: int


def run_together(
    sessions: Sequence[Session],
    feeds: Feeds,
    *,
    window_ms: float = WINDOW_MS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> float:
    """Inferences per second of all ``sessions`` at once.

    Raises:
        DataError, BackendCrashError: as ``Session.time_ms``; the other threads end first.
    """
    runs = [_runs_in_a_block(session, feeds) for session in sessions]
    start, over = threading.Barrier(len(sessions)), threading.Event()

    def drive(session: Session, count: int) -> list[Block]:
        blocks: list[Block] = []
        try:
            start.wait()
            began = clock()
            while not over.is_set():
                begin = clock()
                session.time_ms(feeds, runs=count)
                blocks.append(Block(begin, clock(), count))
                if blocks[-1].end - began >= window_ms * 1e6 and len(blocks) > 2:
                    break
        except BaseException:
            over.set()
            raise
        return blocks

    with ThreadPoolExecutor(len(sessions)) as pool:
        futures = [pool.submit(drive, *each) for each in zip(sessions, runs, strict=True)]
    return rate_per_s([future.result() for future in futures])


def rate_per_s(blocks: Sequence[Sequence[Block]]) -> float:
    """Inferences per second inside the window in which every stream was at work; 0 where there is none."""
    begin = max(each[0].begin for each in blocks)
    end = min(each[-1].end for each in blocks)
    if end <= begin:
        return 0.0
    inside = sum(
        each.runs * max(0, min(end, each.end) - max(begin, each.begin)) / (each.end - each.begin)
        for stream in blocks
        for each in stream
        if each.end > each.begin
    )
    return inside / (end - begin) * 1e9


def _runs_in_a_block(session: Session, feeds: Feeds) -> int:
    """After a first inference; alone, so that a block is somewhat longer when all run."""
    session.time_ms(feeds, runs=1)
    median_ms = statistics.median(session.time_ms(feeds, runs=5))
    return max(1, min(LONGEST_BLOCK, math.ceil(BLOCK_MS / max(median_ms, 1e-3))))
