"""Arrays by name <-> .npz bytes that depend on nothing but names and values.

``numpy.savez`` stamps the time of day into the zip entries. Here: sorted names, the zip format's first
possible date, no compression (its bytes differ between zlib versions), little-endian, C order. ``numpy.load``
reads the result. Format: numpy.lib.format version 1.0; PKWARE APPNOTE 4.4.6 (MS-DOS date).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import VerificationError
from edgekit.npz_file import UNREADABLE, read_npz

Arrays = Mapping[str, npt.NDArray[Any]]

EARLIEST = (1980, 1, 1, 0, 0, 0)  # MS-DOS dates start there
PLAIN_FILE = 0o644 << 16  # Unix mode in the upper half of the external attributes
UNIX = 3  # "version made by"; otherwise it would follow the machine that writes


def to_bytes(arrays: Arrays) -> bytes:
    """Arrays by name -> .npz bytes.

    Raises:
        TypeError: an array of Python objects, or of a type that NumPy's file format does not name.
    """
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            # order="C" keeps 0-d arrays 0-d, which ascontiguousarray would not.
            value = np.asarray(arrays[name], order="C")
            if value.dtype.kind not in "biufc":
                raise TypeError(
                    f"array {name!r} has type {value.dtype}, which a .npz of a bundle cannot hold"
                )
            value = value.astype(value.dtype.newbyteorder("<"), copy=False)
            member = io.BytesIO()
            np.lib.format.write_array(member, value, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", EARLIEST)
            entry.external_attr = PLAIN_FILE
            entry.create_system = UNIX
            archive.writestr(entry, member.getvalue())
    return whole.getvalue()


def from_bytes(content: bytes, *, name: str) -> dict[str, npt.NDArray[Any]]:
    """.npz bytes -> arrays by name.

    Raises:
        VerificationError: the bytes are no .npz of plain arrays; ``name`` is how the message calls them.
    """
    try:
        return read_npz(io.BytesIO(content))
    except UNREADABLE as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> VerificationError:
    return VerificationError(
        f"{name} is not a readable .npz file",
        why=f"{type(error).__name__}: {error}",
        remedy="get the bundle again, or release it again",
    )
