"""Float16 model -> its float32 form, and float32 constants that are float16 numbers -> float16 in the file.

    W f16 -> Conv -> y f16         W f16 -> Cast -> Conv -> y f32         both become
    W f16 (constant) -> DEQUANTIZE -> CONV_2D -> y f32

A CPU computes in float32: XNNPACK unpacks such weights once, when the file is loaded, the builtin DEQUANTIZE
at its first run. So half a file is saved and no time is lost. Values between operators keep float32: what the
float16 graph would round between two operators is not rounded, and nothing overflows at 65504.

H1 a value, constant or attribute of type float16 becomes float32; each float16 number is a float32 number
   A Cast that so becomes nothing is passed by
H2 a float32 constant of which every element is a float16 number is stored as float16, if it is so large that
   the DEQUANTIZE costs less room than it saves: nothing is lost

Source: tflite/kernels/dequantize.cc (kTfLiteFloat16, constant inputs); quasi-static tensors of the XNNPACK
delegate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.spec import Array

SMALLEST = 256
"""Elements of a constant that is worth a DEQUANTIZE: 512 bytes saved; table and operator take about 200."""

_TYPE_ATTRIBUTES = {
    "Cast": "to",
    "EyeLike": "dtype",
    "RandomNormalLike": "dtype",
    "RandomUniformLike": "dtype",
}


def has_half(model: ir.Model) -> bool:
    """Whether anything in ``model`` is float16."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    values += [out for node in graph.all_nodes() for out in node.outputs]
    return any(value.dtype == ir.DataType.FLOAT16 for value in values)


def widened(model: ir.Model) -> ir.Model:
    """H1. A clone; ``model`` is untouched."""
    model = model.clone()
    graphs = {id(model.graph): model.graph}
    for node in model.graph.all_nodes():
        if node.graph is not None and isinstance(node.graph, ir.Graph):
            graphs[id(node.graph)] = node.graph
        _widen_attributes(node)
        for value in node.outputs:
            _widen(value)
    for graph in graphs.values():
        for value in (*graph.inputs, *graph.initializers.values()):
            _widen(value)
    for node in tuple(model.graph.all_nodes()):
        _pass_by(node)
    return model


def _pass_by(node: ir.Node) -> None:
    """Readers of a Cast from float32 to float32 read what it reads."""
    if node.op_type != "Cast" or node.inputs[0] is None or node.outputs[0].is_graph_output():
        return
    if node.inputs[0].dtype == node.outputs[0].dtype == ir.DataType.FLOAT:
        node.outputs[0].replace_all_uses_with(node.inputs[0])


def _widen(value: ir.Value) -> None:
    if value.dtype != ir.DataType.FLOAT16:
        return
    value.type = ir.TensorType(ir.DataType.FLOAT)
    if value.const_value is not None:
        value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)


def _widen_attributes(node: ir.Node) -> None:
    for name, attribute in tuple(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype == ir.DataType.FLOAT16:
            wide = attribute.value.numpy().astype(np.float32)
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(wide))
        elif _TYPE_ATTRIBUTES.get(node.op_type) == name and attribute.value == ir.DataType.FLOAT16:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))


def with_half_constants(graph: Graph) -> Graph:
    """H2."""
    tensors = list(graph.tensors)
    first: list[Operator] = []
    instead: dict[int, int] = {}
    for index, tensor in enumerate(graph.tensors):
        stored = _as_half(tensor)
        if stored is None or index in graph.outputs:
            continue
        instead[index] = len(tensors)
        tensors[index] = replace(tensor, dtype="float16", data=stored)
        tensors.append(Tensor(f"{tensor.name}/float32", "float32", tensor.shape))
        first.append(Operator("DEQUANTIZE", (index,), (instead[index],)))
    operators = [
        replace(op, inputs=tuple(instead.get(index, index) for index in op.inputs)) for op in graph.operators
    ]
    return replace(graph, tensors=tuple(tensors), operators=(*first, *operators))


def _as_half(tensor: Tensor) -> Array | None:
    data = tensor.data
    if data is None or data.dtype != np.float32 or data.size < SMALLEST:
        return None
    with np.errstate(over="ignore"):
        half: Array = data.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), data) else None
