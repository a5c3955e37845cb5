"""Nodes that return their input -> nothing.

C1: Identity; Dropout and Cast to the same type; a Transpose that keeps the order; Concat of one tensor;
    Pad by nothing; Reshape, Flatten, Squeeze, Unsqueeze, Expand to the shape that the input has already.
C2: x * 1, x + 0, x - 0, x / 1 with a scalar constant of exactly that value: x + 1e-10 keeps log(x) finite.
C3: two Transposes, Reshapes or Unsqueezes in a row become one.
C4: a Dropout in training mode computes something: it stays.
C5: an Identity between a graph input and a graph output gives the output its name: it stays.

Source: onnxscript/rewriter/rules/common (_basic_rules); C1 and C2 here, because those rules need the
operator's options to be spelled out, and take 1e-10 for zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import bypass, constant, follows, ints_attribute, is_onnx, rank, walk
from edgekit.passes.base import Pass

_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}
_PAIRED = ("Transpose", "Reshape", "Unsqueeze")
_RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class EliminateIdentity(Pass):
    """Drop what computes nothing."""

    requires: ClassVar[frozenset[str]] = frozenset({"shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"identities-gone"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Apply C1 and C2, the rules for C3, and the first two again on what they left."""
        _bypass_all(model)
        if any(_has_a_pair(node) for node in walk(model)):
            _merge_pairs(model)
        ir_passes.RemoveUnusedNodesPass()(model)
        _bypass_all(model)
        return model


def _has_a_pair(node: ir.Node) -> bool:
    """Whether C3 may apply; onnxscript is imported (0.05 s) only where it may."""
    return node.op_type in _PAIRED and follows(node, node.op_type)


def _merge_pairs(model: ir.Model) -> None:
    """C3."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    RewriteRuleSet(
        [
            rules.transpose_transpose_rule,
            rules.reshape_reshape_rule,
            rules.unsqueeze_unsqueeze_rule,
        ]
    ).apply_to_model(model)


def _bypass_all(model: ir.Model) -> None:
    for node in tuple(walk(model)):
        if _returns_its_input(node):
            bypass(node)


def _returns_its_input(node: ir.Node) -> bool:
    if not node.inputs or node.inputs[0] is None or not is_onnx(node, node.op_type):
        return False
    if node.op_type in _NEUTRAL:
        return _with_its_neutral(node)
    source, result = node.inputs[0], node.outputs[0]
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        mode = constant(training)
        return training is None or (mode is not None and not bool(mode))
    if node.op_type == "Cast":
        return source.dtype is not None and int(source.dtype) == node.attributes["to"].as_int()
    if node.op_type == "Transpose":
        size = rank(source)
        return size is not None and ints_attribute(node, "perm", range(size)[::-1]) == tuple(range(size))
    if node.op_type == "Concat":
        return len(node.inputs) == 1
    if node.op_type == "Pad":
        pads = constant(node.inputs[1])
        return pads is not None and not np.any(pads)
    if node.op_type == "Expand":
        return _nothing_to_repeat(source, result)
    return node.op_type in _RESHAPING and _same_shape(source, result)


def _with_its_neutral(node: ir.Node) -> bool:
    """C2; of ``1 * x`` the inputs are exchanged."""
    left, right = node.inputs
    if node.op_type in ("Mul", "Add") and constant(left) is not None and constant(right) is None:
        node.replace_input_with(0, right)
        node.replace_input_with(1, left)
        left, right = right, left
    value, size = constant(right), rank(left)
    if value is None or value.size != 1 or size is None or value.ndim > size:
        return False
    return bool(value.item() == _NEUTRAL[node.op_type])


def _nothing_to_repeat(source: ir.Value, result: ir.Value) -> bool:
    """Whether every size of an Expand's result is the source's own; a size of 1 may become any other."""
    if source.shape is None or result.shape is None or len(source.shape) != len(result.shape):
        return False
    return all(
        (isinstance(mine, int) and (mine > 1 or mine == other))
        or (isinstance(mine, ir.SymbolicDim) and mine.value is not None and mine == other)
        for mine, other in zip(source.shape, result.shape, strict=True)
    )


def _same_shape(left: ir.Value, right: ir.Value) -> bool:
    """Equal sizes, where at most one is unknown (the rest then fixes it) or both have the same name."""
    if left.shape is None or right.shape is None or len(left.shape) != len(right.shape):
        return False
    unknown = 0
    for mine, other in zip(left.shape, right.shape, strict=True):
        if isinstance(mine, int) and isinstance(other, int):
            if mine != other:
                return False
        elif isinstance(mine, int) or isinstance(other, int) or mine.value is None or mine != other:
            unknown += 1
    has_zero = any(dim == 0 for dim in (*left.shape, *right.shape))
    return unknown <= 1 and not has_zero
