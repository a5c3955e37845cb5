"""Model -> the same with every type and shape that onnx.shape_inference finds.

onnx works on protobuf messages; large weights go in without their numbers (``ir.light``).

Source: onnx docs/ShapeInference.md, with data propagation, so that shape arithmetic is followed.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgekit.ir.light import without_large_weights


def infer_shapes(model: ir.Model) -> ir.Model:
    """A clone with types and shapes filled in. What cannot be found stays unknown; known types stay."""
    import onnx

    result = model.clone()
    proto: Any = ir.to_proto(without_large_weights(model))
    inferred: ir.Model = ir.from_proto(
        onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    )
    for graph, found in zip(result.graphs(), inferred.graphs(), strict=True):
        _merge(graph, found)
    return result


def _merge(graph: ir.Graph, found: ir.Graph) -> None:
    """Types and shapes of ``found`` for values of the same place in ``graph``."""
    values = {value.name: value for node in found for value in node.outputs if value.name}
    for node in graph:
        for value in node.outputs:
            known = values.get(value.name or "")
            if known is None:
                continue
            value.type = value.type or known.type
            value.shape = _merged_shape(value.shape, known.shape)


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
