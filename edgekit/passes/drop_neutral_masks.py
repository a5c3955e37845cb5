"""``x and true`` that only spreads x -> x, where what follows spreads it anyway.

    scores (n, h, q, k) + Where(And(x (n, 1, 1, k), true (1, 1, q, 1)), a, b)
      ->  scores + Where(x, a, b)

Exporters build an attention mask of all rules that there may be, and most are constantly true (transformers
5: ``bitwise_and`` of the padding mask and a mask of ones).

M1: And with a constant that is true everywhere, Or with one that is false everywhere.
M2: x has the shape of the result: its readers read x, unless the result is a graph output.
M3: x is smaller, and everything that reads the result, or what becomes smaller with it, broadcasts to the
    shape that it has now: the values in between become smaller.
M4: a graph output, a size without a number, a reader that does not broadcast: it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import constant, is_onnx, replace_value, walk
from edgekit.passes.base import Pass

_NEUTRAL = {"And": True, "Or": False}
_BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "And", "Or", "Xor", "Where"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Cast", "Neg"}
)

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class DropNeutralMasks(Pass):
    """Drop logical operators that decide nothing."""

    requires: ClassVar[frozenset[str]] = frozenset({"shapes-known"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Apply M1 to M4."""
        dropped = [node for node in tuple(walk(model)) if is_onnx(node, *_NEUTRAL) and _drop(node)]
        if dropped:
            ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _drop(node: ir.Node) -> bool:
    rest = [value for value in node.inputs if not _decides_nothing(value, neutral=_NEUTRAL[node.op_type])]
    if len(rest) != 1 or rest[0] is None:
        return False
    size = _sizes(rest[0])
    smaller: dict[ir.Value, Sizes] = {}
    if size is None or node.outputs[0].is_graph_output() or not _follows(node.outputs[0], size, smaller):
        return False
    for value, sizes in smaller.items():
        value.shape = ir.Shape(sizes)
    replace_value(node.outputs[0], rest[0])
    return True


def _decides_nothing(value: ir.Value | None, *, neutral: bool) -> bool:
    """M1."""
    data = constant(value)
    return data is not None and data.dtype == np.bool_ and bool(np.all(data == neutral))


def _follows(value: ir.Value, size: Sizes, smaller: dict[ir.Value, Sizes]) -> bool:
    """M2, M3: whether ``value`` may have ``size``; collects what gets smaller."""
    if _sizes(value) == size:
        return True
    if value.is_graph_output() or _sizes(value) is None:
        return False
    smaller[value] = size
    for reader in {use.node for use in value.uses()}:
        if not is_onnx(reader, *_BROADCASTING):
            return False
        sizes = [smaller.get(each) or _sizes(each) for each in reader.inputs if each is not None]
        known = [each for each in sizes if each is not None]
        if len(known) != len(sizes) or not _follows(reader.outputs[0], np.broadcast_shapes(*known), smaller):
            return False
    return True


def _sizes(value: ir.Value) -> Sizes | None:
    if value.shape is None:
        return None
    sizes = tuple(dim for dim in value.shape if isinstance(dim, int))
    return sizes if len(sizes) == len(value.shape) else None
