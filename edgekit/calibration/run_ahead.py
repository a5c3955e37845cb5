"""Items x function -> (item, result) one after the other, while the next result is on its way.

    main thread:    read item 2 | look at result 1 | read item 3 | look at result 2 | ...
    second thread:       run 1  |       run 2      |       run 3 |

The runtime works in a process of its own, so the second thread only waits. One result is ahead, never more:
memory is that of two.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(
    items: Iterable[Item], function: Callable[[Item], Result]
) -> Generator[tuple[Item, Result], None, None]:
    """In the order of ``items``. What ``function`` raises is raised where its result would be."""
    with ThreadPoolExecutor(max_workers=1) as second:
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            following = item, second.submit(function, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()
