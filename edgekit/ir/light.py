"""Model -> the same without the numbers of its large weights, for tools that work on protobuf messages.

Large initializers become inputs of their type and shape. Types and shapes follow from those alone, and a
message stays far below the 2 GB at which protobuf ends.
"""

from __future__ import annotations

import onnx_ir as ir

SMALL_ELEMENTS = 1024  # shapes, axes and the like keep their values: inference reads them


def without_large_weights(model: ir.Model) -> ir.Model:
    """A clone; weights inside subgraphs and attributes stay."""
    light = model.clone()
    for name, value in tuple(light.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size <= SMALL_ELEMENTS:
            continue
        del light.graph.initializers[name]
        if not value.is_graph_input():
            value.type, value.shape = (
                ir.TensorType(tensor.dtype),
                ir.Shape(tensor.shape),  # type: ignore[arg-type]  # a tensor has numbers alone,
            )
            light.graph.inputs.append(value)
        value.const_value = None
    return light
