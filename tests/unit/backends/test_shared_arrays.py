"""Arrays through a block of shared memory: every dtype, no shape lost, clear refusal when it is full."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from edgekit.backends import shared_arrays
from edgekit.errors import DataError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def block() -> Iterator[SharedMemory]:
    found = shared_arrays.create(4096)
    yield found
    shared_arrays.release(found, unlink=True)


def test_arrays_come_back_equal_and_owned(block: SharedMemory) -> None:
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "floats": np.array([[1.5, np.nan], [-np.inf, 0]], np.float32),
        "half": np.array([1, 2], np.float16),
        "brain": np.array([1, 2], ml_dtypes.bfloat16),
        "flags": np.array([True, False]),
        "scalar": np.full((), 7, np.int64),
        "empty": np.zeros((0, 3), np.uint8),
        "strided": np.arange(12, dtype=np.int32).reshape(3, 4)[::2, ::3],
    }
    assert shared_arrays.size_of(arrays) <= block.size
    layout = shared_arrays.write(block, arrays)
    assert all(row["offset"] % 64 == 0 for row in layout)
    found = shared_arrays.read(block, layout)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.owndata


def test_a_name_that_is_no_dtype_is_an_error() -> None:
    with pytest.raises(TypeError):
        shared_arrays.dtype_from_name("float7")


def test_release_is_harmless_when_the_name_is_gone() -> None:
    block = shared_arrays.create(1)
    block.unlink()
    shared_arrays.release(block, unlink=False)
    with pytest.raises(FileNotFoundError):
        SharedMemory(block.name)


def test_full_shared_memory_is_refused_before_it_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10, 9, 1_000_000))
    with pytest.raises(DataError, match=r"needs 2\.0 MB of shared memory and 1\.0 MB are free"):
        shared_arrays.create(2_000_000, shm=tmp_path)
    shared_arrays.release(shared_arrays.create(999_000, shm=tmp_path), unlink=True)  # must not fire


def test_without_a_shared_memory_folder_the_system_decides(tmp_path: Path) -> None:
    shared_arrays.release(shared_arrays.create(64, shm=tmp_path / "absent"), unlink=True)
