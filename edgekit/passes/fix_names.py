"""Model -> the same with unique, non-empty names of nodes and values, the same in every run.

Inputs and outputs keep theirs. A node without a name is called after its first output, a value without a
name after its node; a name that is taken gets a number. Initializers stand sorted by name.

Source: onnx IR.md, "Names Within a Graph"; onnx_ir.passes.common.NameFixPass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import walk
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class FixNames(Pass):
    """Name everything."""

    establishes: ClassVar[frozenset[str]] = frozenset({"names-unique"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Name values, then nodes after them, then sort the initializers."""
        for node in walk(model):
            if not node.name and node.outputs and node.outputs[0].name:
                node.name = node.outputs[0].name
        ir_passes.NameFixPass()(model)
        for graph in model.graphs():
            values = sorted(graph.initializers.items())
            graph.initializers.clear()
            for _, value in values:
                graph.register_initializer(value)
        return model
