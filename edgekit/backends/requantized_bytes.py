"""Bytes that an integer operator reads as they are -> the same between pairs, for runtimes that look for one.

    x uint8 -> [Transpose] -> DQ -> Conv
    becomes   x uint8 -> DQ -> Q -> DQ -> [Transpose -> Q -> DQ] -> Conv          "behind"
              x uint8 -> [Transpose] -> DQ -> Q -> DQ -> Conv                     "in place"

All pairs have one scale and one zero point: the same integers, exactly. ONNX Runtime computes the short form
in integers. OpenVINO 2026.4 takes it as a float operator, and the long one, in place, as an int8 kernel
behind one FakeQuantize, as it has behind a float input. TFLite's integer kernels are signed: a QUANTIZE of
the input flips the sign bit, and no Transpose may stand between the two (``litert.units`` reads the input's
scale off the DQ behind it).
"""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from edgekit.ir.graph import free_name, is_onnx


def with_requantized_bytes(model: ir.Model, place: Literal["behind", "in place"]) -> ir.Model:
    """A new model where bytes of an input are read by a DequantizeLinear; else ``model`` itself."""
    if not any(_bytes_of(node) is not None for node in model.graph):
        return model
    result = model.clone()
    for node in tuple(result.graph):
        source = _bytes_of(node)
        if source is not None:
            _rewrite(result.graph, node, source, place)
    return result


def _bytes_of(node: ir.Node) -> ir.Value | None:
    """The uint8 input that a DequantizeLinear reads, directly or transposed."""
    if not is_onnx(node, "DequantizeLinear"):
        return None
    value = node.inputs[0]
    producer = value.producer() if value is not None else None
    if producer is not None and is_onnx(producer, "Transpose"):
        value = producer.inputs[0]
    is_input = value is not None and value.is_graph_input() and value.dtype == ir.DataType.UINT8
    return value if is_input else None


def _rewrite(graph: ir.Graph, last: ir.Node, source: ir.Value, place: Literal["behind", "in place"]) -> None:
    """``last`` is the DequantizeLinear; it stays, so that what reads it keeps the value's name."""
    start = last.inputs[0]
    assert start is not None  # noqa: S101  ``_bytes_of`` has looked
    turn = start.producer() if place == "behind" else None
    value = start if turn is None else source
    value = _added(graph, last, "DequantizeLinear", value)
    value = _added(graph, last, "QuantizeLinear", value)
    if turn is not None:
        value = _added(graph, last, "DequantizeLinear", value)
        value = _turned(graph, last, turn, value)
        value = _added(graph, last, "QuantizeLinear", value)
    last.replace_input_with(0, value)
    if turn is not None and not start.uses():
        graph.remove(turn, safe=True)


def _added(graph: ir.Graph, last: ir.Node, operator: str, value: ir.Value) -> ir.Value:
    """``operator`` of ``value`` with the parameters of ``last``, in front of it."""
    node = ir.node(operator, [value, *last.inputs[1:]], name=_free(graph, f"{last.name}_{operator}"))
    dtype = ir.DataType.UINT8 if operator == "QuantizeLinear" else ir.DataType.FLOAT
    return _inserted(graph, last, node, shape=value.shape, dtype=dtype)


def _turned(graph: ir.Graph, last: ir.Node, turn: ir.Node, value: ir.Value) -> ir.Value:
    """``turn`` of ``value``, which is float."""
    perm = {"perm": list(turn.attributes["perm"].as_ints())}
    node = ir.node("Transpose", [value], attributes=perm, name=_free(graph, f"{last.name}_Transpose"))
    return _inserted(graph, last, node, shape=turn.outputs[0].shape, dtype=ir.DataType.FLOAT)


def _inserted(
    graph: ir.Graph, last: ir.Node, node: ir.Node, *, shape: ir.Shape | None, dtype: ir.DataType
) -> ir.Value:
    result = node.outputs[0]
    result.name = free_name(graph, f"{node.name}_out")
    result.shape, result.type = shape, ir.TensorType(dtype)
    graph.insert_before(last, node)
    return result


def _free(graph: ir.Graph, name: str) -> str:
    """``name``, or the first of ``name_1``, ``name_2`` ... that no node has."""
    taken = {node.name for node in graph}
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
