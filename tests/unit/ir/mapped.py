"""Whether an array lies over a file."""

from __future__ import annotations

import mmap

import numpy as np

from edgekit.spec import Array


def is_mapped(array: Array) -> bool:
    """Whether the memory of ``array`` is that of a mapped file."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)
