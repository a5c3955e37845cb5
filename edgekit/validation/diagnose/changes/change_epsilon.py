"""Normalization -> the same with another epsilon.

E1 an operator with the attribute epsilon: BatchNormalization, InstanceNormalization, GroupNormalization,
   LayerNormalization
E2 written out: Sqrt(Add(variance, epsilon))

Tried are the values that frameworks and papers use: 1e-12 (BERT) to 1e-3 (Keras), and further ones by tens.
A folded BatchNormalization has no epsilon any more: what is left of it is a gain for each channel, which
``ChannelStats`` holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, float_attribute, is_onnx
from edgekit.validation.diagnose.changes.change import Change, Segment, number, same_node

KIND = "epsilon"
TRIED = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LARGEST = 0.5  # a constant above is no epsilon
_DEFAULT = 1e-5
_OPERATORS = ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization")


def changes(segment: Segment) -> Iterator[Change]:
    """E1 and E2."""
    for node in segment.model.graph:
        if is_onnx(node, *_OPERATORS):
            now = float_attribute(node, "epsilon", _DEFAULT)
            for value in _others(now):
                clone = segment.model.clone()
                same_node(clone, node).attributes["epsilon"] = ir.AttrFloat32("epsilon", value)
                yield Change(KIND, f"epsilon {value:g} instead of {now:g}", f"{value:g}", clone)
        elif is_onnx(node, "Add"):
            yield from _written_out(segment.model, node)


def _others(now: float) -> list[float]:
    return [value for value in TRIED if abs(value - now) > 0.01 * max(value, now)]


def _written_out(model: ir.Model, node: ir.Node) -> Iterator[Change]:
    if not any(is_onnx(use.node, "Sqrt") for use in node.outputs[0].uses()):
        return
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or array.size != 1 or not 0.0 < float(array.reshape(-1)[0]) <= LARGEST:
            continue
        now = float(array.reshape(-1)[0])
        for other in _others(now):
            clone = model.clone()
            other_array = np.full(array.shape, other, array.dtype)
            same_node(clone, node).replace_input_with(
                index, number(clone.graph, f"{node.name}_epsilon", other_array)
            )
            yield Change(KIND, f"epsilon {other:g} instead of {now:g}", f"{other:g}", clone)
