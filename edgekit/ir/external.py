"""ONNX file -> the names of the files that hold its external data.

``ir.io`` takes the data inside while it loads, and with it the knowledge where it came from. Source: onnx
docs/ExternalData.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from edgekit.ir.graph import walk
from edgekit.ir.quiet import quiet


def external_files(path: Path) -> tuple[str, ...]:
    """Names relative to the model's folder, sorted; empty where the file holds everything itself.

    Args:
        path: a file that ``io.load`` has read: it refused names that lead out of the folder.
    """
    with quiet():
        model = ir.load(path)
    return tuple(sorted({str(tensor.location) for tensor in _external(model)}))


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    held = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    for node in walk(model):
        held += [
            attribute.as_tensor()
            for attribute in node.attributes.values()
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref()
        ]
    yield from (tensor for tensor in held if isinstance(tensor, ir.ExternalTensor))
