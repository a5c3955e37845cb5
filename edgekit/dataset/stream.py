"""Samples -> batches: the Dataset value and its regrouping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.spec import Array

Sample = dict[str, npt.NDArray[Any]]
"""One sample: arrays by input name, without the batch axis."""


@dataclass(frozen=True)
class Dataset:
    """Data for calibration or evaluation, read again from the start by each call of ``batches``.

    Attributes:
        name: how messages call it.
        digest: SHA-256 over the selected samples after pre-processing and their labels.
        preprocess_id: digest of the pre-processing steps.
        count: number of samples.
        seed: seed of the selection.
        samples: starts a fresh pass over single samples.
        labels: (count, ...) or None.
        slices: (count,) arrays that name a group of each sample, by the column's name.
        raw: starts a fresh pass over the same samples before pre-processing; None where nobody can.
    """

    name: str
    digest: str
    preprocess_id: str
    count: int
    seed: int
    samples: Callable[[], Iterable[Sample]]
    labels: npt.NDArray[Any] | None = None
    slices: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    raw: Callable[[], Iterable[Sample]] | None = None

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """A fresh pass as mappings of input name -> (batch, ...) arrays; the last batch may be short."""
        pending: list[Sample] = []
        for sample in self.samples():
            pending.append(sample)
            if len(pending) == size:
                yield _stack(pending)
                pending = []
        if pending:
            yield _stack(pending)


def _stack(samples: list[Sample]) -> dict[str, Array]:
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def split_batch(feeds: Mapping[str, npt.NDArray[Any]]) -> Iterator[Sample]:
    """One mapping of (batch, ...) arrays -> its samples."""
    length = min((len(array) for array in feeds.values()), default=0)
    for index in range(length):
        yield {name: array[index] for name, array in feeds.items()}
