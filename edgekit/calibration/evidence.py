"""What was seen of every tensor, sample by sample: extrema, their halves, their moving average, a histogram.

Memory depends on the number of tensors alone. Samples take turns between two halves (even and odd), so that a
range that stands on a few of them shows up as two halves that disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgekit.calibration.histogram import Histogram, Histograms
from edgekit.spec import Array

# Weight of one sample in the moving average; the mean while fewer than 1 / AVERAGING were seen, so that the
# first sample weighs no more than the others (TensorFlow and PyTorch average with 0.01 from the first on).
AVERAGING = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What a method makes one tensor's range from.

    Attributes:
        low: exact minimum of all values.
        high: exact maximum.
        average_low: moving average of the samples' minima.
        average_high: of their maxima.
        histogram: of a sample of the values; None where the method needs none.
    """

    low: float
    high: float
    average_low: float
    average_high: float
    histogram: Histogram | None = None


@dataclass
class Evidence:
    """Running state of all tensors; arrays are (tensors,) unless said otherwise.

    Attributes:
        names: of the tensors.
        counted: whether values are counted in histograms.
        low: minima so far.
        high: maxima so far.
        half_low: (2, tensors) minima of even and of odd samples.
        half_high: (2, tensors) their maxima.
    """

    names: tuple[str, ...]
    counted: bool
    low: Floats = field(init=False)
    high: Floats = field(init=False)
    half_low: Floats = field(init=False)
    half_high: Floats = field(init=False)

    def __post_init__(self) -> None:
        many = len(self.names)
        self.low, self.high = np.full(many, np.inf), np.full(many, -np.inf)
        self.half_low, self.half_high = np.full((2, many), np.inf), np.full((2, many), -np.inf)
        self._average = np.zeros((2, many))
        self._rows = np.zeros(many, np.int64)
        self._histograms = Histograms(many) if self.counted else None

    def see(self, tensors: npt.NDArray[np.intp], lows: Array, highs: Array, *, start: int) -> None:
        """Take in extrema of consecutive samples, or of a batch as a whole.

        Args:
            tensors: (n,) which tensors.
            lows: (samples, n) minima of each sample; (1, n) for a batch as a whole.
            highs: (samples, n) maxima.
            start: index of the first sample.
        """
        lows, highs = np.asarray(lows, np.float64), np.asarray(highs, np.float64)
        for row, (low, high) in enumerate(zip(lows, highs, strict=True)):
            half = (start + row) % 2
            self.half_low[half, tensors] = np.minimum(self.half_low[half, tensors], low)
            self.half_high[half, tensors] = np.maximum(self.half_high[half, tensors], high)
            self._rows[tensors] += 1
            weight = np.maximum(1.0 / self._rows[tensors], AVERAGING)
            for which, extremum in ((0, low), (1, high)):
                self._average[which, tensors] += weight * (extremum - self._average[which, tensors])
        self.low, self.high = self.half_low.min(axis=0), self.half_high.max(axis=0)

    def count(self, parts: Iterable[tuple[Array, npt.NDArray[np.intp]]]) -> None:
        """Count values, (rows, columns) with the tensor of each column, in the bins of what ``see`` saw."""
        if self._histograms is None:
            return
        self._histograms.fit(self.low, self.high)
        for values, owners in parts:
            self._histograms.add(values, owners)

    def seen(self, tensor: int) -> Seen:
        """Everything about one tensor."""
        return Seen(
            low=float(self.low[tensor]),
            high=float(self.high[tensor]),
            average_low=float(self._average[0, tensor]),
            average_high=float(self._average[1, tensor]),
            histogram=self._histograms.one(tensor) if self._histograms is not None else None,
        )
