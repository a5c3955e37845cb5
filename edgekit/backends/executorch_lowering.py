"""Float or QDQ graph -> the graph that ``executorch_program`` gives to PyTorch: what XNNPACK matches.

    Dequantize(int32 bias)      -> float32 constant    XNNPACK quantizes it again with the same two scales
    Dequantize(int8 weight)     -> zero points as int64, which PyTorch's operator wants
    MatMul(x, W: (in, out))     -> Linear(x, W^T: (out, in)), with the constant vector that is added behind it

    Dequantize read by several  -> one for each reader

The integers and the scales are the plan's own: nothing is calibrated or rounded a second time. A float32
holds a bias of less than 2^24 steps exactly (L1); a larger one is refused. The partitioner takes an operator
with what dequantizes its inputs: shared by two, that would make parts that wait for each other (L2), as
PyTorch's own quantization knows (torchao, DuplicateDQPass).

Source: executorch/backends/xnnpack/partition/config/gemm_configs.py and operators/quant_params.py (1.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx, sole_reader

if TYPE_CHECKING:
    from edgekit.spec import Array

LINEAR = "Linear"
"""Operator type of a dense layer over the last axis; it exists between here and PyTorch only."""
_EXACT = 2**24  # integers up to here are float32 numbers


class LargeBiasError(Exception):
    """L1; the text names the constant."""


def lowered(model: ir.Model) -> ir.Model:
    """A copy of ``model`` in the form above.

    Raises:
        LargeBiasError: L1.
    """
    result = model.clone()
    for node in list(result.graph):
        if is_onnx(node, "DequantizeLinear"):
            _dequantize(result.graph, node)
    for node in list(result.graph):
        if is_onnx(node, "MatMul"):
            _dense(result.graph, node)
    for node in list(result.graph):
        if is_onnx(node, "DequantizeLinear") and constant(node.inputs[0]) is None:
            _one_for_each_reader(result.graph, node)
    return result


def _dequantize(graph: ir.Graph, node: ir.Node) -> None:
    weight, scale = constant(node.inputs[0]), constant(node.inputs[1])
    if weight is None or scale is None:
        return
    if weight.dtype == np.int32:
        if np.abs(weight.astype(np.int64)).max(initial=0) >= _EXACT:
            raise LargeBiasError(
                f"bias {node.inputs[0].name if node.inputs[0] else ''} has 2^24 steps or more"
            )
        real = (weight.astype(np.float64) * scale.astype(np.float64)).astype(np.float32)
        output = node.outputs[0]
        ir.convenience.replace_all_uses_with(output, _new(graph, f"{output.name}_real", real))
        graph.remove(node, safe=True)
        return
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scale.ndim:
        zeros = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
        name = f"{node.outputs[0].name}_zeros"
        inputs = [node.inputs[0], node.inputs[1], _new(graph, name, zeros)]
        _replace(graph, node, ir.node("DequantizeLinear", inputs, attributes={"axis": _axis(node)}))


def _one_for_each_reader(graph: ir.Graph, node: ir.Node) -> None:
    """Copies of a DequantizeLinear, so that no two operators share one (L2)."""
    output = node.outputs[0]
    for number, (reader, index) in enumerate(list(output.uses())[1:]):
        attributes = {"axis": _axis(node)}
        copy = ir.node(
            "DequantizeLinear", list(node.inputs), attributes=attributes, name=f"{node.name}_{number}"
        )
        result = copy.outputs[0]
        result.name, result.shape, result.type = f"{output.name}_{number}_again", output.shape, output.type
        graph.insert_after(node, copy)
        reader.replace_input_with(index, result)


def _dense(graph: ir.Graph, node: ir.Node) -> None:
    """MatMul with a constant matrix, behind a DequantizeLinear or not."""
    source, matrix = node.inputs
    if source is None or matrix is None:
        return
    producer = matrix.producer()
    held = matrix if producer is None else producer.inputs[0]
    array = constant(held)
    if array is None or array.ndim != 2:
        return
    if producer is None:
        weight = _new(graph, f"{matrix.name}_rows", np.ascontiguousarray(array.T))
    elif is_onnx(producer, "DequantizeLinear"):
        rows = _new(graph, f"{matrix.name}_rows", np.ascontiguousarray(array.T))
        axis = 1 - _axis(producer) % 2
        again = ir.node("DequantizeLinear", [rows, *producer.inputs[1:]], attributes={"axis": axis})
        again.outputs[0].name = f"{matrix.name}_of_rows"
        graph.insert_before(node, again)
        weight = again.outputs[0]
    else:
        return
    bias, last = _bias_behind(node, array.shape[1])
    inputs = [source, weight] if bias is None else [source, weight, bias]
    _replace(graph, last, ir.node(LINEAR, inputs))
    if last is not node:
        graph.remove(node, safe=True)
    if producer is not None and not producer.outputs[0].uses():
        graph.remove(producer, safe=True)


def _bias_behind(node: ir.Node, width: int) -> tuple[ir.Value | None, ir.Node]:
    """The constant vector that alone is added to the product, and the node that is then done."""
    product = node.outputs[0]
    reader = sole_reader(product)
    if reader is None or not is_onnx(reader, "Add"):
        return None, node
    other = reader.inputs[1] if reader.inputs[0] is product else reader.inputs[0]
    bias = constant(other)
    if bias is None or bias.shape != (width,):
        return None, node
    return other, reader


def _axis(node: ir.Node) -> int:
    return int_attribute(node, "axis", 1)


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """``new`` in the place of ``old``, under its names."""
    new.name, output, result = old.name, old.outputs[0], new.outputs[0]
    result.shape, result.type = output.shape, output.type
    result.name, output.name = output.name, f"{output.name}_replaced"
    graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def _new(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A constant of ``graph``; the name is kept unique by its caller's own."""
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=name),
    )
    graph.initializers[name] = value
    return value
