"""An .npz of a stranger -> its arrays, with nothing allocated that the file does not hold.

Z1 numbers only: no pickles · Z2 a header's shape and type fit the member's size, before there is an array ·
Z3 all members together fit this machine's memory, before the first is unpacked (DEFLATE packs zeros 1 : 1032)

Source: numpy.lib.format (header of a .npy member); PKWARE APPNOTE 4.3.8 (unpacked sizes in the directory).
"""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

# What reading an .npz of a stranger may raise; callers put their own words to it.
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, AttributeError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError),
    tokenize.TokenError,  # NumPy reads a header that is no Python again as Python 2 wrote it
)
_SUFFIX = ".npy"


def read_npz(file: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
    """Arrays by name.

    Raises:
        ValueError: Z1 to Z3 are broken; anything of ``UNREADABLE`` where the file is damaged.
    """
    with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        members = archive.zip
        if members is None:
            raise ValueError("it is no archive")
        held = sum(info.file_size for info in members.infolist())
        if held > memory_bytes():  # Z3
            raise ValueError(
                f"unpacked it has {held} bytes, and this machine has {memory_bytes()} bytes of memory; "
                "a .npy file is read piece by piece"
            )
        for info in members.infolist():
            if info.filename.endswith(_SUFFIX):
                with members.open(info) as member:
                    _check(member, info)
        return {name: archive[name] for name in archive.files if f"{name}{_SUFFIX}" in members.NameToInfo}


def _check(member: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Z1 and Z2 of one member, by its header alone."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects")
    if any(size < 0 for size in shape):
        raise ValueError(
            f"{info.filename} says that its shape is {shape}: negative dimensions are not allowed"
        )
    promised, there = prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if promised != there:
        raise ValueError(f"{info.filename} promises {promised} bytes and holds {there}")


def memory_bytes() -> int:
    """Of this machine, all of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62
