"""F1 to F4 of ``pipeline.flips``: what is counted and shown; I1 to I5 of ``thumbnail``: what is an image."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.dataset import Dataset
from edgekit.pipeline.flips import SHOWN, Labelled, flips
from edgekit.pipeline.thumbnail import thumbnail

PREFIX = "data:image/png;base64,"


@dataclass
class Counted:
    """Images that say how many of them were read; raw ones are uint8, their value is their number."""

    count: int
    read: int = 0
    labels: npt.NDArray[Any] | None = field(default=None)

    def samples(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        for index in range(self.count):
            self.read += 1
            yield {"image": np.full((8, 8, 3), index, np.uint8)}

    def dataset(self) -> Dataset:
        return Dataset("d", "", "", self.count, 0, list, self.labels, raw=self.samples)


def labelled(reference: list[int], candidate: list[int]) -> Labelled:
    return Labelled(np.array(reference), np.array(candidate))


def pixels(uri: str) -> npt.NDArray[np.uint8]:
    image = pytest.importorskip("PIL.Image")
    assert uri.startswith(PREFIX)
    return np.asarray(image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))))


def test_flips_are_counted_by_pair_and_what_was_lost_comes_first() -> None:
    counted = Counted(6, labels=np.array([0, 1, 2, 0, 1, 2]))
    side = labelled([0, 1, 1, 0, 0, 2], [0, 2, 2, 1, 1, 2])
    found = flips({"c": side}, counted.dataset(), classes=("cat", "dog"))["c"]
    assert (found.samples, found.count, found.lost, found.gained) == (6, 4, 2, 2)
    assert [(each.reference, each.candidate, each.count) for each in found.pairs] == [
        ("cat", "dog", 2),
        ("dog", "2", 2),  # a class without a name keeps its number
    ]
    assert [each.sample for each in found.shown] == [1, 3, 2, 4]  # F1
    assert [each.label for each in found.shown] == ["dog", "cat", "2", "dog"]
    assert np.all(pixels(found.shown[1].picture) == 3)  # F3: the sample itself, its raw values
    assert counted.read == 5  # F2: nothing after the last that is shown


def test_no_more_are_shown_than_fit_and_none_read_where_none_flipped() -> None:
    counted = Counted(100, labels=np.zeros(100, np.int64))
    found = flips({"c": labelled([0] * 100, [1] * 100)}, counted.dataset())["c"]
    assert found.count == 100
    assert len(found.shown) == SHOWN
    assert counted.read == SHOWN
    counted = Counted(100, labels=np.zeros(100, np.int64))
    assert flips({"c": labelled([0] * 100, [0] * 100)}, counted.dataset())["c"].shown == ()
    assert counted.read == 0


def test_pictures_can_be_left_out() -> None:
    counted = Counted(3, labels=np.zeros(3, np.int64))
    found = flips({"c": labelled([0] * 3, [1] * 3)}, counted.dataset(), pictures=False)["c"]
    assert [each.picture for each in found.shown] == ["", "", ""]
    assert counted.read == 0


@pytest.mark.parametrize(
    "labels",
    [None, np.zeros((3, 2), np.int64), np.zeros(3, np.float32)],
    ids=["none", "two for each sample", "numbers"],
)
def test_without_a_class_for_each_sample_there_are_no_flips(labels: npt.NDArray[Any] | None) -> None:  # F4
    assert flips({"c": labelled([0] * 3, [1] * 3)}, Counted(3, labels=labels).dataset()) == {}


def test_labels_in_a_column_are_one_for_each_sample() -> None:
    found = flips({"c": labelled([0, 1], [0, 0])}, Counted(2, labels=np.array([[0], [1]])).dataset())
    assert found["c"].lost == 1


GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8)


@dataclass(frozen=True)
class Case:
    id: str
    sample: npt.NDArray[Any]
    expected: npt.NDArray[Any]


CASES = [
    Case("I1 bytes", GRADIENT, GRADIENT),
    Case("I1 alpha", np.full((8, 8, 4), 7, np.uint8), np.full((8, 8, 3), 7)),
    Case("I2 unit", np.eye(8, dtype=np.float32), 255 * np.eye(8)),
    Case("I2 bytes as floats", np.eye(8) * 200.0, 200 * np.eye(8)),
    Case("I3 signed", np.eye(8) * 2 - 1, 255 * np.eye(8)),
    Case("I3 sixteen greys", np.eye(8) * 16, 255 * np.eye(8)),
    Case("I4 constant", np.full((8, 8), 3.0), np.full((8, 8), 128)),
    Case("channels first", np.stack([GRADIENT] * 3), np.stack([GRADIENT] * 3, -1)),
    Case("means of blocks", np.kron(np.eye(64), np.ones((2, 2))), 255 * np.eye(64)),
    Case("a rest is cut off", np.full((129, 8, 1), 9, np.uint8), np.full((43, 2), 9)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_image_is_seen_as_it_is(case: Case) -> None:
    assert np.array_equal(pixels(thumbnail(case.sample)), case.expected)


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros(100),
        np.zeros((40, 4)),
        np.zeros((8, 8, 5)),
        np.full((8, 8), np.nan),
        np.zeros((2, 8, 8, 3)),
        np.full((8, 8), "a"),
    ],
    ids=["row", "I5 features", "channels", "I4 not a number", "clip", "text"],
)
def test_what_is_no_image_has_no_picture(sample: npt.NDArray[Any]) -> None:
    assert thumbnail(sample) == ""


def test_a_picture_stays_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 800, 3), np.uint8)
    assert len(thumbnail(noise)) < 20_000  # 64 pixels a side of noise, which does not compress
