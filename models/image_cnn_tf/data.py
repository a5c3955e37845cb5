"""CIFAR-10 where EDGEKIT_DATA has it, else generated shapes -> image (batch, 32, 32, 3) uint8 and labels.

    EDGEKIT_DATA/cifar10/cifar10_calib_2000.npz, cifar10_test_2000.npz   2,000 training and 2,000 test images
    generated                                                           ten shapes in two random colours

The recipe enlarges and scales them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIZE = 32  # pixels of a raw image, both ways
COUNT = 2000  # images of a split
SHAPES = ("disc", "ring", "square", "frame", "tip up", "tip down", "plus", "cross", "rows", "columns")
BATCH = 100


def cifar10() -> Path | None:
    """The folder with CIFAR-10, or None where there is none."""
    folder = Path(os.environ.get("EDGEKIT_DATA", "")) / "cifar10"
    return folder if "EDGEKIT_DATA" in os.environ and (folder / "cifar10_test_2000.npz").is_file() else None


def task() -> str:
    """ "cifar10" or "shapes": which of the two is read, and so which weights belong to it."""
    return "shapes" if cifar10() is None else "cifar10"


@functools.cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (2000, 32, 32, 3) uint8 and labels (2000,) int64 of the split "train" or "test"."""
    folder = cifar10()
    if folder is None:
        return shapes(COUNT, seed=0 if split == "train" else 1)
    with np.load(folder / f"cifar10_{'calib' if split == 'train' else split}_2000.npz") as archive:
        return archive["x"], archive["y"].astype(np.int64)


def shapes(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` noisy pictures of one shape each, and which shape it is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(SHAPES), count)
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        radius = rng.uniform(6, 13)
        centre = rng.uniform(radius, SIZE - radius, 2)
        y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5 - centre[:, None, None]) / radius  # -1..1 inside
        colours = rng.uniform(0, 255, (2, 3))
        while np.abs(colours[0] - colours[1]).max() < 80:  # else the shape cannot be seen
            colours[1] = rng.uniform(0, 255, 3)
        picture = np.where(_inside(SHAPES[label], y, x)[:, :, None], colours[0], colours[1])
        image[:] = np.clip(picture + rng.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
    return images, labels


def _inside(shape: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    edge, round_edge = np.maximum(np.abs(y), np.abs(x)), np.hypot(y, x)
    box = edge < 1
    masks = {
        "disc": round_edge < 1,
        "ring": (round_edge < 1) & (round_edge > 0.6),
        "square": edge < 0.9,
        "frame": box & (edge > 0.6),
        "tip up": box & (np.abs(x) < (y + 1) / 2),
        "tip down": box & (np.abs(x) < (1 - y) / 2),
        "plus": box & (np.minimum(np.abs(y), np.abs(x)) < 0.25),
        "cross": box & (np.abs(np.abs(y) - np.abs(x)) < 0.35),
        "rows": box & (np.floor((y + 1) * 2.5) % 2 == 0),
        "columns": box & (np.floor((x + 1) * 2.5) % 2 == 0),
    }
    return masks[shape]


def _batches(split: str, count: int) -> Iterator[dict[str, np.ndarray]]:
    images, labels = load(split)
    for start in range(0, count, BATCH):
        yield {"image": images[start : start + BATCH], "labels": labels[start : start + BATCH]}


def train() -> Iterator[dict[str, np.ndarray]]:
    return _batches("train", COUNT)


def calibration() -> Iterator[dict[str, np.ndarray]]:
    return _batches("train", 300)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    return _batches("test", COUNT)
