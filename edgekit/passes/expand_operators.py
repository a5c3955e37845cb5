"""Operators newer than the canonical opset -> the bodies that ONNX defines for them.

The work is done by ``ir.expand``; what has no body is left for ``LiftOpset`` to refuse.

Source: onnx docs/IR.md, "Functions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.ir.expand import expand_newer
from edgekit.ir.verify import CANONICAL_OPSET
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class ExpandOperators(Pass):
    """Replace Attention, RMSNormalization, RotaryEmbedding, Swish and their like."""

    requires: ClassVar[frozenset[str]] = frozenset({"functions-inlined"})
    version: int = CANONICAL_OPSET

    def apply(self, model: ir.Model) -> ir.Model:
        """Expand; a model of an older opset is left as it is."""
        return expand_newer(model, self.version)
