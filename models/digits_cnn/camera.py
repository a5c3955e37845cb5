"""The digits as a camera gives them -> uint8 pictures (28, 28, 1), 0 to 255: the data of embedded.toml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit import dataset
from edgekit.preprocess import Bytes, Resize, Scale
from edgekit.spec import TensorSpec

STEPS = (
    Resize(op="resize", size=(28, 28)),
    Scale(op="scale", by=255 / 16),  # 0..16 -> 0..255
    Bytes(op="bytes"),
)
BATCH = 100


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """256 pictures of the training half."""
    for batch in _batches("train", samples=256):
        yield {"image": batch["image"]}


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """All pictures of the test half, with labels."""
    yield from _batches("test", samples=None)


def _batches(split: str, *, samples: int | None) -> Iterator[dict[str, np.ndarray]]:
    data = dataset.load(
        dataset.DataSource("digits", split=split, samples=samples),
        inputs=(TensorSpec("image", "uint8", ("batch", 28, 28, 1)),),
        base=Path(__file__).parent,
        preprocess=STEPS,
    )
    for index, batch in enumerate(data.batches(BATCH)):
        labels = data.labels[index * BATCH : (index + 1) * BATCH]
        yield {"image": batch["image"], "labels": labels}
