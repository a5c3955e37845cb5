"""Array -> the same array, over a temporary file that has no name any more; it is gone with its last reader.

What is made new of a large model, layer by layer, would add up to a copy of it in memory. Over a file it is
the system's to keep or to write out. Small arrays, and those of small models, stay where they are.

    set_aside    read-only: a weight that was made
    workspace    to be written: what steps of a computation change in place
    computed     what a runtime gives: all of it, before another runtime holds weights of the same size
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit.ir.external_data import goes_aside, is_large
from edgekit.spec import Array

SMALLEST_BYTES = 2**20  # a map costs a page and an entry of the process's table, of which there are 65,530


def set_aside(array: Array, *, of: ir.Model) -> Array:
    """``array``, a weight of the model ``of`` or a value beside it; read-only where it is over a file.

    Raises:
        OSError: the folder of temporary files has no room.
    """
    return _over_file(array, "r") if _goes(array, of) else array


def workspace(array: Array, *, of: ir.Model) -> Array:
    """A copy of ``array`` to work in, beside the weights of the model ``of``.

    Raises:
        OSError: the folder of temporary files has no room.
    """
    return _over_file(array, "r+") if _goes(array, of) else array.copy()


def computed(
    stream: Iterator[tuple[int, dict[str, Array]]], *, of: ir.Model
) -> Iterator[tuple[int, dict[str, Array]]]:
    """``stream``, batches with a number each; run to its end first where the model ``of`` it is large.

    A runtime keeps weights in an order of its own: two of a model at once are twice its size.

    Raises:
        OSError: the folder of temporary files has no room.
    """
    if not is_large(of):
        return stream
    return iter(
        [
            (number, {name: set_aside(array, of=of) for name, array in batch.items()})
            for number, batch in stream
        ]
    )


def _goes(array: Array, of: ir.Model) -> bool:
    return array.nbytes >= SMALLEST_BYTES and goes_aside(of)


def _over_file(array: Array, mode: Literal["r", "r+"]) -> Array:
    with tempfile.TemporaryFile(prefix="edgekit-") as file:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.flush()
        return np.asarray(np.memmap(file, array.dtype, mode, shape=array.shape))
