"""Constants with equal content -> one constant.

Exporters that unroll a loop write what they fold once a step: torch 2.13 gives ``nn.RNN`` over 28 rows 28
equal transposed weights.

C1: equal element type, shape and bytes: every reader reads the first one.
C2: smaller than ``SMALLEST_BYTES``: left alone; a scale that two nodes share would say something not meant.
C3: an initializer that is an output of the graph keeps its name: it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.ir.digest import digest_of_tensor
from edgekit.ir.graph import replace_value
from edgekit.passes.base import Pass

SMALLEST_BYTES = 256
LOOKED_AT = 64  # numbers in which trained weights that differ differ


@dataclass(frozen=True)
class MergeConstants(Pass):
    """Keep one of equal constants."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Merge in each graph by itself: a constant of a subgraph stays there."""
        for graph in model.graphs():
            _merge(graph)
        return model


def _merge(graph: ir.Graph) -> None:
    sizes: dict[tuple[object, ...], list[ir.Value]] = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= SMALLEST_BYTES and not value.is_graph_output():
            sizes.setdefault((int(tensor.dtype), tuple(tensor.shape)), []).append(value)
    for alike in sizes.values():
        if len(alike) > 1:  # only what has a twin in size is looked at, and only what begins alike is read
            beginnings: dict[bytes, list[ir.Value]] = {}
            for value in alike:
                beginnings.setdefault(_beginning(value.const_value), []).append(value)
            for candidates in beginnings.values():
                _merge_equal(graph, candidates)


def _beginning(tensor: ir.TensorProtocol | None) -> bytes:
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return b""
    return tensor.numpy().flat[:LOOKED_AT].tobytes()


def _merge_equal(graph: ir.Graph, values: list[ir.Value]) -> None:
    if len(values) == 1:
        return
    first: dict[str, ir.Value] = {}
    for value in values:
        assert value.const_value is not None  # noqa: S101  the caller has just looked
        kept = first.setdefault(digest_of_tensor(value.const_value), value)
        if kept is not value and value.name is not None:
            replace_value(value, kept)
            del graph.initializers[value.name]
