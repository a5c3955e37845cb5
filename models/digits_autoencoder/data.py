"""scikit-learn's digits -> pixels (batch, 64) in 0..1 and, for evaluation, 1 where the digit is the anomaly.

One class of digits, ``ANOMALY``, stands for what must be noticed: training and calibration never see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit import dataset
from edgekit.spec import TensorSpec

HERE = Path(__file__).parent
RAW = (TensorSpec("image", "uint8", ("batch", 8, 8, 1)),)
ANOMALY = 2
CALIBRATION = 256
BATCH = 64


def digits(split: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Pixels (n, 64) in 0..1 and digits (n,) of one half of the set ("train" or "test")."""
    data = dataset.load(dataset.DataSource("digits", split=split), inputs=RAW, base=HERE)
    images = next(data.batches(data.count))["image"]
    assert data.labels is not None
    return (images.reshape(len(images), -1) / 16).astype(np.float32), data.labels  # grey levels are 0..16


def normal() -> npt.NDArray[np.float32]:
    """Pixels (n, 64) of the training half without the anomaly."""
    pixels, labels = digits("train")
    return pixels[labels != ANOMALY]


def calibration() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """The first samples of the training half that are no anomaly."""
    pixels = normal()[:CALIBRATION]
    for start in range(0, len(pixels), BATCH):
        yield {"pixels": pixels[start : start + BATCH]}


def evaluation() -> Iterator[dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]]:
    """The test half; labels are 1 for the anomaly."""
    pixels, labels = digits("test")
    anomalous = (labels == ANOMALY).astype(np.int64)
    for start in range(0, len(pixels), BATCH):
        yield {"pixels": pixels[start : start + BATCH], "labels": anomalous[start : start + BATCH]}
