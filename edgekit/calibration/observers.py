"""What was seen of one tensor -> the Range that its scale is made from.

| method | range |
|---|---|
| minmax | smallest and largest value |
| moving-average | moving averages of the samples' smallest and largest values |
| percentile:P | what is left after cutting the fraction 1 - P/100 of all values at either end |
| entropy | the clipping whose 8-bit image has the least Kullback-Leibler divergence from the values |
| mse | the clipping whose 8-bit image has the least squared error |
| auto | per tensor the one of them that loses least, see ``choose_method`` |

Extrema are exact in every method; the last three see a seeded sample of the values as a histogram, and their
range never leaves the extrema.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018), section 3;
Wu et al., "Integer Quantization for Deep Learning Inference" (2020), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from edgekit.calibration import clipping
from edgekit.calibration.evidence import Seen
from edgekit.calibration.histogram import Histogram
from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import Range

DEFAULT_PERCENTILE = 99.99


class Method(Protocol):
    """How a range is found; options are fields, what was seen is handed in."""

    counts: ClassVar[bool]
    """Whether it needs a histogram."""
    each_sample: ClassVar[bool]
    """Whether it needs the minimum of every sample, and not only that of all."""

    tails: ClassVar[bool]
    """Whether its ends hang on the few values beyond them, so that it needs more of the values."""

    def range_of(self, seen: Seen) -> Range:
        """The range. Only after at least one value was seen."""


@dataclass(frozen=True)
class MinMax:
    """All values count; one outlier stretches the range."""

    counts: ClassVar[bool] = False
    each_sample: ClassVar[bool] = False
    tails: ClassVar[bool] = False

    def range_of(self, seen: Seen) -> Range:
        """What was seen."""
        return Range(seen.low, seen.high)


@dataclass(frozen=True)
class MovingAverage:
    """What a typical sample reaches."""

    counts: ClassVar[bool] = False
    each_sample: ClassVar[bool] = True
    tails: ClassVar[bool] = False

    def range_of(self, seen: Seen) -> Range:
        """The averages, which lie inside the extrema but for rounding."""
        return _inside(seen, seen.average_low, seen.average_high)


@dataclass(frozen=True)
class Percentile:
    """Cuts the rarest values at both ends.

    Attributes:
        percent: share of values that lie at or below the upper end, and at or above the lower end.
    """

    percent: float = DEFAULT_PERCENTILE

    counts: ClassVar[bool] = True
    each_sample: ClassVar[bool] = False
    tails: ClassVar[bool] = False

    def range_of(self, seen: Seen) -> Range:
        """The two cuts; an end where nothing rare lies is exact."""
        histogram = _counted(seen)
        cut = histogram.total * (1.0 - self.percent / 100.0)
        if cut == 0:
            return Range(seen.low, seen.high)
        return _inside(seen, histogram.quantile(cut), histogram.quantile(histogram.total - cut))


@dataclass(frozen=True)
class Entropy:
    """Keeps the distribution."""

    counts: ClassVar[bool] = True
    each_sample: ClassVar[bool] = False
    tails: ClassVar[bool] = False

    def range_of(self, seen: Seen) -> Range:
        """See ``clipping.least_divergence``."""
        low, high = clipping.least_divergence(_counted(seen), seen.low, seen.high)
        return _inside(seen, low, high)


@dataclass(frozen=True)
class SquaredError:
    """Keeps the values."""

    counts: ClassVar[bool] = True
    each_sample: ClassVar[bool] = False
    tails: ClassVar[bool] = True

    def range_of(self, seen: Seen) -> Range:
        """See ``clipping.least_squares``."""
        low, high = clipping.least_squares(_counted(seen), seen.low, seen.high)
        return _inside(seen, low, high)


@dataclass(frozen=True)
class Auto:
    """Leaves the choice to ``choose_method``, which knows the graph too."""

    counts: ClassVar[bool] = True
    each_sample: ClassVar[bool] = False
    tails: ClassVar[bool] = True

    def range_of(self, seen: Seen) -> Range:
        """The extrema, where nobody chose."""
        return Range(seen.low, seen.high)


def _inside(seen: Seen, low: float, high: float) -> Range:
    low, high = (min(max(end, seen.low), seen.high) for end in (low, high))
    return Range(low, high)


def _counted(seen: Seen) -> Histogram:
    if seen.histogram is None:
        raise TypeError("this method needs a histogram, and none was made")
    return seen.histogram


def _percentile_from(argument: str) -> Method:
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


METHODS: dict[str, Callable[[], Method]] = {
    "minmax": MinMax,
    "moving-average": MovingAverage,
    "percentile": Percentile,
    "entropy": Entropy,
    "mse": SquaredError,
    "auto": Auto,
}


def observer_from_method(method: str) -> Method:
    """``minmax``, ``moving-average``, ``percentile:99.9``, ``entropy``, ``mse``, ``auto`` -> the method.

    Raises:
        UnknownNameError: no such method.
        InputError: its parameter is not one.
    """
    name, colon, argument = method.partition(":")
    if name not in METHODS:
        raise UnknownNameError("calibration method", name, METHODS, listing="edgekit calibrate --help")
    if name == "percentile":
        return _percentile_from(argument)
    if colon:
        raise InputError(
            f"method {name} takes no parameter, got {argument!r}",
            why="only percentile has one",
            remedy=f"--method {name}, or --method percentile:99.99",
        )
    return METHODS[name]()
