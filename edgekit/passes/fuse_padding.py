"""Pad by zeros before a Conv -> the Conv's own pads.

    Conv(Pad(x, zeros), pads=p)  ->  Conv(x, pads = p + pad)

Source: onnxscript/rewriter/rules/common/_fuse_pad_into_conv.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import follows, walk
from edgekit.passes.base import Pass


@dataclass(frozen=True)
class FusePadding(Pass):
    """Let convolutions pad by themselves."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"padding-fused"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Spell automatic padding out, then merge."""
        if any(_may_match(node) for node in walk(model)):
            from onnxscript.rewriter import RewriteRuleSet
            from onnxscript.rewriter.rules import common as rules

            wanted = [rules.normalize_pad_format_conv_rule, rules.fuse_pad_into_conv_rule]
            RewriteRuleSet(wanted).apply_to_model(model)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _may_match(node: ir.Node) -> bool:
    """Whether a rule may apply; onnxscript is imported (0.05 s) only where one may."""
    automatic = node.attributes.get("auto_pad")
    spelled_out = automatic is None or automatic.as_string() == "NOTSET"
    return node.op_type == "Conv" and (not spelled_out or follows(node, "Pad"))
