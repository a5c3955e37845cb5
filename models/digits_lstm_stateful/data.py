"""Digits as rows from the top -> rows (batch, 8, 8) in 0..1, zero state h, c (batch, 64), and labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit import dataset
from edgekit.spec import TensorSpec

UNITS = 64  # of the state; model.py has the same
STATES = Path(__file__).with_name("states.npz")
BATCH = 100


@functools.cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 8, 8) float32 in 0..1 and labels (n,) of the half "train" or "test" of the digits."""
    data = dataset.load(
        dataset.DataSource("digits", split=split),
        inputs=(TensorSpec("image", "uint8", ("batch", 8, 8, 1)),),
        base=Path(__file__).parent,
    )
    images = next(data.batches(data.count))["image"]
    return images.reshape(-1, 8, 8).astype(np.float32) / 16, data.labels


def _batches(split: str, count: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    rows, labels = (array[:count] for array in load(split))
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        zero = np.zeros((len(part), UNITS), np.float32)  # every digit starts anew
        yield {"rows": part, "h": zero, "c": zero, "labels": labels[start : start + BATCH]}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Digits from the zero state, and as many that go on from a state that other digits left behind.

    With zeros alone the state's range would be nothing at all, and no integer could hold a later state.
    """
    yield from _batches("train", 128)
    rows, labels = load("train")
    with np.load(STATES) as states:
        count = len(states["h"])
        later = slice(128, 128 + count)
        yield {"rows": rows[later], "h": states["h"], "c": states["c"], "labels": labels[later]}


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    return _batches("test")
