"""Float32 model -> float16 inside, float32 inputs and outputs under their own names.

    x (f32) -> Cast -> x_float16 -> ... float16 weights and values ... -> y_float16 -> Cast -> y (f32)

H1: every float32 constant and value between nodes becomes float16, rounded to nearest even.
H2: a node stays in float32, between two Casts, if it is in FLOAT32_OPERATORS, of another domain, holds
    subgraphs, if its constants or, where ranges are given, its values leave what float16 can hold
    (``float16_range``), or if the caller names it, because it adds up or rounds too coarsely
    (``float16_error``). Masks of attention are brought inside float16 before (``float16_masks``).
H3: an input that ONNX types as float32 whatever the data is (the scales of Resize) stays float32.
H4: Cast and ConstantOfShape that produce float32 produce float16.
H5: float64 and integers are left alone.

Source: IEEE 754 binary16; ONNX operator type constraints at opset 21; the block list follows
onnxconverter-common's float16 converter (DEFAULT_OP_BLOCK_LIST).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, free_name, has_subgraphs, is_float32, is_onnx
from edgekit.ir.verify import FLOAT, verify
from edgekit.quantization.float16_masks import MASKED, saturate_masks
from edgekit.quantization.float16_range import out_of_range
from edgekit.spec import Range, Rejection

FLOAT32_OPERATORS: Mapping[str, str] = {
    "CumSum": "a long sum loses its small terms",
    "EyeLike": "its type is an attribute",
    "Multinomial": "probabilities below 6e-8 vanish",
    "NonMaxSuppression": "ONNX types it as float32 only",
    "ReduceL2": "squares of values above 255 overflow",
    "ReduceLogSumExp": "exponentials of values above 11 overflow",
    "RandomNormal": "its type is an attribute",
    "RandomNormalLike": "its type is an attribute",
    "RandomUniform": "its type is an attribute",
    "RandomUniformLike": "its type is an attribute",
    "Range": "counts above 2048 are not exact",
    "ReduceSumSquare": "squares of values above 255 overflow",
    "RoiAlign": "coordinates above 2048 are not exact",
    "QuantizeLinear": "scales are chosen for float32",
    "DequantizeLinear": "scales are chosen for float32",
}
IN_FLOAT32 = "computed in float32 between two casts"
NOTHING: Mapping[str, Rejection] = {}
FLOAT32_INPUTS: Mapping[tuple[str, int], str] = {
    ("Resize", 1): "roi: typed apart from the data",
    ("Resize", 2): "scales: float32 by definition",
}


@dataclass
class _Converter:
    """The state of one conversion: which value has which Cast already."""

    graph: ir.Graph
    casts: dict[tuple[str, ir.DataType], ir.Value] = field(default_factory=dict)

    def as_type(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """``value`` in ``kind``: itself, a converted constant, or the output of a Cast behind it."""
        if value.dtype == kind:
            return value
        key = (value.name or "", kind)
        if key not in self.casts:
            array = constant(value)
            self.casts[key] = (
                self._cast(value, kind)
                if array is None
                else add_initializer(self.graph, f"{value.name}_float16", array.astype(np.float16))
            )
        return self.casts[key]

    def _cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        node = _cast_node(value, kind, name=free_name(self.graph, f"{value.name}_{_suffix(kind)}"))
        producer = value.producer()
        if producer is None or producer.graph is not self.graph:
            self.graph.insert_before(next(iter(self.graph)), node)
        else:
            self.graph.insert_after(producer, node)
        return node.outputs[0]


def to_float16(
    model: ir.Model,
    *,
    ranges: Mapping[str, Range] | None = None,
    keep: Mapping[str, Rejection] = NOTHING,
) -> ir.Model:
    """The float16 form; ``model`` is untouched.

    Args:
        model: canonical float32 model.
        ranges: by value name; nodes whose values come near 65504 stay float32 (H2). Without ranges only
            constants are looked at.
        keep: names of nodes that stay float32 beside those (``float16_error.estimated``).

    Raises:
        BrokenRuleError: the result is not well-formed: a bug of edgekit.
    """
    result = model.clone()
    graph = result.graph
    _, ranges = saturate_masks(result, ranges)
    stay = {id(node) for node in graph if node.name in keep or float32_reason(node, ranges=ranges)}
    nodes = tuple(graph)
    was_float = {id(value) for node in nodes for value in node.outputs if is_float32(value)}
    for node in nodes:
        if id(node) not in stay:
            _retype(node)
    converter = _Converter(graph)
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value is None or not (is_float32(value) or id(value) in was_float):
                continue
            wide = id(node) in stay or (node.op_type, index) in FLOAT32_INPUTS
            kind = ir.DataType.FLOAT if wide else ir.DataType.FLOAT16
            node.replace_input_with(index, converter.as_type(value, kind))
        if has_subgraphs(node):
            _feed_subgraphs(node, converter, was_float)
    _widen_outputs(graph, was_float)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    verify(result, FLOAT, after="to_float16")
    return result


def left_float(
    model: ir.Model,
    *,
    ranges: Mapping[str, Range] | None = None,
    keep: Mapping[str, Rejection] = NOTHING,
) -> tuple[Rejection, ...]:
    """The nodes that ``to_float16`` leaves in float32, each with the reason (H2)."""
    form = model.clone()
    _, ranges = saturate_masks(form, ranges)
    found = []
    for node in form.graph:
        name, reason = node.name or node.op_type, float32_reason(node, ranges=ranges)
        if reason:
            found.append(Rejection(name, "float16", reason, IN_FLOAT32))
        elif name in keep:
            found.append(keep[name])
    return tuple(found)


def float16_notes(model: ir.Model, *, ranges: Mapping[str, Range] | None = None) -> tuple[str, ...]:
    """What ``to_float16`` changes about the numbers, besides rounding them."""
    names, _ = saturate_masks(model.clone(), ranges)
    if not names:
        return ()
    constants = f"{len(names)} constants of masks are" if len(names) > 1 else f"mask constant {names[0]!r} is"
    return (f"{constants} raised to {MASKED:g}: the softmax behind is the same, and float16 can hold it",)


def float32_reason(node: ir.Node, *, ranges: Mapping[str, Range] | None = None) -> str:
    """Why ``node`` stays in float32 (H2); "" where it does not."""
    if not is_onnx(node, node.op_type):
        return f"operator of the domain {node.domain}"
    if has_subgraphs(node):
        return "control flow"
    if node.op_type in FLOAT32_OPERATORS:
        return FLOAT32_OPERATORS[node.op_type]
    return out_of_range(node, ranges)


def _retype(node: ir.Node) -> None:
    """H1 and H4 for one node."""
    if is_onnx(node, "Cast") and node.attributes["to"].as_int() == ir.DataType.FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))
    if is_onnx(node, "ConstantOfShape"):
        value = node.attributes.get("value")
        filling = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
        if filling.dtype == np.float32:
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(filling.astype(np.float16)))
    for result in node.outputs:
        if is_float32(result):
            result.type = ir.TensorType(ir.DataType.FLOAT16)


def _feed_subgraphs(node: ir.Node, converter: _Converter, was_float: set[int]) -> None:
    """Values that a subgraph takes from outside reach it as float32."""
    inner = [
        item
        for item in ir.traversal.RecursiveGraphIterator(converter.graph)
        if item.graph is not converter.graph
    ]
    for item in inner:
        for index, value in enumerate(item.inputs):
            if value is not None and id(value) in was_float and value.dtype == ir.DataType.FLOAT16:
                item.replace_input_with(index, converter.as_type(value, ir.DataType.FLOAT))


def _widen_outputs(graph: ir.Graph, was_float: set[int]) -> None:
    for index, value in enumerate(tuple(graph.outputs)):
        producer = value.producer()
        if id(value) not in was_float or value.dtype != ir.DataType.FLOAT16 or producer is None:
            continue
        name = value.name or ""
        node = _cast_node(value, ir.DataType.FLOAT, name=free_name(graph, f"{name}_output"))
        graph.append(node)
        graph.outputs[index] = node.outputs[0]
        value.name = free_name(graph, f"{name}_float16")
        node.outputs[0].name = name


def _cast_node(value: ir.Value, kind: ir.DataType, *, name: str) -> ir.Node:
    node = ir.node("Cast", [value], attributes={"to": int(kind)}, name=f"{name}_Cast")
    result = node.outputs[0]
    result.name, result.shape, result.type = name, value.shape, ir.TensorType(kind)
    return node


def _suffix(kind: ir.DataType) -> str:
    return "float16" if kind == ir.DataType.FLOAT16 else "float32"
