"""Graph with shapes -> what each operator costs: multiply-accumulates, parameters, bytes of its outputs.

The batch and every other open size count as 1 (``with_open_sizes``); the body of an If, Loop or Scan counts
once. What a MAC is, and which operators have any, is stated in ``ir.macs``.

Parameters are the elements of constant float tensors of rank 1 and more that an operator reads, and of
integer tensors that it reads as weights (through DequantizeLinear, or as the weight of an integer operator).
Scales, zero points, shapes, axes, indices and scalars are none. A constant that several operators read is
counted with the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from edgekit.ir.contents import LayerCost, Step, peak_bytes
from edgekit.ir.graph import FLOAT_TYPES, constant, is_onnx, shape_of, walk
from edgekit.ir.infer import infer_shapes
from edgekit.ir.io import dims
from edgekit.ir.macs import elements, macs

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_REARRANGING = ("Cast", "Transpose", "Reshape", "Flatten", "Unsqueeze", "Squeeze", "Identity")
# operators whose constant float inputs are settings (scales, thresholds, limits), not learned
_SETTINGS_ONLY = ("Resize", "Upsample", "NonMaxSuppression", "Clip", "Pad", "Range", "CenterCropPad")
# integer operator -> the inputs that are weights or bias; the other constants are scales and zero points
INTEGER_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QGemm": (3, 6),
    "QAttention": (1, 2),
    "DynamicQuantizeMatMul": (1, 4),
    "MatMulIntegerToFloat": (1, 6),
    "MatMulNBits": (1,),
}


def with_open_sizes(model: ir.Model, *, size: int = 1) -> ir.Model:
    """A clone whose inputs have ``size`` where their shape is open, with the shapes that follow from it."""
    clone = model.clone()
    for value in clone.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([dim if isinstance(dim, int) else size for dim in value.shape])
    for graph in clone.graphs():
        for value in (*graph.outputs, *(output for node in graph for output in node.outputs)):
            # a name such as "seq + 1" says nothing once sizes are bound: inference finds the number
            if None in (shape_of(value) or ()):
                value.shape = None
    return infer_shapes(clone)


def with_shapes_of(model: ir.Model, other: ir.Model) -> ir.Model:
    """A clone of ``model`` with the shapes that ``other`` knows of values of the same name."""
    known = {
        value.name: value
        for graph in other.graphs()
        for node in graph
        for value in node.outputs
        if elements(value) is not None
    }
    clone = model.clone()
    for graph in clone.graphs():
        for node in graph:
            for value in node.outputs:
                if elements(value) is None and value.name in known:
                    value.shape = known[value.name].shape
                    value.type = value.type or known[value.name].type
    return clone


def layers(model: ir.Model) -> tuple[LayerCost, ...]:
    """The cost of every operator of ``model``, in its order; Constant, Q and DQ are no operators here.

    ``model`` has its functions inlined and its shapes known (``with_open_sizes``); it is not changed.
    """
    counted: set[int] = set()
    found = []
    for node in walk(model):
        if is_onnx(node, "Constant", *_QUANTIZING):
            continue
        fresh = {id(each): each for each in parameters_of(node) if id(each) not in counted}
        counted.update(fresh)
        tensors = [each.const_value for each in fresh.values() if each.const_value is not None]
        found.append(_layer(node, tensors))
    return tuple(found)


def inference_macs(model: ir.Model) -> int | None:
    """Multiply-accumulates of one inference, open sizes as 1; None where a node's are not known."""
    return _sum(macs(node) for node in with_open_sizes(model).graph)


def _layer(node: ir.Node, tensors: list[ir.TensorProtocol]) -> LayerCost:
    outputs = [output for output in node.outputs if output.name]
    shape = outputs[0].shape if outputs else None
    return LayerCost(
        name=node.name or (str(outputs[0].name) if outputs else node.op_type),
        operator=node.op_type,
        macs=macs(node),
        parameters=sum(int(tensor.size) for tensor in tensors),
        parameter_bytes=sum(int(tensor.nbytes) for tensor in tensors),
        output=None if shape is None else dims(shape),
        output_bytes=_sum(bytes_of(output) for output in outputs),
    )


def bytes_of(value: ir.Value) -> int | None:
    """Size of a tensor in memory, or None where a size or its type is unknown."""
    count = elements(value)
    if count is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return None
    return int(count * value.dtype.itemsize)


def peak_activation_bytes(model: ir.Model) -> int | None:
    """Most bytes of activations alive at once, in the graph's own order; None where a size is unknown."""
    graph = model.graph
    nodes = [node for node in graph if not is_onnx(node, "Constant")]
    made = [output for node in nodes for output in node.outputs if output.name]
    sizes = {id(value): bytes_of(value) for value in (*graph.inputs, *made) if constant(value) is None}
    steps: list[Step] = [
        ([id(value) for value in node.inputs if value is not None], [id(value) for value in node.outputs])
        for node in nodes
    ]
    given = [id(value) for value in graph.inputs if value.name not in graph.initializers]
    return peak_bytes(steps, sizes, given=given, kept=[id(value) for value in graph.outputs])


def parameters_of(node: ir.Node) -> tuple[ir.Value, ...]:
    """The constants that ``node`` reads as parameters."""
    if is_onnx(node, *_SETTINGS_ONLY, *_REARRANGING, *_QUANTIZING):
        return ()
    chosen = INTEGER_WEIGHTS.get(node.op_type)
    if chosen is not None:
        roots = [root_of(node.inputs[index]) for index in chosen if index < len(node.inputs)]
        return tuple(root for root in roots if root is not None)
    return tuple(root for value in node.inputs if (root := _float_parameter(value)) is not None)


def _float_parameter(value: ir.Value | None) -> ir.Value | None:
    root = root_of(value)
    if root is None or not root.shape:  # a scalar is a setting: an epsilon, an exponent, a limit
        return None
    return root if root.dtype in FLOAT_TYPES or dequantize_of(value) is not None else None


def root_of(value: ir.Value | None) -> ir.Value | None:
    """The constant that ``value`` is, or is a rearranged or (de)quantized form of; None for an activation."""
    while value is not None:
        if value.const_value is not None and not value.is_graph_input():
            return value
        node = value.producer()
        if node is None or not is_onnx(node, *_QUANTIZING, *_REARRANGING):
            return None
        value = node.inputs[0] if node.inputs else None
    return None


def dequantize_of(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that makes ``value``, possibly rearranged after it."""
    while value is not None:
        node = value.producer()
        if node is None or is_onnx(node, "DequantizeLinear"):
            return node
        if not is_onnx(node, *_REARRANGING):
            return None
        value = node.inputs[0] if node.inputs else None
    return None


def _sum(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)
