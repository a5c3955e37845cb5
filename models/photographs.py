"""Two photographs -> crops of twenty-four views: the data of mobilenet_v2, mobilenet_v3_small and resnet18.

Those models have seeded weights and know no classes of the world, but their ranges, speeds and rounding shall
be those of a network that looks at photographs. Each photograph has four quarters, and each quarter is shown
with its colours in three orders: 24 views. A crop shows one of them, shifted, at another scale and in another
light. Crops are (side, side, 3) uint8, 144 to 200 pixels a side; the recipe resizes them.

The evaluation's labels are what the float model answered (labels.npy beside it): top1 then is the share of
crops for which a candidate answers as the float model did.

The photographs are the two that scikit-learn bundles, china.jpg and flower.jpg, both CC BY 2.0: authors and
addresses are in sklearn/datasets/images/README.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

PHOTOGRAPHS = 2
QUARTERS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # their middles, down and across
COLOURS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))  # orders of red, green and blue
VIEWS = PHOTOGRAPHS * len(QUARTERS) * len(COLOURS)
SIDE = (144, 200)  # smallest and largest crop, in pixels
REACH = 0.03  # a crop's centre is at most so far from its quarter's, in parts of the photograph
COUNTS = {"training": 720, "calibration": 128, "evaluation": 400, "held out": 2000}
SEEDS = {"training": 0, "calibration": 1, "evaluation": 2, "held out": 4}


def crops(split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Crops (side, side, 3) uint8 with the number of their view; views take turns."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    rng = np.random.default_rng(SEEDS[split])
    for index in range(COUNTS[split]):
        view = index % VIEWS
        number, quarter, colour = np.unravel_index(view, (PHOTOGRAPHS, len(QUARTERS), len(COLOURS)))
        crop = _crop(photographs[number], QUARTERS[quarter], rng)
        yield np.ascontiguousarray(crop[:, :, COLOURS[colour]]), view


def _crop(photograph: np.ndarray, middle: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """A crop around ``middle``, given in parts of the photograph, in its own light."""
    size = np.array(photograph.shape[:2])
    side = int(rng.integers(SIDE[0], SIDE[1] + 1))
    centre = (np.array(middle) + rng.uniform(-REACH, REACH, 2)) * size
    top, left = np.clip(np.rint(centre - side / 2), 0, size - side).astype(int)
    crop = photograph[top : top + side, left : left + side].astype(np.float64)
    gain, shift = rng.uniform(0.85, 1.15), rng.uniform(-12, 12)
    return np.clip(np.rint((crop - 128) * gain + 128 + shift), 0, 255).astype(np.uint8)


def training() -> Iterator[dict[str, np.ndarray]]:
    """What the statistics and the classifier's rows are made from; the label is the view."""
    for crop, view in crops("training"):
        yield {"image": crop[None], "labels": np.array([view])}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """What ranges are learned from."""
    for crop, _ in crops("calibration"):
        yield {"image": crop[None]}


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """What candidates are judged on, without labels."""
    for crop, _ in crops("evaluation"):
        yield {"image": crop[None]}


def held_out() -> Iterator[dict[str, np.ndarray]]:
    """More crops, for who has chosen on the evaluation's and asks how good the choice is."""
    for crop, _ in crops("held out"):
        yield {"image": crop[None]}


def mobilenet_v2() -> Iterator[dict[str, np.ndarray]]:
    """The evaluation with the answers of the float mobilenet_v2."""
    return _answered("mobilenet_v2")


def mobilenet_v3_small() -> Iterator[dict[str, np.ndarray]]:
    """The evaluation with the answers of the float mobilenet_v3_small."""
    return _answered("mobilenet_v3_small")


def resnet18() -> Iterator[dict[str, np.ndarray]]:
    """The evaluation with the answers of the float resnet18."""
    return _answered("resnet18")


def _answered(model: str) -> Iterator[dict[str, np.ndarray]]:
    labels = np.load(Path(__file__).with_name(model) / "labels.npy")
    for feeds, label in zip(evaluation(), labels, strict=True):
        yield {**feeds, "labels": label[None]}
