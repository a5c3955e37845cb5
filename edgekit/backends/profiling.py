"""Two ways to run one artifact, with a profiler and without -> both latencies, taken in turn.

    plain x 5 | profiled x 5 | profiled x 5 | plain x 5 | ...

What disturbs the machine for longer than a turn hits both. The first inferences of each, with cold caches and
lazy set-up, are run before and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

WARM_UP = 3  # the runtimes here settle within two inferences of one shape
TURN = 5  # inferences at a time: the first after a change finds cold caches, four do not


def in_turn(
    plain: Callable[[], Any], profiled: Callable[[], Any], runs: int
) -> tuple[list[float], list[float]]:
    """Microseconds of ``runs`` inferences of each, without and with the profiler; warmed up by the caller."""
    times: tuple[list[float], list[float]] = ([], [])
    done = 0
    while done < runs:
        size = min(TURN, runs - done)
        order = ((0, plain), (1, profiled)) if (done // TURN) % 2 == 0 else ((1, profiled), (0, plain))
        for side, invoke in order:
            times[side].extend(timed_us(invoke) for _ in range(size))
        done += size
    return times


def timed_us(invoke: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    begin = time.perf_counter_ns()
    invoke()
    return (time.perf_counter_ns() - begin) / 1e3


def bits_to_bytes(shape: Sequence[int], bits: int) -> int:
    """Size of a dense tensor; four-bit elements share bytes."""
    return (prod(shape) * bits + 7) // 8
