"""Numbers of channels -> classes that go together, and those that stay, with the reason.

    tie(a, b): a[i] and b[i] are removed together      pin(a, reason): a[i] is never removed

Number 0 is the channel that always stays. Union-find with path halving (Tarjan and van Leeuwen, 1984).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
"""(size of an axis,) the channel that each index of the axis belongs to; 0 = stays."""

STAYS = 0


class Ties:
    """Channels by number, and what is known about them."""

    def __init__(self) -> None:
        self._parent = [STAYS]
        self._reason: dict[int, str] = {}

    def fresh(self, count: int) -> Numbers:
        """``count`` channels that nothing ties yet."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def tie(self, a: Numbers, b: Numbers, reason: str) -> None:
        """Pairs of channels that go together; one whose partner always stays is pinned for ``reason``."""
        pairs = {(int(x), int(y)) for x, y in zip(a, b, strict=True) if x != y}
        for x, y in sorted(pairs):
            if STAYS in (x, y):
                self._pin_one(max(x, y), reason)
                continue
            low, high = sorted((self._root(x), self._root(y)))
            if low == high:
                continue
            self._parent[high] = low
            said = self._reason.pop(high, None)
            if said is not None:
                self._reason.setdefault(low, said)

    def pin(self, numbers: Numbers, reason: str) -> None:
        """Channels that stay. The first reason is kept."""
        for number in np.unique(numbers):
            if number != STAYS:
                self._pin_one(int(number), reason)

    def roots(self, numbers: Numbers) -> Numbers:
        """The class of each channel."""
        return np.array([self._root(int(number)) for number in numbers], np.int64)

    def reason(self, number: int) -> str | None:
        """Why the class of a channel stays; None where it may go."""
        return self._reason.get(self._root(number)) if number != STAYS else "it is no channel"

    def _pin_one(self, number: int, reason: str) -> None:
        self._reason.setdefault(self._root(number), reason)

    def _root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number
