"""Work on the rows of a matrix, some at a time, on all cores.

A BLAS shares out one product among the cores, but what NumPy does between two products runs on one of them.
Rows that do not know of each other are the better share: every core has blocks of its own, and the BLAS has
one thread for each. With threads of its own below ours OpenBLAS waits for itself (2.2 times the processor
time of a layer of 2,048 x 2,048).

Source: threadpoolctl's documentation; OpenBLAS, "multi-threaded" (its level-3 routines take turns).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from edgekit.pruning.stream import threads

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # no stubs

AT_ONCE = 2**18  # numbers: 2 MB of float64, which stay in the processor's cache
Result = TypeVar("Result")


def by_rows(work: Callable[[slice], Result], shape: tuple[int, ...]) -> list[Result]:
    """What ``work`` gives for each block of rows, in their order.

    Args:
        work: on these rows; blocks run at the same time.
        shape: (rows, columns).
    """
    step = max(1, AT_ONCE // max(1, shape[1]))
    blocks = [slice(first, first + step) for first in range(0, shape[0], step)]
    cores = min(threads(), len(blocks))
    if cores < 2:
        return [work(block) for block in blocks]
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        return list(pool.map(work, blocks))


@functools.cache
def _libraries() -> ThreadpoolController:
    """NumPy's BLAS is loaded by now; looking for it takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
