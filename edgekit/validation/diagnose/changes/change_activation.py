"""Activation -> nothing, or a neighbour of it.

A1 left out: its reader reads its input
A2 Clip(0, m) as Relu: the upper bound is lost. Relu as Clip(0, 6): it was invented
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import bypass, is_onnx
from edgekit.passes.fuse_activation import clip_bounds
from edgekit.validation.diagnose.changes.change import Change, Segment, number, same_node

KIND = "activation"
ACTIVATIONS = frozenset(
    (
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"),
        *("Gelu", "Softplus", "Mish"),
    )
)


def changes(segment: Segment) -> Iterator[Change]:
    """A1 and A2."""
    for node in segment.model.graph:
        if not is_onnx(node, *ACTIVATIONS):
            continue
        clone = segment.model.clone()
        if bypass(same_node(clone, node)):
            yield Change(KIND, f"without the {node.op_type}", "", clone)
        if is_onnx(node, "Clip") and clip_bounds(node)[0] == 0.0:
            yield _relu(segment.model, node)
        if is_onnx(node, "Relu"):
            yield _relu6(segment.model, node)


def _relu(model: ir.Model, node: ir.Node) -> Change:
    clone = model.clone()
    same = same_node(clone, node)
    same.op_type = "Relu"
    same.resize_inputs(1)
    return Change(KIND, "Relu instead of Clip", "Relu", clone)


def _relu6(model: ir.Model, node: ir.Node) -> Change:
    clone = model.clone()
    same = same_node(clone, node)
    same.op_type = "Clip"
    same.resize_inputs(3)
    for index, bound in ((1, 0.0), (2, 6.0)):
        same.replace_input_with(
            index, number(clone.graph, f"{node.name}_{index}", np.array(bound, np.float32))
        )
    return Change(KIND, "Relu6 instead of Relu", "Relu6", clone)
