"""Items x function -> (item, result) one after the other, while the next results are on their way.

    main thread:    look at result 1         | look at result 2         | ...
    second thread:  copy result 2 | run 4 ...
    third thread:   run 3         | copy result 3 | run 5 ...

The runtime works in a process of its own, so the other threads wait, and copy what it gave while it computes
the next. Two results are ahead, never more: memory is that of three.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2


def run_ahead(
    items: Iterable[Item], function: Callable[[Item], Result]
) -> Generator[tuple[Item, Result], None, None]:
    """In the order of ``items``. What ``function`` raises is raised where its result would be."""
    with ThreadPoolExecutor(max_workers=AHEAD) as others:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, others.submit(function, item)))
            if len(waiting) > AHEAD:
                first = waiting.popleft()
                yield first[0], first[1].result()
        while waiting:
            first = waiting.popleft()
            yield first[0], first[1].result()
