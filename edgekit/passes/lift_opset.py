"""Model of any opset -> the same computation in one opset (21), IR version 10.

The work is done by ``ir.opset``; it is refused where an operator has no counterpart.

Source: onnx docs/Versioning.md: IR version 10 goes with opset 21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.ir.opset import convert_opset
from edgekit.ir.verify import CANONICAL_OPSET
from edgekit.passes.base import Pass

IR_VERSION = 10  # the first that has opset 21; onnxruntime 1.18 and later read it


@dataclass(frozen=True)
class LiftOpset(Pass):
    """Bring the standard operators to ``version``."""

    requires: ClassVar[frozenset[str]] = frozenset({"functions-inlined"})
    establishes: ClassVar[frozenset[str]] = frozenset({"opset-canonical"})
    version: int = CANONICAL_OPSET

    def apply(self, model: ir.Model) -> ir.Model:
        """Convert; raises ModelFileError where an operator has no counterpart."""
        long_name = model.opset_imports.pop("ai.onnx", None)  # the standard domain has two spellings
        current = model.opset_imports.setdefault("", long_name or self.version)
        if current != self.version:
            model = convert_opset(model, self.version)
        model.ir_version = IR_VERSION
        return model
