"""Clamps in all their spellings -> one Relu or one Clip.

    Min(Max(x, 0), 6) -> Clip(x, 0, 6)      Clip(Relu(x), 0, 6) -> Clip(x, 0, 6)      Clip(x, 0) -> Relu(x)

A kernel fuses one clamp behind a convolution; two in a row would leave the second one alone.

C1: a Clip with minimum 0 and no maximum (none, infinite or the type's largest) -> Relu.
C2: bounds that are not constants -> left alone.

Source: onnxscript/rewriter/rules/common (_min_max_to_clip, _fuse_relus_clips); C1 from Keras' ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import constant, follows, is_float32, is_onnx, walk
from edgekit.passes.base import Pass

_CLAMPS = ("Relu", "Clip", "Min", "Max")


@dataclass(frozen=True)
class FuseActivation(Pass):
    """Give clamps one form."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"activations-fused"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Merge, then name the plain ones Relu."""
        if any(node.op_type in _CLAMPS and follows(node, *_CLAMPS) for node in walk(model)):
            _merge_pairs(model)
        for node in tuple(model.graph):
            if is_onnx(node, "Clip") and _is_relu(node):
                node.op_type = "Relu"
                node.resize_inputs(1)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _merge_pairs(model: ir.Model) -> None:
    """By onnxscript, which is imported (0.05 s) only where two clamps stand in a row."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    RewriteRuleSet(
        [
            rules.min_max_rule,
            rules.max_min_rule,
            rules.successive_clip_relu_rule,
            rules.successive_clip_rule,
            rules.successive_relu_clip_rule,
            rules.successive_relu_rule,
        ]
    ).apply_to_model(model)


def _is_relu(node: ir.Node) -> bool:
    low, high = clip_bounds(node)
    return is_float32(node.inputs[0]) and low == 0.0 and high == np.inf


def clip_bounds(node: ir.Node) -> tuple[float | None, float | None]:
    """(minimum, maximum) of a Clip; infinite where absent, None where it is not a constant (C2)."""
    bounds: list[float | None] = []
    for index, absent in ((1, -np.inf), (2, np.inf)):
        value = node.inputs[index] if len(node.inputs) > index else None
        array = constant(value)
        if value is None:
            bounds.append(absent)
        elif array is None:
            bounds.append(None)
        else:
            bound = float(array.reshape(()))
            unlimited = abs(bound) >= np.finfo(np.float32).max and bound * absent > 0
            bounds.append(absent if unlimited else bound)
    return bounds[0], bounds[1]
