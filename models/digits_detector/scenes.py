"""Scenes of digits -> images with their boxes: the data of digits_detector."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from digits_scenes import generate

CALIBRATION = {"count": 256, "split": "train", "seed": 1}
EVALUATION = {"count": 600, "split": "test", "seed": 2}
BATCH = 100


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Scenes of digits of the training half."""
    yield from _batches(**CALIBRATION)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Scenes of digits of the test half, with boxes x1, y1, x2, y2, class; padded with class -1."""
    yield from _batches(**EVALUATION)


def calibration_bytes() -> Iterator[dict[str, np.ndarray]]:
    """The same as ``calibration``, as a camera gives it: uint8, 0 to 255."""
    yield from map(_as_bytes, calibration())


def evaluation_bytes() -> Iterator[dict[str, np.ndarray]]:
    """The same as ``evaluation``, as a camera gives it."""
    yield from map(_as_bytes, evaluation())


def _as_bytes(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**batch, "image": np.rint(batch["image"] * 255).astype(np.uint8)}


def _batches(count: int, split: str, seed: int) -> Iterator[dict[str, np.ndarray]]:
    scenes = generate(count, split=split, seed=seed)
    for first in range(0, count, BATCH):
        part = slice(first, first + BATCH)
        yield {"image": scenes.images[part, :, :, None], "labels": scenes.boxes[part]}
