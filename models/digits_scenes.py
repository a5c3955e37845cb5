"""Real digits pasted on noisy 64x64 canvases -> images, boxes and masks, for digits_detector and digits_unet.

    scikit-learn digits (8x8) --bilinear, 14 to 26 pixels--> pasted without overlap --light, noise--> scene

The data of a model lives beside that model; this module is shared by two, and is imported through the folder
above theirs:

    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from digits_scenes import generate

The digits are those of edgekit's shipped set: scenes of one split hold no digit of the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit import dataset
from edgekit.spec import TensorSpec

SIZE = 64  # pixels of a scene, both ways
DIGITS = (2, 5)  # fewest and most digits in a scene
PATCH = (14, 26)  # smallest and largest edge of a pasted digit, in pixels
INK = 0.35  # a pixel belongs to its digit where the digit's own brightness, 0 to 1, is above this
BACKGROUND = 10  # class of a pixel without a digit; digits are their own class
TRIES = 30  # places that are tried for one digit


class Scenes(NamedTuple):
    """n scenes.

    Attributes:
        images: (n, 64, 64) float32 in 0..1.
        boxes: (n, 5, 5) float32: x1, y1, x2, y2 in pixels, class 0 to 9; padded with class -1. A box encloses
            the pixels of its digit in the mask; x2 and y2 are exclusive.
        masks: (n, 64, 64) uint8: class 0 to 9, or 10 for the background.
    """

    images: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8) float32 in 0..1 and labels (n,) of the half "train" or "test" of the digits."""
    data = dataset.load(
        dataset.DataSource("digits", split=split),
        inputs=(TensorSpec("image", "uint8", ("batch", 8, 8, 1)),),
        base=Path(__file__).parent,
    )
    raw = next(data.batches(data.count))["image"]
    return raw.reshape(-1, 8, 8).astype(np.float32) / 16, data.labels


def generate(count: int, *, split: str, seed: int) -> Scenes:
    """``count`` scenes of digits of one split; the same seed gives the same scenes."""
    pool, labels = digits(split)
    rng = np.random.default_rng(seed)
    images = np.zeros((count, SIZE, SIZE), np.float32)
    boxes = np.zeros((count, DIGITS[1], 5), np.float32)
    boxes[:, :, 4] = -1
    masks = np.full((count, SIZE, SIZE), BACKGROUND, np.uint8)
    for n in range(count):
        taken = np.zeros((SIZE, SIZE), bool)
        ink = np.zeros((SIZE, SIZE), np.float32)
        pasted = 0
        for _ in range(rng.integers(DIGITS[0], DIGITS[1] + 1)):
            index = rng.integers(len(pool))
            patch = _enlarged(pool[index], int(rng.integers(PATCH[0], PATCH[1] + 1)))
            place = _free_place(taken, len(patch), rng)
            if place is None:
                continue
            top, left = place
            here = (slice(top, top + len(patch)), slice(left, left + len(patch)))
            taken[here] = True
            own = patch > INK
            masks[n][here][own] = labels[index]
            rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
            boxes[n, pasted] = (
                left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1, labels[index]
            )  # fmt: skip
            ink[here] = patch * rng.uniform(0.6, 1.0)
            pasted += 1
        images[n] = _lit(ink, rng)
    return Scenes(images, boxes, masks)


def _enlarged(digit: np.ndarray, size: int) -> np.ndarray:
    """(8, 8) -> (size, size), bilinear with half-pixel centres."""
    at = np.clip((np.arange(size) + 0.5) * len(digit) / size - 0.5, 0, len(digit) - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(len(digit))[None, :])).astype(np.float32)
    return weights @ digit @ weights.T


def _free_place(taken: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Top left corner of a free square, or None where none was found."""
    for top, left in rng.integers(0, SIZE - size + 1, (TRIES, 2)):
        if not taken[top : top + size, left : left + size].any():
            return int(top), int(left)
    return None


def _lit(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink (64, 64) -> a scene with a background of uneven light and noise, in 0..1."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE - 0.5
    slope = rng.uniform(-0.15, 0.15, 2)
    light = rng.uniform(0.1, 0.3) + slope[0] * y + slope[1] * x
    noisy = light + ink * (1 - light) + rng.normal(0, 0.06, ink.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)
