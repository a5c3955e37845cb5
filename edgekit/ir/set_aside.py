"""Array -> the same array, over a temporary file that has no name any more; it is gone with its last reader.

What is made new of a large model, layer by layer, would add up to a copy of it in memory. Over a file it is
the system's to keep or to write out. Small arrays, and those of small models, stay where they are.
"""

from __future__ import annotations

import tempfile

import numpy as np
import onnx_ir as ir

from edgekit.ir.external_data import is_large
from edgekit.spec import Array

SMALLEST_BYTES = 2**20  # a map costs a page and an entry of the process's table, of which there are 65,530


def set_aside(array: Array, *, of: ir.Model) -> Array:
    """``array``, for a weight of the model ``of``; read-only where it is over a file.

    Raises:
        OSError: the folder of temporary files has no room.
    """
    if array.nbytes < SMALLEST_BYTES or not is_large(of):
        return array
    with tempfile.TemporaryFile(prefix="edgekit-") as file:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.flush()
        return np.asarray(np.memmap(file, array.dtype, "r", shape=array.shape))
