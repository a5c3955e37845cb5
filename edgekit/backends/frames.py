"""JSON value <-> 4 bytes of length, big-endian, then UTF-8 JSON, on a pipe.

Only small headers travel here; arrays go through shared memory (``backends.shared_arrays``).
"""

from __future__ import annotations

import json
import struct
from typing import Any, Protocol

_LENGTH = struct.Struct(">I")


class ByteReader(Protocol):
    """An unbuffered byte stream: ``read`` may give less than was asked for, and nothing at its end."""

    def read(self, size: int, /) -> bytes | None:
        """Up to ``size`` bytes."""


class ByteWriter(Protocol):
    """An unbuffered byte stream: ``write`` may take less than it was given."""

    def write(self, data: memoryview, /) -> int | None:
        """Write some of ``data``; returns how many bytes."""


def write_frame(stream: ByteWriter, value: Any) -> None:
    """Write one JSON value.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    content = json.dumps(value, separators=(",", ":")).encode()
    rest = memoryview(_LENGTH.pack(len(content)) + content)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def read_frame(stream: ByteReader) -> Any:
    """Read one JSON value.

    Raises:
        EOFError: the other side closed the pipe, between two values or in the middle of one.
    """
    (length,) = _LENGTH.unpack(read_exactly(stream, _LENGTH.size))
    return json.loads(read_exactly(stream, length))


def read_exactly(stream: ByteReader, size: int) -> bytes:
    """``size`` bytes.

    Raises:
        EOFError: the other side closed the pipe before.
    """
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
