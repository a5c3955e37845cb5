"""Outputs of a model with taps -> extrema and sampled values by tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.calibration.taps import Layout, Taps
from edgekit.spec import Array

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Extrema:
    """Of some tensors.

    Attributes:
        tensors: (n,) indices into ``Taps.names``.
        lows: (samples, n) minima; (1, n) where the batch was looked at as a whole. Where ``Taps.floors`` has
            a floor it is the minimum of the sampled values.
        highs: (samples, n) maxima.
    """

    tensors: Indices
    lows: Array
    highs: Array


@dataclass(frozen=True)
class Reading:
    """What one run gave.

    Attributes:
        extrema: by output.
        values: sampled values (rows, columns) with the tensor of each column, counted from ``Reader.shift``.
        finite: False where something may be NaN or infinite.
    """

    extrema: tuple[Extrema, ...]
    values: tuple[tuple[Array, Indices], ...]
    finite: bool


@dataclass(frozen=True)
class Reader:
    """Reads what ``taps.model`` gives; made once, because the columns of a tensor do not move."""

    taps: Taps
    owners: Mapping[str, Indices]
    shift: int

    def read(self, found: Mapping[str, Array], *, many: int) -> Reading:
        """``found``: outputs by name, of which the first ``many`` samples count; the rest is filling."""
        taps = self.taps
        own = {
            tensor: found[name][:many] if taps.batched[tensor] else found[name]
            for name, tensor in taps.samples.items()
        }
        values = [
            (array, np.full(array.shape[1], tensor + self.shift, np.intp)) for tensor, array in own.items()
        ]
        extrema, finite = [], all(_is_finite(array) for array in own.values())
        for name, layout in _outputs(taps):
            rows = found[name][:many] if name == taps.rows_name else found[name]
            finite &= _is_finite(rows)
            extrema.append(self._extrema(rows, layout, own))
            if layout.samples.columns:
                values.append((rows[:, layout.samples.start : layout.samples.stop], self.owners[name]))
        return Reading(tuple(extrema), tuple(values), finite)

    def _extrema(self, rows: Array, layout: Layout, own: Mapping[int, Array]) -> Extrema:
        tensors = layout.highs.tensors
        highs = np.maximum.reduceat(
            rows[:, layout.highs.start : layout.highs.stop], layout.highs.starts, axis=1
        )
        lows = np.full((len(rows), len(self.taps.names)), np.inf)
        if layout.lows.columns:
            lows[:, layout.lows.tensors] = rows[:, layout.lows.start : layout.lows.stop]
        floored = ~np.isnan(self.taps.floors)
        for column in layout.samples.columns:
            if floored[column.tensor]:
                lows[:, column.tensor] = rows[:, column.start : column.stop].min(axis=1)
        for tensor, array in own.items():
            if floored[tensor] and tensor in tensors:
                lows[:, tensor] = array.min(axis=1)
        return Extrema(tensors, lows[:, tensors], highs)


class OutputChange:
    """Whether any output of the model is another for another sample, as far as its extrema tell."""

    def __init__(self, outputs: frozenset[int]) -> None:
        self._outputs = outputs
        self._first: dict[int, tuple[float, float]] = {}
        self.change = not outputs  # nothing to compare: no reason to complain

    def see(self, extrema: Extrema) -> None:
        """Compare every sample with the first."""
        if self.change:
            return
        for column, tensor in enumerate(extrema.tensors.tolist()):
            if tensor in self._outputs:
                pairs = zip(extrema.lows[:, column].tolist(), extrema.highs[:, column].tolist(), strict=True)
                self.change |= any(pair != self._first.setdefault(tensor, pair) for pair in pairs)


def reader(taps: Taps, *, shift: int = 0) -> Reader:
    """The reader of ``taps``, whose tensors have the numbers from ``shift`` on."""
    owners = {}
    for name, layout in _outputs(taps):
        widths = [column.stop - column.start for column in layout.samples.columns]
        owners[name] = np.repeat(layout.samples.tensors + shift, widths)
    return Reader(taps, owners, shift)


def _outputs(taps: Taps) -> tuple[tuple[str, Layout], ...]:
    both = ((taps.rows_name, taps.rows), (taps.whole_name, taps.whole))
    return tuple((name, layout) for name, layout in both if layout.width)


def _is_finite(array: Array) -> bool:
    """A sum may overflow where no value does: who asks looks closer then."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(array.sum()))
