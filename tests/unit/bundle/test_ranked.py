"""Golden detections of two machines: another order, or a weak one more or less, is no difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.bundle.golden import compare
from edgekit.bundle.manifest import Tolerance
from edgekit.bundle.processing import OutputProcessing, Processing

Arrays = dict[str, npt.NDArray[Any]]
LIMIT = Tolerance(steps=1.0, relative_to_range=0.01)
OUTPUTS = tuple(OutputProcessing(name=n, role=n) for n in ("boxes", "scores", "classes"))
INSIDE = Processing(outputs=OUTPUTS, embedded=("nms",))


def recorded() -> Arrays:
    """One picture: four detections and two empty rows; the second and third are nearly as sure."""
    boxes = np.zeros((1, 6, 4), np.float32)
    boxes[0, :4] = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10], [0, 40, 10, 50]]
    scores = np.array([[0.9, 0.6, 0.599, 0.051, 0, 0]], np.float32)
    return {"boxes": boxes, "scores": scores, "classes": np.array([[1, 2, 2, 3, -1, -1]])}


def rows(order: list[int]) -> Arrays:
    return {name: array[:, order].copy() for name, array in recorded().items()}


def changed(name: str, row: int, value: Any) -> Arrays:
    found = rows([0, 1, 2, 3, 4, 5])
    found[name][0, row] = value
    return found


@dataclass(frozen=True)
class Case:
    id: str
    found: Callable[[], Arrays]
    same: bool


CASES = (
    Case("the-same", recorded, same=True),
    Case("two-swapped", lambda: rows([0, 2, 1, 3, 4, 5]), same=True),
    Case("weakest-is-missing", lambda: rows([0, 1, 2, 4, 4, 5]), same=True),
    Case("box-moved-a-little", lambda: changed("boxes", 1, [20.1, 20, 30, 30]), same=True),
    Case("box-moved", lambda: changed("boxes", 1, [23, 20, 33, 30]), same=False),
    Case("another-class", lambda: changed("classes", 1, 5), same=False),
    Case("another-score", lambda: changed("scores", 0, 0.8), same=False),
    Case("a-strong-one-is-missing", lambda: rows([0, 2, 3, 4, 4, 5]), same=False),
    Case("a-strong-one-more", lambda: rows([0, 0, 1, 2, 3, 4]), same=False),
    Case("all-are-missing", lambda: rows([4, 4, 4, 4, 4, 5]), same=False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_detections(case: Case) -> None:
    words = compare(case.found(), recorded(), steps={}, tolerance=LIMIT, processing=INSIDE)
    assert (not words) is case.same, words


def test_without_suppression_inside_the_order_is_part_of_the_output() -> None:
    found = rows([0, 2, 1, 3, 4, 5])
    assert compare(found, recorded(), steps={}, tolerance=LIMIT, processing=Processing(outputs=OUTPUTS))
    assert compare(found, recorded(), steps={}, tolerance=LIMIT)
