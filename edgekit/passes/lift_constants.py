"""Constant nodes -> initializers; initializers that are also inputs -> initializers alone.

An initializer that is listed as an input is a default that a caller may override (onnx IR.md). edgekit
compiles the model as it stands: the defaults are its weights. A Constant that is an output stays a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.passes.base import Pass


@dataclass(frozen=True)
class LiftConstants(Pass):
    """Give constants one form."""

    establishes: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Lift in the main graph and in all subgraphs."""
        ir_passes.RemoveInitializersFromInputsPass()(model)
        ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        for graph in model.graphs():
            for value in graph.initializers.values():
                if value.const_value is not None:
                    # What was folded keeps the open shape that inference had guessed before.
                    value.shape = ir.Shape([dim for dim in value.const_value.shape if isinstance(dim, int)])
        return model
