"""The factor of an embedded normalization -> the first operator's weight; its mean -> the bias, where exact.

    Conv(w)(x * a)  ->  Conv(w * a)(x)                 a: one value, or one per channel
    Conv(w, b)(x - m)  ->  Conv(w, b - sum(w * m))(x)  without padding

S1: a product folds with any padding: zero stays zero.
S2: a mean folds only where nothing is padded. A padded zero stands for the mean, which is no zero of the
    bytes: folded, every pixel of the border would be wrong by the mean's share. There the Sub stays.
S3: the value has one reader, a Conv of one group or a Gemm (alpha = beta = 1, transB = 1) with a constant
    weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import (
    add_initializer,
    constant,
    float_attribute,
    int_attribute,
    ints_attribute,
    is_onnx,
    sole_reader,
)
from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import PREFIX
from edgekit.spec import Array

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldInputScale(Pass):
    """Fold the arithmetic of ``embed_normalize`` into what follows it."""

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Mul first: a Sub in front of it then stands before the operator itself."""
        for operator in ("Mul", "Sub"):
            for node in tuple(model.graph):
                if is_onnx(node, operator) and (node.name or "").startswith(PREFIX):
                    _fold(model.graph, node)
        return model


def _fold(graph: ir.Graph, node: ir.Node) -> None:
    reader = sole_reader(node.outputs[0])
    factor, source = constant(node.inputs[1]), node.inputs[0]
    if reader is None or factor is None or source is None or reader.inputs[0] is not node.outputs[0]:
        return
    weight = _weight_of(reader)
    if weight is None:  # S3
        return
    along = _along_inputs(factor, weight)
    if along is None:
        return
    if node.op_type == "Mul":  # S1
        _replace(graph, reader, 1, (weight * along).astype(np.float32))
    elif _pads(reader):  # S2
        return
    else:
        moved = (weight * along).reshape(len(weight), -1).sum(axis=1)
        bias = constant(reader.inputs[2]) if len(reader.inputs) > 2 else np.zeros(len(weight), np.float32)
        if bias is None:
            return
        _replace(graph, reader, 2, (bias.astype(np.float64) - moved).astype(np.float32))
    reader.replace_input_with(0, source)
    inner = node.outputs[0].name
    graph.remove(node, safe=True)
    if source.producer() is not None:  # what the operator reads keeps its name
        source.name = inner


def _weight_of(node: ir.Node) -> Floats | None:
    plain = is_onnx(node, "Conv") and int_attribute(node, "group", 1) == 1
    dense = (
        is_onnx(node, "Gemm")
        and int_attribute(node, "transB", 0) == 1
        and int_attribute(node, "transA", 0) == 0
        and float_attribute(node, "alpha", 1.0) == 1.0
        and float_attribute(node, "beta", 1.0) == 1.0
    )
    found = constant(node.inputs[1]) if plain or dense else None
    return found.astype(np.float64) if found is not None and found.dtype == np.float32 else None


def _along_inputs(factor: Array, weight: Floats) -> Floats | None:
    """One value, or (1, C, 1, 1), as it multiplies (out, in, *kernel)."""
    if factor.size == 1:
        return np.asarray(factor.reshape(()), np.float64)
    if factor.ndim != weight.ndim or factor.shape[1] != weight.shape[1] or factor.size != weight.shape[1]:
        return None
    return factor.astype(np.float64)


def _pads(node: ir.Node) -> bool:
    return node.op_type == "Conv" and any(ints_attribute(node, "pads", ()))


def _replace(graph: ir.Graph, node: ir.Node, index: int, array: Array) -> None:
    old = node.inputs[index] if index < len(node.inputs) else None
    name = old.name if old is not None and old.name else f"{node.name}_bias"
    held = add_initializer(graph, f"{PREFIX}{name}", array)
    if index < len(node.inputs):
        node.replace_input_with(index, held)
    else:
        node.resize_inputs(index + 1)
        node.replace_input_with(index, held)
    if old is not None and not old.uses() and old.is_initializer() and old.name:
        del graph.initializers[old.name]
