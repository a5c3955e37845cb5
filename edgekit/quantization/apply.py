"""Float model x QuantPlan -> QDQ model. Does what the plan says; has no opinions.

    v                 ->  v -> QuantizeLinear -> v_quantized -> DequantizeLinear -> v_dequantized
    weight w          ->  w_quantized (int8) -> DequantizeLinear(axis) -> w_dequantized
                          w_quantized (int4) -> DequantizeLinear(axis, block_size) -> w_dequantized
                          w_quantized (int8 + 128, uint8) where the plan stores it so
    bias b            ->  b_quantized (int32) -> DequantizeLinear(axis=0) -> b_dequantized
    with a correction ->  b + correction is quantized; without a bias, the correction alone

A1: a kernel reads v_dequantized.
A2: v is computed by a kernel: everybody else reads v_dequantized too, because the runtime has only integers.
A3: v is computed in float, or is an input: everybody else goes on reading v.
A4: v is computed by a kernel and is an output of the model: the DequantizeLinear gives the output and takes
    its name; the kernel's own result is called v_float.
A5: integers of a large model lie in a temporary file: it is opened beside the float one, to be judged.

Source: onnx QuantizeLinear-21, DequantizeLinear-21; placement as in onnxruntime docs, "Quantize ONNX models".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.digest import digest
from edgekit.ir.graph import add_initializer, constant, free_name, is_onnx
from edgekit.ir.set_aside import set_aside
from edgekit.ir.verify import QDQ, verify
from edgekit.quantization.arithmetic import quantize, quantize_as, quantize_blocks, unsigned
from edgekit.quantization.bias_place import bias_place
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.quantization.weights import weight_index
from edgekit.spec import Array, QuantParams


def apply(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """The QDQ form of ``model``; ``model`` is untouched. Names of inputs and outputs stay.

    Raises:
        InputError: the plan is for another model.
        BrokenRuleError: the result breaks a rule of the QDQ stage: a bug of edgekit.
    """
    if digest(model) != plan.model_digest:
        raise InputError(
            "the quantization plan is for another model",
            why=f"plan {plan.model_digest[:12]}, model {digest(model)[:12]}",
            remedy="quantize again from this model",
        )
    result = model.clone()
    graph = result.graph
    nodes = {node.name: node for node in graph}
    values = _values(graph)
    made: _Constants = {}
    for operator in plan.operators:
        _quantize_constants(result, operator, [nodes[name] for name in operator.nodes], made)
    made_by_kernel = {operator.output for operator in plan.operators}
    heads = {operator.name for operator in plan.operators}
    for name, params in plan.activations.items():
        _insert_pair(graph, values[name], params, heads=heads, everybody=name in made_by_kernel)
    _drop_unread(graph)
    verify(result, QDQ, after="quantization.apply")
    return result


def output_steps(model: ir.Model, plan: QuantPlan) -> dict[str, float]:
    """One quantization step, in real units, of each output of ``model`` that a kernel writes as integers."""
    written = {operator.output for operator in plan.operators} & plan.activations.keys()
    return {
        value.name: plan.activations[value.name].scale[0]
        for value in model.graph.outputs
        if value.name and value.name in written
    }


def written_output_steps(model: ir.Model) -> dict[str, float]:
    """The same of a model that came quantized: the scale of the DequantizeLinear that makes an output."""
    found = {}
    for value in model.graph.outputs:
        maker = value.producer()
        scale = (
            constant(maker.inputs[1]) if maker is not None and is_onnx(maker, "DequantizeLinear") else None
        )
        if value.name and scale is not None and scale.size == 1:
            found[value.name] = float(scale.reshape(()))
    return found


def _values(graph: ir.Graph) -> Mapping[str, ir.Value]:
    values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    return {value.name: value for value in values if value.name}


def _insert_pair(
    graph: ir.Graph, value: ir.Value, params: QuantParams, *, heads: set[str], everybody: bool
) -> None:
    """QuantizeLinear and DequantizeLinear behind ``value``; cases A1 to A4."""
    name = value.name or ""
    readers = tuple(value.uses())
    scale = add_initializer(graph, f"{name}_scale", np.asarray(params.scale[0], np.float32))
    zero = add_initializer(graph, f"{name}_zero_point", np.asarray(params.zero_point[0], params.dtype))
    to_integer = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}_QuantizeLinear")
    integer = to_integer.outputs[0]
    integer.name, integer.shape = free_name(graph, f"{name}_quantized"), value.shape
    integer.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(params.dtype)))
    to_float = ir.node("DequantizeLinear", [integer, scale, zero], name=f"{name}_DequantizeLinear")
    result = to_float.outputs[0]
    result.name, result.shape, result.type = free_name(graph, f"{name}_dequantized"), value.shape, value.type
    for node, index in readers:
        if everybody or node.name in heads:
            node.replace_input_with(index, result)
    is_output = everybody and value.is_graph_output()
    producer = value.producer()
    if producer is None:
        first = next(iter(graph))
        graph.insert_before(first, [to_integer, to_float])
    else:
        graph.insert_after(producer, [to_integer, to_float])
    if is_output:
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name = free_name(graph, f"{name}_float")
        result.name = name


_Constants = dict[tuple[QuantWeight, tuple[float, ...]], tuple[ir.Value, ir.Value, ir.Value]]
"""Integers, scale and zero point by the float constant that they stand for, how it was quantized, and what
was added to it."""


def _quantize_constants(
    model: ir.Model, operator: QuantOperator, nodes: list[ir.Node], made: _Constants
) -> None:
    weight, bias, node, graph = operator.weight, operator.bias, nodes[0], model.graph
    if weight is not None:
        index = weight_index(node.op_type)
        source = graph.initializers[weight.name]
        node.replace_input_with(index, _dequantized_constant(model, weight, source, node=node, made=made))
    if bias is not None:
        source = _bias_source(graph, bias, len(operator.correction))
        node, index = bias_place(nodes)
        if len(node.inputs) <= index:
            node.resize_inputs(index + 1)
        result = _dequantized_constant(model, bias, source, node=node, made=made, added=operator.correction)
        node.replace_input_with(index, result)


def _bias_source(graph: ir.Graph, bias: QuantWeight, channels: int) -> ir.Value:
    """The float bias; zeros where the plan gives one to an operator that has none."""
    if bias.name not in graph.initializers and channels:
        return add_initializer(graph, bias.name, np.zeros(channels, np.float32))
    return graph.initializers[bias.name]


def _dequantized_constant(
    model: ir.Model,
    planned: QuantWeight,
    source: ir.Value,
    *,
    node: ir.Node,
    made: _Constants,
    added: tuple[float, ...] = (),
) -> ir.Value:
    """The float value that ``node`` reads in place of the initializer, out of integers.

    Nodes that share a weight share its integers, each behind a DequantizeLinear of its own: runtimes fuse
    it into the one operator that reads it.
    """
    params, graph = planned.params, model.graph
    if (planned, added) not in made:
        made[planned, added] = (
            _blocks(graph, planned, source) if planned.block else _integers(model, planned, source, added)
        )
    attributes = {} if params.axis is None else {"axis": params.axis}
    if planned.block:
        attributes["block_size"] = planned.block
    name = free_name(graph, f"{planned.name}_dequantized")
    to_float = ir.node(
        "DequantizeLinear",
        made[planned, added],
        attributes=attributes,
        name=f"{name}_DequantizeLinear",
    )
    result = to_float.outputs[0]
    result.name, result.shape, result.type = name, source.shape, source.type
    graph.insert_before(node, to_float)
    return result


def _integers(
    model: ir.Model, planned: QuantWeight, source: ir.Value, added: tuple[float, ...]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """New initializers: the integers of a constant (A5), their scale and zero point."""
    array = _array(planned, source)
    params, graph = planned.params, model.graph
    if added:
        array = array.astype(np.float64).ravel() + np.asarray(added)
    stored = quantize_as(array, params, planned.rounding) if planned.rounding else quantize(array, params)
    scalar = params.axis is None
    scale_array = np.asarray(params.scale[0] if scalar else params.scale, np.float32)
    zero_array = np.asarray(params.zero_point[0] if scalar else params.zero_point, params.dtype)
    if planned.stored == "uint8":
        stored, zero_array = unsigned(stored), unsigned(zero_array)
    integers = add_initializer(graph, f"{planned.name}_quantized", set_aside(stored, of=model))
    scale = add_initializer(graph, f"{planned.name}_scale", scale_array)
    return integers, scale, add_initializer(graph, f"{planned.name}_zero_point", zero_array)


def _blocks(graph: ir.Graph, planned: QuantWeight, source: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The same in blocks: int4, with scales and zero points of the weight's rank (DequantizeLinear-21)."""
    array = _array(planned, source)
    axis = planned.params.axis or 0
    shape = tuple(size // planned.block if index == axis else size for index, size in enumerate(array.shape))
    scales = np.asarray(planned.params.scale, np.float32).reshape(shape)
    integers = quantize_blocks(array, scales, axis=axis)
    return (
        _int4(graph, f"{planned.name}_quantized", integers),
        add_initializer(graph, f"{planned.name}_scale", scales),
        _int4(graph, f"{planned.name}_zero_point", np.zeros(shape, np.int8)),
    )


def _int4(graph: ir.Graph, name: str, integers: Array) -> ir.Value:
    free = free_name(graph, name)
    tensor = ir.Tensor(integers.astype(ir.DataType.INT4.numpy()), dtype=ir.DataType.INT4, name=free)
    value = ir.Value(
        name=free,
        shape=ir.Shape(integers.shape),
        type=ir.TensorType(ir.DataType.INT4),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _array(planned: QuantWeight, source: ir.Value) -> Array:
    array = constant(source)
    if array is None:
        raise InputError(
            f"{planned.name!r} is not a constant of this model",
            why="the plan quantizes it as a weight",
            remedy="quantize again from this model",
        )
    return array


def _drop_unread(graph: ir.Graph) -> None:
    """Initializers that nobody reads any more: the float weights."""
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
