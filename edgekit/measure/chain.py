"""Steps that feed each other, starts -> milliseconds of each step, over passes through the whole chain.

    start --step 1--> --step 2--> ... ; every pass times every step once, the starts in turn

A whole pass before the next one, so that a step finds caches as it does in an application, and a disturbance
falls on all steps alike. The collector is off, as in ``backends/worker_main.py``.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BUDGET_MS = 300.0  # of one chain; long enough for 30 passes of a resize of a photograph
FEWEST, MOST = 10, 1000  # passes: a median needs some; a chain of microseconds need not have a million

Step = tuple[str, Callable[[Any], Any]]


def time_chain(
    steps: Sequence[Step],
    starts: Sequence[Any],
    *,
    budget_ms: float = BUDGET_MS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Mapping[str, tuple[float, ...]]:
    """Samples of each step by name; the first pass, with cold caches, is left out.

    Args:
        steps: names are different.
        starts: what the first step takes, in turn; not empty.
        budget_ms: for all passes together, once there are FEWEST.
        clock: nanoseconds, monotonic.
    """
    samples: dict[str, list[float]] = {name: [] for name, _ in steps}
    begin, passes = clock(), 0
    gc.collect()
    gc.disable()
    try:
        while passes < FEWEST or (passes < MOST and clock() - begin < budget_ms * 1e6):
            value = starts[passes % len(starts)]
            for name, step in steps:
                started = clock()
                value = step(value)
                samples[name].append((clock() - started) / 1e6)
            passes += 1
    finally:
        gc.enable()
    return {name: tuple(each[1:]) for name, each in samples.items()}
