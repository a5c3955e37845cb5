"""Arrays through a block of shared memory: every dtype, no shape lost, clear refusal when it is full."""

from __future__ import annotations

import errno
import os
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


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm")
def test_all_pages_are_taken_when_a_block_is_made() -> None:
    block = shared_arrays.create(1_000_000)
    assert (Path("/dev/shm") / block.name).stat().st_blocks * 512 >= 1_000_000
    shared_arrays.release(block, unlink=True)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm")
def test_what_another_process_took_a_moment_ago_is_an_error_and_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Free space was there when it was asked for: a page that is missing later kills whoever touches it."""
    made: list[str] = []

    def full(file: int, offset: int, size: int) -> None:
        made.append(Path(f"/proc/self/fd/{file}").resolve().name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"needs 2\.0 MB of shared memory and .* MB are free"):
        shared_arrays.create(2_000_000)
    assert not (Path("/dev/shm") / made[0]).exists()


def test_without_a_shared_memory_folder_the_system_decides(tmp_path: Path) -> None:
    shared_arrays.release(shared_arrays.create(64, shm=tmp_path / "absent"), unlink=True)
