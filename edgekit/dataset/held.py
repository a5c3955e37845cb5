"""Samples that are passed over again and again -> kept in memory from the first whole pass on, where small.

Reading a sample means decoding, resizing, the user's own code; a release passes over its evaluation data for
each candidate. Calibration streams (``calibration.collect``), and its memory does not depend on the count:
what passes once or twice is not held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.dataset.stream import Sample

HELD_BYTES = 256 * 2**20  # 440 RGB images of 224 pixels as float32; more of them are read again


class Held:
    """Passes over ``samples``; they are read once where all of them fit into ``most_bytes``."""

    def __init__(self, samples: Callable[[], Iterable[Sample]], most_bytes: int) -> None:
        self._samples, self._most_bytes = samples, most_bytes
        self._kept: list[Sample] | None = None

    def __call__(self) -> Iterator[Sample]:
        """A fresh pass. One that is given up half-way keeps nothing."""
        if self._kept is not None:
            yield from map(dict, self._kept)
            return
        kept: list[Sample] | None = []
        size = 0
        for sample in self._samples():
            if kept is not None:
                kept.append({name: _own(array) for name, array in sample.items()})
                size += sum(array.nbytes for array in kept[-1].values())
                if size > self._most_bytes:
                    kept, self._most_bytes = None, -1
            yield sample
        self._kept = kept


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Not a view that keeps a whole batch alive, and nothing that a caller can write into."""
    mine = np.array(array)
    mine.flags.writeable = False
    return mine
