"""An .npz that lies is refused by its headers, before anything is allocated."""

from __future__ import annotations

import io
import tokenize
import zipfile
from typing import Any

import numpy as np
import pytest

from edgekit import npz_file
from edgekit.npz_file import UNREADABLE, read_npz

FLOATS = np.arange(12, dtype=np.float32).reshape(3, 4)


def archive(**members: bytes) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    out.seek(0)
    return out


def member(array: np.ndarray[Any, Any], **said: Any) -> bytes:
    """A .npy file whose header says ``said`` of it."""
    out = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | said
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + array.tobytes()


def test_arrays_come_as_they_were_saved() -> None:
    """Must not fire: compressed, Fortran order, scalar, empty, strings."""
    arrays = {
        "floats": FLOATS,
        "fortran": np.asfortranarray(FLOATS),
        "scalar": np.array(3),
        "none": FLOATS[:0],
        "words": np.array(["a", "bc"]),
    }
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, **arrays)  # type: ignore[arg-type]
        out.seek(0)
        found = read_npz(out)
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"shape": (1 << 34,)}, "promises 68719476736 bytes and holds 48"),
        ({"shape": (2**40, 2**40)}, "promises"),
        ({"shape": (3, 3)}, "promises 36 bytes and holds 48"),
        ({"shape": (-1, 4)}, "negative"),
        ({"descr": "|O"}, "Python objects"),
    ],
)
def test_headers_that_lie(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_npz(archive(image=member(FLOATS, **said)))


def test_zeros_that_unpack_to_more_than_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    np.savez_compressed(out, image=np.zeros(1 << 20, np.uint8))
    assert len(out.getvalue()) < 1 << 12
    monkeypatch.setattr(npz_file, "memory_bytes", lambda: (1 << 20) - 1)
    out.seek(0)
    with pytest.raises(ValueError, match="piece by piece"):
        read_npz(out)


def test_a_pickle_is_never_read() -> None:
    out = io.BytesIO()
    np.savez(out, image=np.array([{"a": 1}], object))
    out.seek(0)
    with pytest.raises(ValueError, match="Python objects"):
        read_npz(out)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_what_is_no_archive(content: bytes) -> None:
    with pytest.raises(UNREADABLE):
        read_npz(io.BytesIO(content))


def test_a_header_that_ends_in_mid_statement() -> None:
    """Found by fuzzing: NumPy's second reading, as Python 2 wrote headers, raises an error of its own."""
    damaged = member(FLOATS).replace(b"}", b"(")
    with pytest.raises(UNREADABLE) as raised:
        read_npz(archive(image=damaged))
    assert raised.type is tokenize.TokenError
