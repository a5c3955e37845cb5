"""Every kind of data source, streaming, selection, digests, and what does not fit a model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgekit import dataset
from edgekit.dataset import Dataset, DataSource
from edgekit.errors import DataError, EdgekitError, UnknownNameError
from edgekit.preprocess import Scale
from edgekit.spec import TensorSpec

IMAGE = (TensorSpec("image", "float32", ("batch", 2, 3)),)
TWO = (TensorSpec("a", "float32", ("n", 2)), TensorSpec("b", "int64", ("n",)))


def rows(count: int) -> npt.NDArray[np.float32]:
    return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def loaded(path: Path, source: str, **extra: object) -> Dataset:
    request = DataSource(source, **extra)  # type: ignore[arg-type]  # keywords of the test table
    return dataset.load(request, inputs=IMAGE, base=path)


def test_npz_with_labels_streams_in_batches(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=rows(5), labels=np.arange(5))
    data = loaded(tmp_path, "d.npz")
    assert [len(batch["image"]) for batch in data.batches(2)] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in data.batches(2)]), rows(5))
    assert data.labels is not None
    assert data.count == len(data.labels) == 5
    dataset.check(data, IMAGE, labelled=True)


def test_npy_goes_to_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(3))
    data = loaded(tmp_path, "d.npy")
    assert [set(batch) for batch in data.batches(8)] == [{"image"}]
    dataset.check(data, IMAGE)


def test_npy_for_two_inputs_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(3))
    with pytest.raises(DataError, match="carries no input names"):
        dataset.load(DataSource("d.npy"), inputs=TWO, base=tmp_path)


def test_callable_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(
        "import numpy as np\n"
        "def feed():\n"
        "    for i in range(4):\n"
        "        yield {'image': np.full((2, 2, 3), i, np.float32), 'labels': np.array([i, i])}\n"
    )
    data = loaded(tmp_path, "feed.py:feed")
    assert data.count == 8
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    drawn = loaded(tmp_path, "feed.py:feed", samples=3, seed=1)
    assert drawn.count == 3
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [batch["image"].flat[0] for batch in drawn.batches(1)]
    assert drawn.labels.tolist() != [0, 0, 1], "drawn with the seed, not the first ones"


def test_two_folders_with_a_module_of_the_same_name_keep_their_own(tmp_path: Path) -> None:
    for index, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "neighbour.py").write_text(f"VALUE = {index}\n")
        (tmp_path / name / "data.py").write_text(
            "import numpy as np\nfrom neighbour import VALUE\n"
            "def samples():\n    import neighbour\n"
            "    yield {'image': np.full((2, 2, 3), VALUE + neighbour.VALUE)}\n"
        )
    found = [
        dataset.load(DataSource("data.py:samples"), inputs=IMAGE, base=tmp_path / name)
        for name in ("one", "two")
    ]
    assert [next(each.batches(2))["image"].max() for each in found] == [0, 2]
    assert "neighbour" not in sys.modules
    assert str(tmp_path / "one") not in sys.path


def test_a_callable_that_raises_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("def samples():\n    raise KeyError('labels.csv')\n    yield\n")
    with pytest.raises(DataError, match=r"data.py:samples raised KeyError: 'labels.csv'"):
        dataset.load(DataSource("data.py:samples"), inputs=IMAGE, base=tmp_path)


@pytest.mark.parametrize("line", ["import no_such_module", "1 / 0", "open('labels.csv')", "x ="])
def test_a_file_that_cannot_be_imported_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(f"{line}\ndef samples():\n    return []\n")
    with pytest.raises(DataError, match=r"data.py:samples raised (Mod|Zero|File|Syntax)") as caught:
        dataset.load(DataSource("data.py:samples"), inputs=IMAGE, base=tmp_path)
    assert "run it by itself" in caught.value.remedy


def test_a_callable_that_does_not_exist_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text("def feed():\n    return []\n")
    with pytest.raises(UnknownNameError, match="fed") as caught:
        loaded(tmp_path, "feed.py:fed")
    assert "feed" in caught.value.remedy


def test_images_of_class_folders(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (3, 2), (10 * index, 0, 0)).save(tmp_path / "images" / label / f"{index}.png")
    spec = (TensorSpec("image", "uint8", ("batch", 2, 3, 3)),)
    data = dataset.load(DataSource("images"), inputs=spec, base=tmp_path)
    dataset.check(data, spec, labelled=True)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1]


def test_shipped_digits_split_in_two_disjoint_halves() -> None:
    spec = (TensorSpec("image", "uint8", ("batch", 8, 8, 1)),)
    halves = [
        dataset.load(DataSource("digits", split=split), inputs=spec, base=Path())
        for split in ("train", "test")
    ]
    assert [half.count for half in halves] == [898, 899]
    images = [np.concatenate([b["image"] for b in half.batches(100)]) for half in halves]
    together = np.concatenate(images)
    from sklearn.datasets import load_digits

    assert sorted(image.tobytes() for image in together) == sorted(
        image.astype(np.uint8).tobytes() for image in load_digits().images
    )


def test_samples_are_drawn_with_the_seed_and_keep_their_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=rows(50), labels=np.arange(50))
    one, same, other = (loaded(tmp_path, "d.npz", samples=7, seed=seed) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest
    images = np.concatenate([b["image"] for b in one.batches(3)])
    assert one.labels is not None
    np.testing.assert_array_equal(images, rows(50)[one.labels])


def test_digest_sees_preprocessing_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=rows(2), labels=np.array([0, 1]))
    np.savez(tmp_path / "b.npz", image=rows(2), labels=np.array([1, 0]))
    plain, relabelled = loaded(tmp_path, "a.npz"), loaded(tmp_path, "b.npz")
    scaled = dataset.load(
        DataSource("a.npz"), inputs=IMAGE, base=tmp_path, preprocess=[Scale(op="scale", by=2.0)]
    )
    assert len({plain.digest, relabelled.digest, scaled.digest}) == 3


@dataclass(frozen=True)
class Misfit:
    """Data that does not fit, and what the message must say."""

    id: str
    arrays: dict[str, npt.NDArray[np.generic]]
    message: str
    labelled: bool = False


NAN = rows(3)
NAN[2, 1, 1] = np.nan

MISFITS = [
    Misfit("D1 no samples", {"image": rows(0)}, "no samples"),
    Misfit("D2 wrong name", {"imgae": rows(2)}, "is 'imgae' what you mean"),
    Misfit("D2 extra array", {"image": rows(2), "mask": rows(2)}, "unknown: ['mask']"),
    Misfit("D3 wrong dtype", {"image": rows(2).astype(np.float64)}, "is float64 in sample 0"),
    Misfit("D4 wrong shape", {"image": np.zeros((2, 2, 4), np.float32)}, r"has shape (2, 4) in sample 0"),
    Misfit("D4 swapped axes", {"image": np.zeros((2, 3, 2), np.float32)}, "look swapped"),
    Misfit("D5 NaN", {"image": NAN}, "NaN or infinite values in sample 2"),
    Misfit("D6 no labels", {"image": rows(2)}, "has no labels", labelled=True),
    Misfit(
        "D6 other length", {"image": rows(2), "labels": np.arange(3)}, "2 samples and 3 labels", labelled=True
    ),
]


@pytest.mark.parametrize("case", MISFITS, ids=lambda case: case.id)
def test_misfits_are_refused_by_name(tmp_path: Path, case: Misfit) -> None:
    np.savez(tmp_path / "d.npz", allow_pickle=False, **case.arrays)
    data = loaded(tmp_path, "d.npz")
    with pytest.raises(DataError) as caught:
        dataset.check(data, IMAGE, labelled=case.labelled)
    assert case.message in str(caught.value)
    assert caught.value.remedy


@dataclass(frozen=True)
class Unreadable:
    """A source that cannot be opened."""

    id: str
    source: str
    message: str
    content: bytes | None = None


UNREADABLE = [
    Unreadable("missing file", "no.npz", "does not exist"),
    Unreadable("unknown set", "digit", "unknown data set"),
    Unreadable("empty file", "e.npz", "cannot be read", b""),
    Unreadable("truncated", "t.npz", "cannot be read", b"PK\x03\x04rubbish"),
    Unreadable("other ending", "x.csv", "does not read", b"1,2"),
    Unreadable("missing module", "nowhere_at_all:feed", "cannot be imported"),
    Unreadable("missing python file", "no.py:feed", "does not exist"),
]


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case.id)
def test_unreadable_sources_are_refused(tmp_path: Path, case: Unreadable) -> None:
    if case.content is not None:
        (tmp_path / case.source).write_bytes(case.content)
    with pytest.raises(EdgekitError) as caught:
        loaded(tmp_path, case.source)
    assert case.message in str(caught.value)
    assert caught.value.remedy


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        loaded(tmp_path, "p.npz")


def test_arrays_of_different_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=rows(2), mask=rows(3))
    with pytest.raises(DataError, match="different numbers of samples"):
        loaded(tmp_path, "d.npz")


def test_a_split_of_a_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(2))
    with pytest.raises(DataError, match="has no splits"):
        loaded(tmp_path, "d.npy", split="train")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="split of digits"):
        dataset.load(DataSource("digits", split="trian"), inputs=IMAGE, base=Path())


def test_an_empty_image_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        loaded(tmp_path, "images")


def test_a_stream_is_asked_for_one_batch_at_a_time(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "feed.py").write_text(
        "import numpy as np\n"
        "def feed():\n"
        "    for i in range(100):\n"
        f"        with open({str(asked)!r}, 'a') as f: f.write('.')\n"
        "        yield {'image': np.zeros((1, 2, 3), np.float32)}\n"
    )
    data = loaded(tmp_path, "feed.py:feed")
    asked.unlink()
    batches = data.batches(2)
    next(batches)
    assert len(asked.read_text()) == 2
    next(batches)
    assert len(asked.read_text()) == 4
