"""Float operators behind integer ones -> a form in which ONNX Runtime leaves their weights float.

    Conv(DQ(q, s, z), w)   ->   Conv(DQ(q, [s, s, ...], [z, z, ...], axis=1), w)        w: a float constant

ONNX Runtime takes a DequantizeLinear with one scale in front of a Conv, ConvTranspose or Gemm as a wish to
have its constant weight and bias quantized too, the weight with one scale for the whole tensor: an operator
that was kept in float because 8 bits break it would run in integers all the same, and worse. With as many
equal scales as there are channels the numbers are the same, and the rewriting does not apply.

F1: a single channel has no such form: Mul(Sub(Cast(q), z), s) stands for the DequantizeLinear.
F2: a weight that is integer, or no constant, is left alone by ONNX Runtime too.

Source: onnxruntime core/optimizer/qdq_transformer/weight_bias_quantization.cc, 1.20 to 1.31 at least.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, free_name, int_attribute, is_onnx
from edgekit.spec import Array


def with_float_weights(model: ir.Model) -> ir.Model:
    """The protected form; ``model`` itself where nothing needs it."""
    if not any(_is_exposed(node) for node in model.graph):
        return model
    result = model.clone()
    made: dict[tuple[str, int, int], ir.Value] = {}
    for node in tuple(result.graph):
        if not _is_exposed(node):
            continue
        read = node.inputs[0]
        assert read is not None  # noqa: S101  _is_exposed has looked at it
        axis, size = _channels(node)
        key = (read.name or "", axis, size)
        if key not in made:
            made[key] = _protected(result.graph, read, axis=axis, size=size)
        node.replace_input_with(0, made[key])
    for node in tuple(result.graph):
        alone = is_onnx(node, "DequantizeLinear") and not node.outputs[0].uses()
        if alone and not node.outputs[0].is_graph_output():
            result.graph.remove(node, safe=True)
    return result


def _is_exposed(node: ir.Node) -> bool:
    """Whether ONNX Runtime would quantize its weight (F2)."""
    weight = constant(node.inputs[1]) if is_onnx(node, "Conv", "ConvTranspose", "Gemm") else None
    if weight is None or weight.dtype != np.float32:
        return False
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    if maker is None or not is_onnx(maker, "DequantizeLinear"):
        return False
    scale = constant(maker.inputs[1])
    return scale is not None and scale.size == 1


def _channels(node: ir.Node) -> tuple[int, int]:
    """(axis, size) of the input's channels, as the weight says."""
    weight = constant(node.inputs[1])
    assert weight is not None  # noqa: S101  _is_exposed has looked at it
    if node.op_type == "Conv":  # w: (out, in/groups, *kernel)
        return 1, weight.shape[1] * int_attribute(node, "group", 1)
    if node.op_type == "ConvTranspose":  # w: (in, out/groups, *kernel)
        return 1, weight.shape[0]
    size = weight.shape[1 if int_attribute(node, "transB", 0) else 0]
    return 0 if int_attribute(node, "transA", 0) else 1, size


def _protected(graph: ir.Graph, read: ir.Value, *, axis: int, size: int) -> ir.Value:
    """The same numbers as ``read``, made behind its own DequantizeLinear."""
    maker = read.producer()
    assert maker is not None  # noqa: S101  _is_exposed has looked at it
    integer = maker.inputs[0]
    scale, zero = (np.asarray(array).reshape(()) for array in _parameters(maker))
    name = read.name or ""
    if size > 1:
        scales = add_initializer(graph, f"{name}_scales", np.full(size, scale))
        zeros = add_initializer(graph, f"{name}_zero_points", np.full(size, zero))
        nodes = [ir.node("DequantizeLinear", [integer, scales, zeros], attributes={"axis": axis})]
    else:  # F1
        one = add_initializer(graph, f"{name}_step", scale)
        offset = add_initializer(graph, f"{name}_offset", zero.astype(np.float32))
        wide = ir.node("Cast", [integer], attributes={"to": int(ir.DataType.FLOAT)})
        centred = ir.node("Sub", [wide.outputs[0], offset])
        nodes = [wide, centred, ir.node("Mul", [centred.outputs[0], one])]
    last = maker
    for node in nodes:
        node.name = free_name(graph, f"{name}_by_channel")
        node.outputs[0].name = node.name
        node.outputs[0].shape, node.outputs[0].type = read.shape, read.type
        graph.insert_after(last, node)
        last = node
    return last.outputs[0]


def _parameters(maker: ir.Node) -> tuple[Array, Array]:
    scale = constant(maker.inputs[1])
    assert scale is not None and maker.inputs[0] is not None  # noqa: S101, PT018  _is_exposed has looked
    kept = constant(maker.inputs[2]) if len(maker.inputs) > 2 else None
    kind = maker.inputs[0].dtype
    return scale, kept if kept is not None else np.zeros((), kind.numpy() if kind else np.uint8)
