"""Pad by zeros before a Conv -> the Conv's own pads.

    Conv(Pad(x, zeros), pads=p)  ->  Conv(x, pads = p + pad)

Source: onnxscript/rewriter/rules/common/_fuse_pad_into_conv.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.passes.base import Pass


@dataclass(frozen=True)
class FusePadding(Pass):
    """Let convolutions pad by themselves."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"padding-fused"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Spell automatic padding out, then merge."""
        from onnxscript.rewriter import RewriteRuleSet
        from onnxscript.rewriter.rules import common as rules

        RewriteRuleSet([rules.normalize_pad_format_conv_rule, rules.fuse_pad_into_conv_rule]).apply_to_model(
            model
        )
        ir_passes.RemoveUnusedNodesPass()(model)
        return model
