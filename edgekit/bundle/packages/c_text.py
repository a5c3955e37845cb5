"""Values -> C: literals and comments that no name of a model can break out of.

text          "..." with every byte outside printable ASCII, quotes, backslash and ? as three octal digits
real          the shortest decimal that is the same float32, with the suffix f
array_bytes   hex bytes, 16 in a line
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')  # ? begins a trigraph in C99
TYPES = {
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def text(value: str) -> str:
    """A string literal."""
    body = "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in value.encode("utf-8"))
    return f'"{body}"'


def real(value: float) -> str:
    """A float literal; infinities and NaN do not occur in a specification."""
    found = str(np.float32(value))
    return f"{found}f" if "." in found or "e" in found else f"{found}.0f"


def braces(values: Iterable[str]) -> str:
    """{a, b, c}."""
    return "{" + ", ".join(values) + "}"


def wrapped(values: Iterable[str], *, indent: str = "    ", width: int = 100) -> str:
    """Values separated by commas, in lines."""
    lines, line = [], indent
    for value in values:
        if len(line) + len(value) > width and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += f"{value}, "
    return "\n".join([*lines, line.rstrip().rstrip(",")])


def array_bytes(content: bytes) -> str:
    """The bytes of a file, 16 in a line."""
    rows = (content[at : at + 16] for at in range(0, len(content), 16))
    return ",\n".join("    " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)


def numbers(values: npt.NDArray[np.generic]) -> list[str]:
    """Elements in C order as literals of their type."""
    if values.dtype.kind == "f":
        # 9 digits tell all float32 apart; a golden vector is finite
        return [real(float(value)) for value in values.ravel()]
    if values.dtype.kind == "b":
        return [str(int(value)) for value in values.ravel()]
    return [_integer(int(value)) for value in values.ravel()]


def _integer(value: int) -> str:
    # -2147483648 is the negation of a number that no int holds (C99 6.4.4.1)
    return f"(-{-value - 1} - 1)" if value in {-(2**31), -(2**63)} else str(value)
