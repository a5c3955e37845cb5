"""Bytes x generator -> damaged bytes: the mutations that know nothing of a format.

M1 flipped bits · M2 extreme values in 1 to 8 bytes · M3 cut off · M4 a piece lost · M5 a piece repeated ·
M6 a piece of another place put in · M7 random bytes put in

Source: the havoc stage of AFL (M. Zalewski, technical_details.txt); one to four of them are stacked.
"""

from __future__ import annotations

import numpy as np

EXTREMES = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFFFFFF, -0x80000000, 0x7FFFFFFFFFFFFFFF)


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four mutations in a row."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        _once(found, rng)
    return bytes(found)


def _once(content: bytearray, rng: np.random.Generator) -> None:
    size = len(content)
    if not size:
        content.extend(rng.bytes(8))
        return
    at = int(rng.integers(size))
    piece = int(rng.integers(1, min(64, size) + 1))
    match int(rng.integers(7)):
        case 0:  # M1
            content[at] ^= 1 << int(rng.integers(8))
        case 1:  # M2
            width = int(2 ** rng.integers(4))
            value = EXTREMES[int(rng.integers(len(EXTREMES)))] & (2 ** (8 * width) - 1)
            content[at : at + width] = value.to_bytes(width, "little")
        case 2:  # M3
            del content[at:]
        case 3:  # M4
            del content[at : at + piece]
        case 4:  # M5
            content[at:at] = content[at : at + piece]
        case 5:  # M6
            other = int(rng.integers(size))
            content[at : at + piece] = content[other : other + piece]
        case _:  # M7
            content[at:at] = rng.bytes(piece)
