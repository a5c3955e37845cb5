"""Model -> the same with every type and shape that onnx.shape_inference finds.

onnx works on protobuf messages; large weights go in without their numbers (``ir.light``), and of the message
that comes back only the types of values are read.

Source: onnx docs/ShapeInference.md, with data propagation, so that shape arithmetic is followed.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgekit.ir.graph import graphs
from edgekit.ir.light import without_large_weights


def infer_shapes(model: ir.Model) -> ir.Model:
    """A clone with types and shapes filled in. What cannot be found stays unknown; known types stay."""
    return fill_in_shapes(model.clone())


def fill_in_shapes(model: ir.Model) -> ir.Model:
    """``infer_shapes`` in place, for a caller who owns ``model``."""
    import onnx

    proto: Any = ir.to_proto(without_large_weights(model))
    inferred: Any = onnx.shape_inference.infer_shapes(
        proto, check_type=False, strict_mode=False, data_prop=True
    )
    for graph, found in zip(graphs(model), _graphs(inferred.graph), strict=True):
        _merge(graph, found)
    return model


def all_sizes_are_numbers(model: ir.Model) -> bool:
    """Whether every value that a node computes has a type and a shape of numbers: nothing is left to find."""
    return all(
        value.type is not None and value.shape is not None and value.shape.is_static()
        for graph in graphs(model)
        for node in graph
        for value in node.outputs
    )


def _graphs(graph: Any) -> list[Any]:
    """The graph and every subgraph, in the order of ``ir.graph.graphs``."""
    found = [graph]
    for each in found:  # grows while it is read
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    found.append(attribute.g)
                found.extend(attribute.graphs)
    return found


def _merge(graph: ir.Graph, found: Any) -> None:
    """Types and shapes of ``found`` for values of the same name in ``graph``."""
    protos = {info.name: info for info in (*found.value_info, *found.output)}
    for node in graph:
        for value in node.outputs:
            proto = protos.get(value.name or "")
            if proto is None or not proto.HasField("type") or _says_the_same(value, proto):
                continue
            known = ir.from_proto(proto)
            value.type = value.type or known.type
            value.shape = _merged_shape(value.shape, known.shape)


def _says_the_same(value: ir.Value, proto: Any) -> bool:
    """Whether ``value`` has its type and the very numbers already: most have, and shapes take time."""
    if value.type is None or value.shape is None or not value.shape.is_static():
        return False
    return [dim.dim_value for dim in proto.type.tensor_type.shape.dim] == list(value.shape)


def _merged_shape(old: ir.Shape | None, new: ir.Shape | None) -> ir.Shape | None:
    """A number beats a name, a name beats nothing; the old name stays where both have one."""
    if old is None or new is None or len(old) != len(new):
        return old if new is None else new
    return ir.Shape(
        [
            other if isinstance(other, int) or (not isinstance(mine, int) and mine.value is None) else mine
            for mine, other in zip(old, new, strict=True)
        ]
    )
