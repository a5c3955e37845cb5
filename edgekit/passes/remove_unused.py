"""What no output needs -> nothing: nodes, initializers, operator sets.

Source: onnx_ir.passes.common (RemoveUnusedNodesPass, RemoveUnusedOpsetsPass).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.verify import CANONICAL_OPSET
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class RemoveUnused(Pass):
    """Drop dead parts. Graph inputs stay: they are the model's interface."""

    establishes: ClassVar[frozenset[str]] = frozenset({"unused-gone"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Remove."""
        ir_passes.RemoveUnusedNodesPass()(model)
        ir_passes.RemoveUnusedOpsetsPass()(model)
        model.opset_imports.setdefault("", CANONICAL_OPSET)
        return model
