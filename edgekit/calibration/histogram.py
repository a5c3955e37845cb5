"""Values of many tensors, batch by batch -> one histogram per tensor, in memory that does not grow.

    bin i of a tensor holds [(first + i), (first + i + 1)) * 2**exponent

The width is a power of two and the edges are multiples of it, so when a value falls outside, the width
doubles and neighbouring bins merge: counts stay exact, and one pass over the data is enough. They do not
depend on how the data was cut into batches beyond the first (which sets the finest width).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgekit.spec import Array

BINS = 4096  # width <= 1/1024 of the range: 4 bins for each of 256 quantization steps even when badly aligned
FINEST = -126  # exponent of the smallest normal float32
_CONSTANT = (
    2.0**-12
)  # a spread below this part of the magnitude would need bins finer than float32 has values
_AT_ONCE = 2**15  # values that are counted together: what is in between stays in the processor's cache

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Histogram:
    """Counts of one tensor's values.

    Attributes:
        counts: (BINS,) integers.
        first: index of the first bin on the grid that starts at zero.
        exponent: of the bin width.
    """

    counts: npt.NDArray[np.int64]
    first: int
    exponent: int

    @property
    def width(self) -> float:
        """Of one bin, in units of the values."""
        return math.ldexp(1.0, self.exponent)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def quantile(self, rank: float) -> float:
        """The value below which ``rank`` of the counted values lie, linear inside a bin."""
        cumulative = np.cumsum(self.counts)
        index = min(int(np.searchsorted(cumulative, rank)), BINS - 1)
        inside = float(self.counts[index])
        part = (rank - float(cumulative[index] - inside)) / inside if inside else 0.0
        return (self.first + index + min(max(part, 0.0), 1.0)) * self.width

    def digest(self) -> str:
        """16 hex digits over bins and counts."""
        used = np.flatnonzero(self.counts)
        sha = hashlib.sha256(f"{self.exponent}".encode())
        sha.update((used + self.first).astype("<i8").tobytes())
        sha.update(self.counts[used].astype("<i8").tobytes())
        return sha.hexdigest()[:16]


@dataclass
class Histograms:
    """Histograms of ``tensors`` tensors that grow together."""

    tensors: int
    counts: npt.NDArray[np.int64] = field(init=False)
    first: npt.NDArray[np.int64] = field(init=False)
    exponent: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.tensors, BINS), np.int64)
        self.first = np.zeros(self.tensors, np.int64)
        self.exponent = np.full(self.tensors, FINEST, np.int32)

    def one(self, tensor: int) -> Histogram:
        """A copy of one of them."""
        return Histogram(self.counts[tensor].copy(), int(self.first[tensor]), int(self.exponent[tensor]))

    def fit(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
        """Widen and move bins so that [low, high], (tensors,) each, lie inside; infinite: nothing to fit."""
        finite = np.isfinite(low) & np.isfinite(high)
        begin, end = (np.where(finite, bound, 0.0) for bound in (low, high))
        below = np.floor(np.ldexp(begin, -self.exponent)) < self.first
        above = np.floor(np.ldexp(end, -self.exponent)) >= self.first + BINS
        for tensor in np.flatnonzero(finite & (below | above)):
            self._grow(int(tensor), float(low[tensor]), float(high[tensor]))

    def add(self, values: Array, owners: Indices) -> None:
        """Count ``values``, (rows, columns), after ``fit``; ``owners`` is the tensor of each column."""
        if not values.size:
            return
        starts = np.concatenate([[0], np.flatnonzero(np.diff(owners)) + 1, [len(owners)]]).tolist()
        high = max(1, _AT_ONCE // max(stop - start for start, stop in pairwise(starts)))
        for row in range(0, len(values), high):
            for start, stop in pairwise(starts):
                self._add_block(values[row : row + high, start:stop], int(owners[start]))

    def _add_block(self, block: Array, tensor: int) -> None:
        scaled = np.multiply(block, np.ldexp(np.float32(1.0), -self.exponent[tensor]), dtype=np.float32)
        np.floor(scaled, out=scaled)  # exact so far: a float times a power of two
        index = scaled.astype(np.intp)
        index -= self.first[tensor]
        self.counts[tensor] += np.bincount(index.ravel(), minlength=BINS)

    def _grow(self, tensor: int, low: float, high: float) -> None:
        exponent = int(self.exponent[tensor])
        span = max(high - low, max(abs(low), abs(high)) * _CONSTANT)
        if span > 0:
            # span / width <= BINS / 2: room for misalignment and for values that are yet to come.
            exponent = max(exponent, math.ceil(math.log2(span)) - int(math.log2(BINS)) + 1)
        begin, end = (math.floor(math.ldexp(bound, -exponent)) for bound in (low, high))
        first = int(self.first[tensor])
        if exponent == self.exponent[tensor] and first <= begin and end < first + BINS:
            return
        moved_to = begin - (BINS - 1 - (end - begin)) // 2  # in the middle, equal room on both sides
        counts = np.zeros(BINS, np.int64)
        used = np.flatnonzero(self.counts[tensor])
        moved = ((used + first) >> (exponent - int(self.exponent[tensor]))) - moved_to
        np.add.at(counts, moved, self.counts[tensor, used])
        self.counts[tensor], self.first[tensor], self.exponent[tensor] = counts, moved_to, exponent
