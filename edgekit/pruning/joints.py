"""Float and pruned graph -> the values where one has to give what the other gives: the ends of blocks.

    x + f(x) --activation--> joint

J1: the sum of two computed values, behind its activation where that is all that reads it: what passes a sum
    is all that later blocks see of earlier ones.
J2: of a joint that has lost channels, those that are left count.
J3: a graph without sums has none; its outputs are all there is to compare.

Sources: Li et al., "BRECQ", ICLR 2021, section 3.2: blocks are the units that are worth reconstructing,
layers are too small, and for the whole there are too few samples; Wang et al., "Practical Network
Acceleration with Tiny Sets", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import constant, is_onnx, sole_reader
from edgekit.pruning.dependency import Dependencies

ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Tanh", "Gelu", "Clip", "LayerNormalization")


@dataclass(frozen=True, eq=False)
class Joint:
    """A value of both graphs.

    Attributes:
        name: in both.
        kept: along each axis of the float value the indices that are left; None = all.
    """

    name: str
    kept: tuple[npt.NDArray[np.int64] | None, ...]


def joints(found: Dependencies, pruned: ir.Model, removed: Collection[int]) -> tuple[Joint, ...]:
    """All of them, in the order of the graph (J1, J2)."""
    gone = list(frozenset(removed))
    there = {value.name for node in pruned.graph for value in node.outputs}
    result = []
    for node in found.model.graph:
        value = _end(node)
        if value is None or value.name not in there or value.is_graph_output():
            continue
        axes = found.values.get(value.name or "", ())
        kept = tuple(None if numbers is None else np.flatnonzero(~np.isin(numbers, gone)) for numbers in axes)
        result.append(Joint(value.name or "", kept))
    return tuple(result)


def _end(node: ir.Node) -> ir.Value | None:
    """J1."""
    if not is_onnx(node, "Add") or any(value is None or constant(value) is not None for value in node.inputs):
        return None
    value = node.outputs[0]
    reader = sole_reader(value)
    return reader.outputs[0] if reader is not None and is_onnx(reader, *ACTIVATIONS) else value
