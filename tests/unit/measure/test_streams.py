"""Several sessions at once: what the rate counts, that they really run together, and that one may fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pytest

from edgekit.errors import BackendCrashError
from edgekit.measure.streams import Block, rate_per_s, run_together
from edgekit.spec import Array, Feeds, TensorSpec

MS = 1_000_000


class Together:
    """A session that goes on only when all others are in the same call; ``fails`` in its third block."""

    def __init__(self, meeting: threading.Barrier, *, fails: bool = False) -> None:
        self.meeting, self.fails, self.calls = meeting, fails, 0

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    facts: Mapping[str, str] = {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        raise NotImplementedError

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        del feeds
        self.calls += 1
        if self.calls <= 2:  # alone: the planning of a block
            return (50.0,) * runs
        if self.fails and self.calls == 5:
            self.meeting.abort()
            raise BackendCrashError("it died", why="", remedy="")
        try:
            self.meeting.wait(20)
        except threading.BrokenBarrierError:
            if not self.meeting.broken:
                raise
        return (50.0,) * runs

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def test_all_sessions_run_at_the_same_time() -> None:
    """Each waits in its block for all the others: one after the other would never end."""
    meeting = threading.Barrier(3)
    sessions = [Together(meeting) for _ in range(3)]
    assert run_together(sessions, {}, window_ms=0.0) > 0
    assert {session.calls for session in sessions} == {2 + 3}


def test_a_session_that_dies_ends_the_others() -> None:
    meeting = threading.Barrier(2)
    sessions = [Together(meeting), Together(meeting, fails=True)]
    with pytest.raises(BackendCrashError, match="it died"):
        run_together(sessions, {}, window_ms=60_000.0)


def test_the_rate_is_that_of_the_window_in_which_all_are_at_work() -> None:
    """A: 10 inferences in each 10 ms from 0 to 40. B: 20 in each 10 ms from 5 to 35. Window: 5 to 35 ms."""
    a = [Block(begin * MS, (begin + 10) * MS, 10) for begin in (0, 10, 20, 30)]
    b = [Block(begin * MS, (begin + 10) * MS, 20) for begin in (5, 15, 25)]
    assert rate_per_s([a, b]) == pytest.approx(1000 * (1 + 2))
    assert rate_per_s([a]) == pytest.approx(1000)


def test_what_lies_outside_the_window_does_not_count() -> None:
    """Sabotage: counting all blocks over the window would give 4,000 for the first stream alone."""
    slow = [Block(0, 40 * MS, 40)]
    late = [Block(30 * MS, 60 * MS, 30)]
    assert rate_per_s([slow, late]) == pytest.approx(1000 + 1000)
    assert rate_per_s([[Block(0, 10 * MS, 1)], [Block(20 * MS, 30 * MS, 1)]]) == 0.0


def test_a_pause_between_blocks_counts() -> None:
    paused = [Block(0, 10 * MS, 10), Block(30 * MS, 40 * MS, 10)]
    assert rate_per_s([paused]) == pytest.approx(500)
