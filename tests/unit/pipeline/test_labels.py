"""Names of classes are held against the output that they name (cases L1 to L4 of ``pipeline.labels``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import RecipeError
from edgekit.pipeline import labels
from edgekit.pipeline import plan as plans
from edgekit.pipeline.labels import Labels
from edgekit.spec import Dim, TensorSpec

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
labels = "names.txt"
[data]
evaluation = {{ source = "e.npz", metric = "{metric}" }}
[[target]]
name = "onnxruntime-cpu"
"""


def found(folder: Path, content: bytes, shape: tuple[Dim, ...], *, metric: str = "top1") -> Labels | None:
    (folder / "names.txt").write_bytes(content)
    (folder / "edgekit.toml").write_text(RECIPE.format(metric=metric))
    return labels.of_plan(plans.make(folder), [TensorSpec("y", "float32", shape)])


@dataclass(frozen=True)
class Fits:
    id: str
    content: bytes
    shape: tuple[Dim, ...]
    names: tuple[str, ...]
    axis: int = -1


FITS = (
    Fits("plain", b"a\nb\n", ("batch", 2), ("a", "b")),
    Fits("no-newline-at-the-end", b"a\nb", ("batch", 2), ("a", "b")),
    Fits("mark-and-crlf", b"\xef\xbb\xbfa\r\nb\r\n", ("batch", 2), ("a", "b")),
    Fits("letters", "Füchse\nÉtés\n".encode(), ("batch", 2), ("Füchse", "Étés")),
    Fits("width-not-fixed", b"a\nb\nc\n", ("batch", "n"), ("a", "b", "c")),
    Fits("map-channels-first", b"a\nb\n", ("batch", 2, 8, 8), ("a", "b"), 1),
    Fits("map-channels-last", b"a\nb\n", ("batch", 8, 8, 2), ("a", "b")),
)


@pytest.mark.parametrize("case", FITS, ids=lambda case: case.id)
def test_names_that_fit(case: Fits, tmp_path: Path) -> None:
    assert found(tmp_path, case.content, case.shape) == Labels("names.txt", case.names, "y", case.axis)


@dataclass(frozen=True)
class Wrong:
    id: str
    content: bytes
    message: str


WRONG = (
    Wrong("L1-latin-1", "F\xfcchse\nb\n".encode("latin-1"), "not UTF-8"),
    Wrong("L2-empty-line", b"a\n\nb\n", "no name in line 2"),
    Wrong("L2-empty-file", b"", "no name in line 1"),
    Wrong("L3-twice", b"a\nb\na\n", "'a' twice, in lines 1 and 3"),
    Wrong("L4-one-too-few", b"a\n", "has 1 names, and output 'y' has 2 classes"),
    Wrong("L4-one-too-many", b"a\nb\nc\n", "has 3 names, and output 'y' has 2 classes"),
)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_names_that_do_not_fit(case: Wrong, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=case.message):
        found(tmp_path, case.content, ("batch", 2))


@pytest.mark.parametrize(("highest", "fits"), [(1, True), (2, False), (-1, True)])
def test_boxes_are_of_classes_with_a_name(highest: int, *, fits: bool) -> None:
    """L5; a detector without boxes says nothing against the names."""
    boxes = np.full((3, 2, 5), -1.0, np.float32)
    boxes[1, 0] = (0, 0, 4, 4, highest)
    names = Labels("names.txt", ("a", "b"), "classes")
    if fits:
        labels.check_boxes(names, boxes, metric="map")
    else:
        with pytest.raises(RecipeError, match="has 2 names, and the evaluation data has a box of class 2"):
            labels.check_boxes(names, boxes, metric="map")
    labels.check_boxes(names, np.array([5]), metric="top1")
    labels.check_boxes(None, boxes, metric="map")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(RECIPE.format(metric="top1"))
    with pytest.raises(RecipeError, match=r"names.txt of \[model\] labels"):
        plans.make(tmp_path)
