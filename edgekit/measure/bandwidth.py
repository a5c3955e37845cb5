"""This machine's memory -> bytes per second over the size of the working set.

    copy    b[:] = a                        reads and writes: 2 * size of a
    read    maximum of a, over and over     reads: size of a

For each size the faster of the two counts, at its best of several tries, because the roof is what is possible
at best. Reading a view with stride 0 repeats a small array inside one call, so that the call itself costs
nothing. With N threads every thread has arrays of its own and NumPy releases the interpreter's lock. Write
allocation is not counted. The largest set is four times the last-level cache where memory allows it.

Source: J. McCalpin, "Memory bandwidth and machine balance", 1995 (STREAM): arrays of four times the cache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.spec import Array

_SIZES = tuple(2**power for power in range(16, 31, 2))  # 64 KiB to 1 GiB, each four times the one before
_LEAST_NS = 2_000_000  # a try lasts 2 ms at least: a thousand times the clock's and the call's own time
_TRIES = 7
_TRIES_OF_LARGE, _LARGE_BYTES = 3, 2**27  # a pass over such a set is long enough to be even
_MOST_BYTES = 2**30  # of all arrays together: a profile is no reason to fill a small board's memory
_CACHES = 4  # times the last-level cache


def measured(*, threads: int, memory_bytes: int, sys: Path = Path("/sys")) -> tuple[tuple[int, float], ...]:
    """(working set in bytes, GB/s), smallest first; about two seconds.

    Args:
        threads: that read and write at the same time, each on its share.
        memory_bytes: the machine's; at most a quarter is used.
        sys: a parameter for tests.
    """
    room = min(
        _MOST_BYTES, memory_bytes // 4 or _MOST_BYTES, _CACHES * (last_cache_bytes(sys=sys) or _MOST_BYTES)
    )
    sizes = [size for size in _SIZES if size <= room] or [_SIZES[0]]
    return tuple((size, _best(size // threads, threads)) for size in sizes)


def last_cache_bytes(*, sys: Path = Path("/sys")) -> int:
    """Of the first core's largest cache; 0 where the system does not say it."""
    units = {"K": 1024, "M": 1024**2, "G": 1024**3}
    found = [0]
    for path in sorted((sys / "devices/system/cpu/cpu0/cache").glob("index*/size")):
        text = path.read_text("utf-8").strip()
        number, unit = text.rstrip("KMG"), text[-1:]
        if number.isdecimal():
            found.append(int(number) * units.get(unit, 1))
    return max(found)


def _best(size_bytes: int, threads: int) -> float:
    """GB/s of all threads together on sets of ``size_bytes`` each."""
    half = max(1, size_bytes // 2 // 4)
    one = [np.ones(half, np.float32) for _ in range(threads)]
    other = [np.empty_like(each) for each in one]
    whole = [np.ones(max(1, size_bytes // 4), np.float32) for _ in range(threads)]
    copied = _rate([_copying(b, a) for a, b in zip(one, other, strict=True)], 2 * one[0].nbytes * threads)
    times = max(1, 2**20 // whole[0].nbytes)
    views = [np.broadcast_to(each, (times, each.size)) for each in whole]
    read = _rate([_reading(each) for each in views], whole[0].nbytes * times * threads)
    return max(copied, read)


def _copying(target: Array, source: Array) -> Callable[[], object]:
    return lambda: np.copyto(target, source)


def _reading(view: Array) -> Callable[[], object]:
    return lambda: view.max(axis=1)


def _rate(work: list[Callable[[], object]], moved_bytes: int) -> float:
    """The best of some tries, in GB/s."""
    repeats = 1
    spent = _spent(work, repeats)
    while spent < _LEAST_NS and repeats < 2**16:
        repeats = min(2**16, max(2 * repeats, int(repeats * _LEAST_NS / max(spent, 1)) + 1))
        spent = _spent(work, repeats)
    tries = _TRIES if moved_bytes * repeats < _LARGE_BYTES else _TRIES_OF_LARGE
    best = min([spent, *(_spent(work, repeats) for _ in range(tries - 1))])
    return moved_bytes * repeats / best


def _spent(work: list[Callable[[], object]], repeats: int) -> int:
    """Nanoseconds until all threads have done ``repeats`` rounds."""
    if len(work) == 1:
        begin = time.perf_counter_ns()
        for _ in range(repeats):
            work[0]()
        return time.perf_counter_ns() - begin
    barrier = threading.Barrier(len(work) + 1)

    def run(each: Callable[[], object]) -> None:
        barrier.wait()
        for _ in range(repeats):
            each()

    running = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in running:
        thread.start()
    barrier.wait()
    begin = time.perf_counter_ns()
    for thread in running:
        thread.join()
    return time.perf_counter_ns() - begin
