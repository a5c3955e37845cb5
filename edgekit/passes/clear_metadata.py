"""Doc strings, metadata, producer and dates -> nothing: bytes depend on the computation alone.

torch.onnx.export writes stack traces with file paths of the exporting machine into node metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.ir.graph import walk
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class ClearMetadata(Pass):
    """Forget where the model came from."""

    establishes: ClassVar[frozenset[str]] = frozenset({"metadata-clear"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Clear the model, its graphs, nodes and values."""
        model.producer_name, model.producer_version = "edgekit", None
        model.domain, model.model_version = None, None
        model.doc_string = None
        model.metadata_props.clear()
        model.meta.clear()
        for graph in model.graphs():
            values = (*graph.inputs, *graph.initializers.values(), *graph.outputs)
            for value in (*values, *(output for node in graph for output in node.outputs)):
                value.doc_string = None
                value.metadata_props.clear()
            graph.doc_string = None
            graph.metadata_props.clear()
        for node in walk(model):
            node.doc_string = None
            node.metadata_props.clear()
        return model
