"""A .tflite with a free batch -> the same file with the batch that it writes (1): no -1 in a signature.

Runtimes that do not resize (LiteRT.js) hold inputs against ``shape_signature``. The numbers are changed where
they stand, so nothing else of the file moves. An axis other than the first that is open is refused.
Source: schema.fbs of TFLite (version 3), ``Tensor.shape_signature``.
"""

from __future__ import annotations

import struct
from typing import Any

from edgekit.backends.litert.tables import parse, tflite_schema
from edgekit.errors import ModelFileError

_SIGNATURE_SLOT = 18  # Tensor.shape_signature: field 7, and 4 + 2 * 7 in a vtable
_OPEN = -1


def with_fixed_batch(content: bytes, *, name: str) -> bytes:
    """The file with every open first axis closed.

    Raises:
        ModelFileError: not a whole TFLite file, or another axis of an input or output is open.
        MissingBackendError: ai-edge-litert, which holds the schema, is not installed.
    """
    main = parse(content, name=name)[0][0]
    for tensor in (*main.inputs, *main.outputs):
        if any(axis for axis in tensor.open_axes):
            raise ModelFileError(
                f"{name}: axis {max(tensor.open_axes)} of {tensor.name} has no fixed size",
                why="only a batch can be closed without asking",
                remedy="export the model with fixed sizes, but for the batch",
            )
    out = bytearray(content)
    model = tflite_schema().Model.GetRootAs(content, 0)
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        for place in range(graph.TensorsLength()):
            _close(out, graph.Tensors(place))
    return bytes(out)


def _close(out: bytearray, tensor: Any) -> None:
    at = tensor._tab.Offset(_SIGNATURE_SLOT)
    if not at:
        return
    start = tensor._tab.Vector(at)
    for axis in range(tensor.ShapeSignatureLength()):
        if tensor.ShapeSignature(axis) == _OPEN:
            struct.pack_into("<i", out, start + 4 * axis, tensor.Shape(axis))
