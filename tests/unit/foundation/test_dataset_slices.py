"""Arrays that name the group of each sample: read beside the inputs, drawn with them, refused where wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.dataset import Dataset, DataSource, check, load
from edgekit.errors import DataError
from edgekit.spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", ("batch", 2)),)
X = np.arange(20, dtype=np.float32).reshape(10, 2)
LIGHT = np.array(["day", "dark"] * 5)
CODE = """
import numpy as np

def batches():
    for start in (0, 4):
        rows = np.arange(start, start + 4)
        yield {
            "x": np.stack([rows, rows], axis=1).astype(np.float32),
            "labels": rows,
            "place": np.array(["in", "out"] * 2),
        }
"""


def npz(folder: Path, **arrays: np.ndarray) -> Dataset:
    np.savez(folder / "d.npz", allow_pickle=False, x=X, labels=np.arange(10), **arrays)
    return load(DataSource("d.npz", slices=()), inputs=INPUTS, base=folder)


def named(folder: Path, *slices: str, samples: int | None = None, source: str = "d.npz") -> Dataset:
    return load(DataSource(source, samples=samples, slices=slices), inputs=INPUTS, base=folder)


def test_slice_counts_without_being_named(tmp_path: Path) -> None:
    data = npz(tmp_path, slice=LIGHT)
    check(data, INPUTS, labelled=True)  # it is no input
    assert list(data.slices) == ["slice"]
    assert data.slices["slice"].tolist() == LIGHT.tolist()


def test_others_are_named_and_drawn_with_the_samples(tmp_path: Path) -> None:
    npz(tmp_path, light=LIGHT, site=np.arange(10) // 3)
    data = named(tmp_path, "light", "site", samples=4)
    check(data, INPUTS, labelled=True)
    places = [int(sample["x"][0]) // 2 for sample in data.samples()]
    assert len(places) == data.count == 4
    assert data.slices["light"].tolist() == LIGHT[places].tolist()
    assert data.slices["site"].tolist() == [place // 3 for place in places]


def test_an_array_that_nobody_named_is_an_unknown_input(tmp_path: Path) -> None:
    data = npz(tmp_path, light=LIGHT)
    with pytest.raises(DataError, match="light"):
        check(data, INPUTS, labelled=True)


def test_an_input_called_slice_stays_an_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", allow_pickle=False, slice=X)
    inputs = (TensorSpec("slice", "float32", ("batch", 2)),)
    data = load(DataSource("d.npz"), inputs=inputs, base=tmp_path)
    check(data, inputs)
    assert not data.slices


def test_a_callable_yields_them_too(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(CODE)
    data = named(tmp_path, "place", source="d.py:batches")
    check(data, INPUTS, labelled=True)
    assert data.slices["place"].tolist() == ["in", "out"] * 4
    assert data.labels is not None
    assert data.labels.tolist() == list(range(8))


def test_the_digest_is_that_of_the_samples(tmp_path: Path) -> None:
    """Groups change no figure of a model: what was measured before stays good."""
    plain = npz(tmp_path).digest
    assert npz(tmp_path, slice=LIGHT).digest == plain


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((10, 2)), r"shape \(10, 2\)"),
        (np.linspace(0, 1, 10), "type float64"),
    ],
    ids=["two-axes", "fractions"],
)
def test_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        npz(tmp_path, slice=array)


def test_a_slice_that_is_not_there_is_refused(tmp_path: Path) -> None:
    npz(tmp_path)
    with pytest.raises(DataError, match="no array 'light'"):
        named(tmp_path, "light")
