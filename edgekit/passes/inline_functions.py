"""Calls of model-local functions -> the functions' bodies.

Source: onnx IR.md, "Model-local functions"; onnx_ir.passes.common.InlinePass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.passes.base import Pass


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Put the body of every function where it is called, and drop the functions."""

    establishes: ClassVar[frozenset[str]] = frozenset({"functions-inlined"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Inline; functions that nobody calls go too."""
        if model.functions:
            ir_passes.InlinePass()(model)
            model.functions.clear()
        return model
