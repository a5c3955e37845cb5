"""Integer weights of a small model -> a form that OpenVINO turns into floats while it compiles.

    DQ(w, s)            ->  Mul(Cast(Cast(w, int32), float), s')
    DQ(w, s) in blocks  ->  Reshape(Mul(Reshape(Cast(Cast(w, int32), float)), s'))       w: int4

The numbers are the same: integers of 8 bits are exact in float32, and DequantizeLinear multiplies once too.

F1 OpenVINO keeps Constant -> Convert -> Multiply in front of a product: they are compressed weights for it,
   which a kernel of its own reads. By way of int32 it is a chain of constants like any other, and is folded.
F2 a zero point that is not 0 is left as it is: no weight of ours has one.

Source: measured on OpenVINO 2026.4 (tests/parity/test_small_weights.py); onnx DequantizeLinear-21.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, free_name, int_attribute, is_onnx

_INT32, _FLOAT = int(ir.DataType.INT32), int(ir.DataType.FLOAT)


def with_foldable_weights(model: ir.Model) -> ir.Model:
    """``model`` with its dequantized constants written out; ``model`` is untouched."""
    result = model.clone()
    graph = result.graph
    for node in tuple(graph):
        stored, scale = _constants(node)
        if stored is not None and scale is not None:
            _write_out(graph, node, stored, scale)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    return result


def _constants(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """Integers and scales of a DequantizeLinear that reads constants and has no zero point (F2)."""
    if not is_onnx(node, "DequantizeLinear"):
        return None, None
    stored, scale = node.inputs[:2]
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if constant(stored) is None or constant(scale) is None or (zero is not None and np.any(zero)):
        return None, None
    return stored, scale


def _write_out(graph: ir.Graph, node: ir.Node, stored: ir.Value, scale: ir.Value) -> None:
    shape = [int(size) for size in np.shape(np.asarray(constant(stored)))]
    steps = np.asarray(constant(scale), np.float32)
    axis, block = int_attribute(node, "axis", 1), int_attribute(node, "block_size", 0)
    name = node.outputs[0].name or ""

    def put(operator: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        made = ir.node(operator, inputs, attributes=attributes, name=free_name(graph, f"{name}_{operator}"))
        made.outputs[0].name = free_name(graph, f"{name}_{operator}_result")
        graph.insert_before(node, made)
        return made.outputs[0]

    def sizes(of: list[int]) -> ir.Value:
        return add_initializer(graph, f"{name}_shape", np.asarray(of, np.int64))

    value = put("Cast", [put("Cast", [stored], to=_INT32)], to=_FLOAT)
    if block:
        axis %= len(shape)
        split = [*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :]]
        steps = np.expand_dims(steps, axis + 1)
        value = put("Reshape", [value, sizes(split)])
    elif steps.ndim:
        steps = steps.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))])
    value = put("Mul", [value, add_initializer(graph, f"{name}_steps", steps)])
    if block:
        value = put("Reshape", [value, sizes(shape)])
    old = node.outputs[0]
    value.shape, value.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
