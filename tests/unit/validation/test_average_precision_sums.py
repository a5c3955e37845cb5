"""The short cuts of mAP give what the long way gives, bit for bit: sums are of whole numbers; seed 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.validation import average_precision

Floats = npt.NDArray[np.float64]


def _edges() -> Floats:
    points = average_precision.RECALLS
    parts = [np.arange(n + 1) / n for n in range(1, 400)]  # every recall of up to 399 boxes
    near = [points, np.nextafter(points, 2.0), np.nextafter(points, -1.0).clip(0.0)]
    return np.concatenate([*parts, *near, np.array([1.5, 1e9])])  # above 1: a resample may count so


def test_recall_points_are_those_of_a_search() -> None:
    recall = _edges()
    want = np.searchsorted(average_precision.RECALLS, recall, side="right")
    np.testing.assert_array_equal(average_precision._points_reached(recall), want)


def test_the_search_on_the_other_side_would_be_seen() -> None:
    recall = _edges()
    other = np.searchsorted(average_precision.RECALLS, recall, side="left")
    assert (average_precision._points_reached(recall) != other).any()


@pytest.mark.parametrize("places", [[], [0], [3, 4, 11], [0, 5, 39]])
def test_detections_seen_are_those_counted_one_by_one(places: list[int]) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, (6, 9)).astype(np.float64)
    image = rng.integers(0, 9, 40)
    right = np.array(places, np.int64)
    want = np.cumsum(weights[:, image], axis=1)[:, right]
    np.testing.assert_array_equal(average_precision._seen(weights, image, right), want)
