"""Array -> the same array, over a temporary file that has no name any more; it is gone with its last reader.

What is made new of a large model, layer by layer, would add up to a copy of it in memory. Over a file it is
the system's to keep or to write out. Small arrays, and those of small models, stay where they are.

    set_aside    read-only: a weight that was made
    Aside        read-only: a value, batch by batch
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


class Aside:
    """Batches of one value beside the weights of the model ``of``: the same arrays, several in a file.

    Each by itself, small ones would stay in memory, however many they are.
    """

    def __init__(self, *, of: ir.Model) -> None:
        self._goes = goes_aside(of)
        self._done: list[Array] = []
        self._waiting: list[Array] = []

    def add(self, array: Array) -> None:
        """The next batch.

        Raises:
            OSError: the folder of temporary files has no room.
        """
        self._waiting.append(array)
        if sum(each.nbytes for each in self._waiting) >= SMALLEST_BYTES:
            self._write()

    def arrays(self) -> list[Array]:
        """All batches.

        Raises:
            OSError: the folder of temporary files has no room.
        """
        self._write()
        return self._done

    def _write(self) -> None:
        many, self._waiting = self._waiting, []
        flat = [array.reshape(-1) for array in many]
        if not self._goes or not sum(part.nbytes for part in flat):  # no file of no bytes can be mapped
            self._done += many
            return
        whole = _over_file(flat[0] if len(flat) == 1 else np.concatenate(flat), "r")
        ends = np.cumsum([part.size for part in flat])
        self._done += [
            whole[end - array.size : end].reshape(array.shape) for array, end in zip(many, ends, strict=True)
        ]


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
