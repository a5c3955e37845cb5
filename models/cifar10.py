"""CIFAR-10 images and classes, or generated ones: the data of resnet8 and mobilenet_cifar.

    EDGEKIT_DATA/cifar10        2,000 training and 2,000 test images, each JPEG-compressed once
    without it                  "shapes": ten kinds of coloured shapes, drawn anew from a seed

A recipe names the functions, as "../cifar10.py:evaluation"; ``data_set`` tells a model which weights belong.
Images are (n, 32, 32, 3) uint8 either way.

CIFAR-10: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit import settings

SIZE = 32  # pixels, both ways
BATCH = 100
COUNT = 2000  # generated images of a split: as many as there are real ones
CALIBRATION = 512  # training images that ranges are learned from
SEEDS = {"training": 0, "test": 1}
FILES = {"training": "cifar10_calib_2000.npz", "test": "cifar10_test_2000.npz"}


def data_set() -> str:
    """ "cifar10" where the real images are there, else "shapes"."""
    folder = settings.data_dir()
    return "cifar10" if folder is not None and (folder / "cifar10").is_dir() else "shapes"


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (2000, 32, 32, 3) uint8 and classes (2000,) int64 of "training" or "test"."""
    folder = settings.data_dir()
    if folder is None or data_set() == "shapes":
        return shapes(COUNT, seed=SEEDS[split])
    with np.load(folder / "cifar10" / FILES[split]) as arrays:
        return arrays["x"], arrays["y"].astype(np.int64)


def training() -> Iterator[dict[str, np.ndarray]]:
    """Every training image with its class."""
    yield from _batches(*load("training"))


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Some training images."""
    images, labels = load("training")
    yield from _batches(images[:CALIBRATION], labels[:CALIBRATION])


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Every test image with its class."""
    yield from _batches(*load("test"))


def _batches(images: np.ndarray, labels: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for first in range(0, len(images), BATCH):
        yield {"image": images[first : first + BATCH], "labels": labels[first : first + BATCH]}


def shapes(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` noisy pictures of one shape each, and which of the ten it is.

    Colours, size, place, light and noise are drawn; the class is the shape alone.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for n, label in enumerate(labels):
        radius = rng.uniform(7.0, 12.0)
        centre = rng.uniform(radius + 1, SIZE - radius - 1, 2)
        inside = _shape(int(label), (x - centre[0]) / radius, (y - centre[1]) / radius)
        paint, ground = rng.uniform(0, 255, (2, 3))
        if np.abs(paint - ground).max() < 60:  # too alike to be seen
            paint = 255 - ground
        slope = rng.uniform(-1.5, 1.5, 2)
        light = slope[0] * (x - SIZE / 2) + slope[1] * (y - SIZE / 2)
        picture = np.where(inside[..., None], paint, ground) + light[..., None]
        images[n] = np.clip(np.rint(picture + rng.normal(0, 22, picture.shape)), 0, 255)
    return images, labels


def _shape(kind: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the shape is, for coordinates that reach from -1 to 1 over it."""
    far, wide = x * x + y * y, np.maximum(np.abs(x), np.abs(y))
    kinds = (
        far <= 1,  # disc
        (far <= 1) & (far >= 0.35),  # ring
        wide <= 0.85,  # square
        (wide <= 0.9) & (wide >= 0.5),  # frame
        (np.abs(y) <= 0.9) & (np.abs(x) <= 0.5 * (y + 0.9)),  # triangle on its base
        (np.abs(y) <= 0.9) & (np.abs(x) <= 0.5 * (0.9 - y)),  # triangle on its tip
        np.abs(x) + np.abs(y) <= 1,  # diamond
        (wide <= 1) & (np.minimum(np.abs(x), np.abs(y)) <= 0.3),  # plus
        (wide <= 1) & (np.abs(np.abs(x) - np.abs(y)) <= 0.35),  # cross
        (wide <= 1) & ((np.abs(y) >= 0.55) | (np.abs(y) <= 0.15)),  # three bars
    )
    return kinds[kind]
