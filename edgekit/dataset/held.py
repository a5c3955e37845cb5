"""Samples that are passed over again and again -> kept in memory from the first pass on, where small.

Reading a sample means decoding, resizing, the user's own code; a release passes over its evaluation data for
each candidate. Calibration streams (``calibration.collect``), and its memory does not depend on the count:
what passes once or twice is not held.

H1: a pass that ends early keeps what it has read, and the next one reads on behind that. Who wants the first
    64 samples, or all of them by their number, never asks for the end.
H2: more than fits is not held at all: samples behind those in memory cost as much as all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.dataset.stream import Sample

HELD_BYTES = 256 * 2**20  # 440 RGB images of 224 pixels as float32; more of them are read again


class Held:
    """Passes over ``samples``; they are read once where all of them fit into ``most_bytes``.

    ``count``: how many there are; where it is not said, the end is read for once more.
    """

    def __init__(
        self, samples: Callable[[], Iterable[Sample]], most_bytes: int, *, count: int | None = None
    ) -> None:
        self._samples, self._most_bytes = samples, most_bytes
        self._kept: list[Sample] = []  # the first ones (H1)
        self._bytes = 0
        self._fits = True
        self._count = count

    def __call__(self) -> Iterator[Sample]:
        """A fresh pass."""
        given = 0
        while given < len(self._kept):
            yield dict(self._kept[given])
            given += 1
        if given == self._count:
            return
        number = 0
        for number, sample in enumerate(self._samples(), 1):
            if number > given:
                if self._fits and number > len(self._kept):
                    self._keep(sample)
                yield sample
        if self._fits and number == len(self._kept):
            self._count = number

    def _keep(self, sample: Sample) -> None:
        self._kept.append({name: _own(array) for name, array in sample.items()})
        self._bytes += sum(array.nbytes for array in self._kept[-1].values())
        if self._bytes > self._most_bytes:  # H2
            self._kept, self._fits = [], False


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Not a view that keeps a whole batch alive, and nothing that a caller can write into."""
    mine = np.array(array)
    mine.flags.writeable = False
    return mine
