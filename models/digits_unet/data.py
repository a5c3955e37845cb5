"""Scenes of real digits (models/digits_scenes.py) -> image (batch, 64, 64, 1) and masks (batch, 64, 64)."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from digits_scenes import generate  # shared with digits_detector

SCENES = {"train": (1000, 1), "calibration": (200, 2), "test": (400, 3)}  # how many, and the seed
BATCH = 50


@functools.cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 64, 64, 1) in 0..1 and masks (n, 64, 64) int64; "test" shows digits of the test half."""
    count, seed = SCENES[split]
    scenes = generate(count, split="test" if split == "test" else "train", seed=seed)
    return scenes.images[..., None], scenes.masks.astype(np.int64)


def _batches(split: str) -> Iterator[dict[str, np.ndarray]]:
    images, masks = load(split)
    for start in range(0, len(images), BATCH):
        yield {"image": images[start : start + BATCH], "labels": masks[start : start + BATCH]}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    return _batches("calibration")


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    return _batches("test")
