"""Values of one tensor, batch by batch -> the Range that its scale is made from.

    state = observer.start();  state = observer.update(state, batch) ...;  range = observer.finish(state)

| method | range |
|---|---|
| minmax | smallest and largest value seen |
| percentile:P | what is left after cutting the fraction 1 - P/100 of all values at either end |

The memory of a state does not depend on how much data it saw. The histogram has a fixed number of bins whose
width is a power of two and whose edges are multiples of it; when a value falls outside, the width doubles
and neighbouring bins merge, so counts stay exact and do not depend on how the data was cut into batches
beyond the first (which sets the finest width).

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018), section 3;
Wu et al., "Integer Quantization for Deep Learning Inference" (2020), section 3.2, for percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import Array, Range

BINS = 4096  # width <= 1/1024 of the range: 4 bins for each of 256 quantization steps even when badly aligned
FINEST = -126  # exponent of the smallest normal float32
DEFAULT_PERCENTILE = 99.99

S = TypeVar("S")


class Observer(Protocol, Generic[S]):
    """How the range of a tensor is found; options are fields, state is a value."""

    def start(self) -> S:
        """The state before any data."""

    def update(self, state: S, values: Array) -> S:
        """The state after ``values`` (any shape, finite)."""

    def finish(self, state: S) -> Range:
        """The range. Only after at least one value was seen."""


@dataclass(frozen=True)
class Extent:
    """Smallest and largest value so far; inverted infinities before the first."""

    low: float = math.inf
    high: float = -math.inf

    def widened(self, values: Array) -> Extent:
        """With ``values`` seen too."""
        if values.size == 0:
            return self
        return Extent(min(self.low, float(values.min())), max(self.high, float(values.max())))


@dataclass(frozen=True)
class MinMax:
    """All values count; one outlier stretches the range."""

    def start(self) -> Extent:
        """Nothing seen."""
        return Extent()

    def update(self, state: Extent, values: Array) -> Extent:
        """Widen."""
        return state.widened(values)

    def finish(self, state: Extent) -> Range:
        """What was seen."""
        return Range(state.low, state.high)


@dataclass(frozen=True)
class Histogram:
    """Counts of values in bins of width 2**exponent; bin i holds [(first + i), (first + i + 1)) * width.

    Attributes:
        counts: (BINS,) integers.
        first: index of the first bin on the grid that starts at zero.
        exponent: of the bin width.
        extent: exact extrema.
    """

    counts: npt.NDArray[np.int64]
    first: int
    exponent: int
    extent: Extent

    @property
    def width(self) -> float:
        """Of one bin, in units of the values."""
        return math.ldexp(1.0, self.exponent)


@dataclass(frozen=True)
class Percentile:
    """Cuts the rarest values at both ends.

    Attributes:
        percent: share of values that lie at or below the upper end, and at or above the lower end.
    """

    percent: float = DEFAULT_PERCENTILE

    def start(self) -> Histogram:
        """Nothing seen; the first values set the width."""
        return Histogram(np.zeros(BINS, np.int64), 0, FINEST, Extent())

    def update(self, state: Histogram, values: Array) -> Histogram:
        """Widen the bins until everything fits, then count."""
        if values.size == 0:
            return state
        extent = state.extent.widened(values)
        grown = _grown(state, extent)
        # Exact: a float times a power of two. float64, because small widths overflow float32.
        index = np.floor(values.astype(np.float64).ravel() * math.ldexp(1.0, -grown.exponent))
        counted = np.bincount(index.astype(np.int64) - grown.first, minlength=BINS)
        return Histogram(grown.counts + counted, grown.first, grown.exponent, extent)

    def finish(self, state: Histogram) -> Range:
        """The two cuts, inside the exact extrema; an end where nothing rare lies is exact."""
        total = int(state.counts.sum())
        cut = total * (1.0 - self.percent / 100.0)
        ends = (_quantile(state, cut), _quantile(state, total - cut))
        low, high = (min(max(end, state.extent.low), state.extent.high) for end in ends)
        return Range(low, high)


def _grown(state: Histogram, extent: Extent) -> Histogram:
    """``state`` with bins wide enough that ``extent`` lies inside, and moved where it needs to be."""
    exponent = state.exponent
    span = max(extent.high - extent.low, abs(extent.high) * 2.0**-20, abs(extent.low) * 2.0**-20)
    if span > 0:
        # span / width <= BINS / 2: room for misalignment and for values that are yet to come.
        exponent = max(exponent, math.ceil(math.log2(span)) - int(math.log2(BINS)) + 1)
    first = math.floor(math.ldexp(extent.low, -exponent))
    last = math.floor(math.ldexp(extent.high, -exponent))
    if exponent == state.exponent and state.first <= first and last < state.first + BINS:
        return state
    first -= (BINS - 1 - (last - first)) // 2  # values in the middle, equal room on both sides
    counts = np.zeros(BINS, np.int64)
    used = np.flatnonzero(state.counts)
    moved = ((used + state.first) >> (exponent - state.exponent)) - first
    np.add.at(counts, moved, state.counts[used])
    return Histogram(counts, first, exponent, state.extent)


def _quantile(state: Histogram, rank: float) -> float:
    """The value below which ``rank`` of the counted values lie, linear inside a bin."""
    cumulative = np.cumsum(state.counts)
    bin_index = min(int(np.searchsorted(cumulative, rank)), BINS - 1)
    before = float(cumulative[bin_index] - state.counts[bin_index])
    inside = float(state.counts[bin_index])
    part = (rank - before) / inside if inside else 0.0
    return (state.first + bin_index + min(max(part, 0.0), 1.0)) * state.width


def _percentile_from(argument: str) -> Percentile:
    try:
        percent = float(argument) if argument else DEFAULT_PERCENTILE
    except ValueError:
        percent = math.nan
    if not 50.0 < percent <= 100.0:
        raise InputError(
            f"percentile:{argument} is not a percentile of a range",
            why="it is the share of values that the range keeps: more than 50, at most 100",
            remedy="for example --method percentile:99.99",
        )
    return Percentile(percent)


def _minmax_from(argument: str) -> MinMax:
    if argument:
        raise InputError(
            f"method minmax takes no parameter, got {argument!r}",
            why="it keeps all values",
            remedy="--method minmax, or --method percentile:99.99",
        )
    return MinMax()


METHODS: dict[str, Callable[[str], MinMax | Percentile]] = {
    "minmax": _minmax_from,
    "percentile": _percentile_from,
}


def observer_from_method(method: str) -> MinMax | Percentile:
    """``minmax``, ``percentile`` or ``percentile:99.9`` -> the observer.

    Raises:
        UnknownNameError: no such method.
        InputError: its parameter is not one.
    """
    name, _, argument = method.partition(":")
    if name not in METHODS:
        raise UnknownNameError("calibration method", name, METHODS, listing="edgekit calibrate --help")
    return METHODS[name](argument)
