"""Arrays <-> one block of shared memory, with their names, types and offsets as JSON.

    parent: create --name--> worker: attach --done--> parent: unlink

The parent unlinks the name as soon as the worker has attached. From then on the block lives exactly as long
as a process maps it, so nothing stays in /dev/shm however the two of them end (shm_overview(7)). In the
moment before, the parent's resource tracker owns the name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Mapping
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import DataError

if TYPE_CHECKING:
    from edgekit.spec import Array

_ALIGNMENT = 64  # one cache line, and the widest vector register
_SHM = Path("/dev/shm")  # noqa: S108 - not a temporary file: where Linux keeps shared memory, asked for its free space


def size_of(arrays: Mapping[str, Array]) -> int:
    """Bytes that ``arrays`` need in a block, padding included."""
    return sum(_padded(array.nbytes) for array in arrays.values())


def create(size: int, *, shm: Path = _SHM) -> SharedMemory:
    """A new block of at least ``size`` bytes.

    Linux hands out pages on first touch and kills a process that touches more than is left (SIGBUS). So the
    free space is asked for beforehand, and all pages are taken at once: somebody else may want the same ones
    a moment later. ``shm`` is a parameter for tests.

    Raises:
        DataError: there is less shared memory than that.
    """
    if shm.is_dir() and (free := shutil.disk_usage(shm).free) < size:
        raise _no_room(size, free)
    block = SharedMemory(create=True, size=max(size, _ALIGNMENT))
    try:
        _take_pages(shm / block.name, block.size)
    except OSError as error:
        release(block, unlink=True)
        if error.errno != errno.ENOSPC:
            raise
        raise _no_room(size, shutil.disk_usage(shm).free) from error
    return block


def _take_pages(path: Path, size: int) -> None:
    """Have the system give ``path`` its memory now (posix_fallocate(3)); elsewhere than on Linux nothing.

    Raises:
        OSError: it has not that much.
    """
    if not path.is_file() or not hasattr(os, "posix_fallocate"):
        return
    file = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)


def _no_room(size: int, free: int) -> DataError:
    return DataError(
        f"a batch needs {size / 1e6:.1f} MB of shared memory and {free / 1e6:.1f} MB are free",
        why="arrays travel to the runtime's process through shared memory",
        remedy="use a smaller batch, or give the container more (docker run --shm-size=1g)",
    )


def attach(name: str) -> SharedMemory:
    """The worker's view of a block that the parent created and owns."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    # python/cpython#82300, fixed in 3.13 by track=False: attaching registers the block with this process's
    # own resource tracker, which would unlink it and warn. The worker never owns a block, so its tracker
    # stays off.
    vars(resource_tracker)["register"] = _track_nothing
    return SharedMemory(name)


def _track_nothing(name: str, rtype: str) -> None:
    """Stand in for ``resource_tracker.register``."""


def write(block: SharedMemory, arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Copy ``arrays`` into ``block``; returns the layout that ``read`` needs, JSON-ready."""
    layout: list[dict[str, Any]] = []
    offset = 0
    for name, array in arrays.items():
        np.copyto(_view(block, array.dtype, array.shape, offset), array, casting="no")
        layout.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "offset": offset})
        offset += _padded(array.nbytes)
    return layout


def read(block: SharedMemory, layout: list[dict[str, Any]]) -> dict[str, Array]:
    """Copies of the arrays that ``layout`` describes; the caller owns them."""
    return {name: array.copy() for name, array in views(block, layout).items()}


def views(block: SharedMemory, layout: list[dict[str, Any]]) -> dict[str, Array]:
    """The arrays that ``layout`` describes, in ``block`` itself: gone when it is closed."""
    return {
        row["name"]: _view(block, dtype_from_name(row["dtype"]), row["shape"], row["offset"])
        for row in layout
    }


def release(block: SharedMemory, *, unlink: bool) -> None:
    """Unmap ``block``, and remove its name where this process still owns it."""
    block.close()
    if unlink:
        with contextlib.suppress(FileNotFoundError):
            block.unlink()


def dtype_from_name(name: str) -> np.dtype[np.generic]:
    """NumPy dtype of ``name``; "bfloat16", "float8_..." and "int4" come from ml_dtypes.

    Raises:
        TypeError: nobody knows the name.
    """
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        if not hasattr(ml_dtypes, name):
            raise
        found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return found


def _view(
    block: SharedMemory, dtype: np.dtype[np.generic], shape: list[int] | tuple[int, ...], offset: int
) -> Array:
    return np.ndarray(tuple(shape), dtype, buffer=block.buf, offset=offset)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
