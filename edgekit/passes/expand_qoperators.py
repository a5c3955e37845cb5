"""Operators on integers -> DequantizeLinear, the float operator, QuantizeLinear.

    QLinearConv(x, sx, zx, w, sw, zw, sy, zy, b)
        ->  Q(Conv(DQ(x, sx, zx), DQ(w, sw, zw), DQ(b, sx * sw, 0)), sy, zy)

Scales and zero points are the model's own values; x and y stay integers between Q and DQ. A bias has no scale
in the operator form: by definition it is in steps of sx * sw.

C1 QLinearConv, QLinearMatMul; of com.microsoft QGemm and QLinear- Add, Mul, Sigmoid, LeakyRelu, AveragePool,
   GlobalAveragePool, Concat, Softmax, ReduceMean, Where.
C2 QuantizeLinear and DequantizeLinear of com.microsoft are those of the standard.
C3 operators that only move or choose elements (MaxPool, Reshape, Transpose ...) and work on integers directly
   -> the same on reals between DQ and Q, with the scale of their input: that changes no value.
C4 DynamicQuantizeLinear, ConvInteger, MatMulInteger stay: their scales are made anew in every inference, so
   there is nothing to keep, and a graph with fixed scales would compute something else.
C5 other integer operators of com.microsoft -> refused by name.

Source: onnx QLinearConv-10, QLinearMatMul-21; onnxruntime docs/ContribOperators.md; which operators work on
integers directly: onnxruntime/python/tools/quantization/registry.py (QLinearOpsRegistry).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir.graph import (
    add_initializer,
    constant,
    float_attribute,
    free_name,
    int_attribute,
    ints_attribute,
    is_onnx,
    rank,
    walk,
)
from edgekit.passes.base import Pass

MICROSOFT = "com.microsoft"
_AGAIN = "quantize the float model again in QDQ form (onnxruntime: quant_format=QuantFormat.QDQ)"
_REFUSED = frozenset(
    {
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "MulInteger",
        "NhwcMaxPool",
        "QAttention",
        "QEmbedLayerNormalization",
        "QMoE",
        "QOrderedAttention",
        "QOrderedGelu",
        "QOrderedLayerNormalization",
        "QOrderedLongformerAttention",
        "QOrderedMatMul",
        "QuantizeWithOrder",
        "DequantizeWithOrder",
        "ReduceSumInteger",
    }
)
_MOVING = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "MaxPool",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
_CHOOSING = frozenset({"ArgMax", "ArgMin"})
_BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})

Params = tuple[ir.Value, ir.Value]
"""Scale and zero point of a tensor, as values of the graph."""


@dataclass(frozen=True)
class ExpandQOperators(Pass):
    """Write integer operators as float operators between DequantizeLinear and QuantizeLinear."""

    requires: ClassVar[frozenset[str]] = frozenset({"opset-canonical", "constants-lifted"})
    establishes: ClassVar[frozenset[str]] = frozenset({"qoperators-expanded"})

    def apply(self, model: ir.Model) -> ir.Model:
        """C5 and C2 first, then C1 in order of computation, then C3.

        Raises:
            ModelFileError: C5, or a scale that is not a constant.
        """
        for node in walk(model):
            if node.domain == MICROSOFT and node.op_type in _REFUSED:
                raise _refusal(node, f"{node.op_type} computes on integers in a form of its own")
            if node.domain == MICROSOFT and node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
                node.domain = ""
        for node in tuple(walk(model)):
            expand = _EXPANSIONS.get((node.domain, node.op_type))
            if expand is not None:
                _Expansion(node).run(expand)
        _lift_movers(model)
        return model


class _Expansion:
    """One node being rewritten."""

    def __init__(self, node: ir.Node) -> None:
        graph = node.graph
        if not isinstance(graph, ir.Graph):  # functions are inlined before this pass
            raise _refusal(node, "it stands outside of a graph")
        self.node = node
        self.graph: ir.Graph = graph

    def input(self, index: int) -> ir.Value | None:
        """Input ``index``, None where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def need(self, index: int) -> ir.Value:
        """Input ``index``, which must be there."""
        value = self.input(index)
        if value is None:
            raise _refusal(self.node, f"its input {index} is absent")
        return value

    def params(self, index: int) -> Params:
        """Scale and zero point at inputs ``index`` and ``index + 1``."""
        scale, zero = self.need(index), self.input(index + 1)
        array = constant(scale)
        if array is None or (zero is not None and constant(zero) is None):
            raise _refusal(self.node, "its scale or zero point is computed, not a constant")
        if zero is None:
            zero = self.constant("zero_point", np.zeros(array.shape, np.uint8))
        return self._flat(scale), self._flat(zero)

    def _flat(self, value: ir.Value) -> ir.Value:
        """Scalar for one element, a vector for more: what Q and DQ take."""
        array = np.asarray(constant(value))
        shape = () if array.size == 1 else (array.size,)
        return value if array.shape == shape else self.constant(value.name or "", array.reshape(shape))

    def constant(self, name: str, array: Any) -> ir.Value:
        """A new initializer of the graph."""
        return add_initializer(self.graph, name or f"{self.node.name}_constant", np.asarray(array))

    def insert(self, op: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        """A new node before this one; its output gets a name out of this node's output."""
        made = ir.node(op, list(inputs), attributes={k: v for k, v in attributes.items() if v is not None})
        result = self.node.outputs[0].name or self.node.name or op
        made.outputs[0].name = free_name(self.graph, f"{result}_{op}")
        made.name = made.outputs[0].name
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def real(self, index: int, at: int, *, axis: int | None = None) -> ir.Value:
        """DequantizeLinear of input ``index`` with the parameters at ``at``."""
        return self.dequantize(self.need(index), self.params(at), axis=axis)

    def dequantize(self, value: ir.Value, params: Params, *, axis: int | None = None) -> ir.Value:
        """DequantizeLinear; along ``axis`` where there is more than one scale."""
        vector = np.ndim(np.asarray(constant(params[0]))) == 1
        if vector and axis is None:
            raise _refusal(self.node, "it quantizes an activation with one scale per channel")
        result = self.insert("DequantizeLinear", [value, *params], axis=axis if vector else None)
        result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        return result

    def bias(self, value: ir.Value | None, data: Params, weight: Params, *, factor: float = 1.0) -> list[Any]:
        """The bias as an operand, in steps of factor * s_data * s_weight; none where there is none."""
        if value is None:
            return []
        product = np.float32(factor) * np.asarray(constant(data[0])) * np.asarray(constant(weight[0]))
        scale = self.constant(f"{value.name}_scale", product.astype(np.float32))
        zero = self.constant(f"{value.name}_zero_point", np.zeros(product.shape, np.int32))
        return [self.dequantize(value, (scale, zero), axis=0)]

    def kept(self, *drop: str) -> dict[str, ir.Attr]:
        """The node's own attributes."""
        return {name: each for name, each in self.node.attributes.items() if name not in drop}

    def run(self, expand: Callable[[_Expansion], tuple[ir.Value, Params | None]]) -> None:
        """Write the expansion, and let its result take the place of the node's output."""
        result, params = expand(self)
        old = self.node.outputs[0]
        if params is not None:
            result = self.insert("QuantizeLinear", [result, *params])
        _take_place(old, result, self.graph)
        self.graph.remove(self.node, safe=True)


def _take_place(old: ir.Value, new: ir.Value, graph: ir.Graph) -> None:
    """Name, type, readers and place among the outputs go over."""
    name = old.name
    for reader, index in tuple(old.uses()):
        reader.replace_input_with(index, new)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = new
    new.type, new.shape = old.type, old.shape
    old.name, new.name = None, name


Expanded = tuple[ir.Value, Params | None]


def _conv(at: _Expansion) -> Expanded:
    x, w = at.params(1), at.params(4)
    operands = [at.real(0, 1), at.real(3, 4, axis=0), *at.bias(at.input(8), x, w)]
    return at.insert("Conv", operands, **at.kept()), at.params(6)


def _matmul(at: _Expansion) -> Expanded:
    columns = rank(at.need(3))
    axis = None if columns is None else columns - 1
    return at.insert("MatMul", [at.real(0, 1), at.real(3, 4, axis=axis)]), at.params(6)


def _gemm(at: _Expansion) -> Expanded:
    alpha = float_attribute(at.node, "alpha", 1.0)
    axis = 0 if int_attribute(at.node, "transB", 0) else 1
    x, w = at.params(1), at.params(4)
    operands = [at.real(0, 1), at.real(3, 4, axis=axis), *at.bias(at.input(6), x, w, factor=alpha)]
    result = at.insert("Gemm", operands, **at.kept())
    return result, at.params(7) if at.input(7) is not None else None


def _binary(op: str) -> Callable[[_Expansion], Expanded]:
    def expand(at: _Expansion) -> Expanded:
        return at.insert(op, [at.real(0, 1), at.real(3, 4)]), at.params(6)

    return expand


def _unary(op: str) -> Callable[[_Expansion], Expanded]:
    def expand(at: _Expansion) -> Expanded:
        if int_attribute(at.node, "channels_last", 0):
            raise _refusal(at.node, "it computes channels-last, as onnxruntime's optimizer writes it")
        return at.insert(op, [at.real(0, 1)], **at.kept("channels_last")), at.params(3)

    return expand


def _softmax(at: _Expansion) -> Expanded:
    axis, size = int_attribute(at.node, "axis", -1), rank(at.need(0))
    last = axis == -1 or (size is not None and axis == size - 1)
    if int_attribute(at.node, "opset", 13) < 13 and not last:
        raise _refusal(at.node, "it is the Softmax of opset 12, along several axes at once")
    return at.insert("Softmax", [at.real(0, 1)], axis=axis), at.params(3)


def _reduce_mean(at: _Expansion) -> Expanded:
    axes = ints_attribute(at.node, "axes", ())
    inputs = [at.real(0, 1), *([at.constant("axes", np.asarray(axes, np.int64))] if axes else [])]
    return at.insert("ReduceMean", inputs, keepdims=int_attribute(at.node, "keepdims", 1)), at.params(3)


def _concat(at: _Expansion) -> Expanded:
    parts = [at.real(index, index + 1) for index in range(2, len(at.node.inputs), 3)]
    return at.insert("Concat", parts, axis=int_attribute(at.node, "axis", 0)), at.params(0)


def _where(at: _Expansion) -> Expanded:
    return at.insert("Where", [at.need(0), at.real(1, 2), at.real(4, 5)]), at.params(7)


_EXPANSIONS: Mapping[tuple[str, str], Callable[[_Expansion], Expanded]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearAdd"): _binary("Add"),
    (MICROSOFT, "QLinearAveragePool"): _unary("AveragePool"),
    (MICROSOFT, "QLinearConcat"): _concat,
    (MICROSOFT, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
    (MICROSOFT, "QLinearLeakyRelu"): _unary("LeakyRelu"),
    (MICROSOFT, "QLinearMul"): _binary("Mul"),
    (MICROSOFT, "QLinearReduceMean"): _reduce_mean,
    (MICROSOFT, "QLinearSigmoid"): _unary("Sigmoid"),
    (MICROSOFT, "QLinearSoftmax"): _softmax,
    (MICROSOFT, "QLinearWhere"): _where,
}


# C3 ------------------------------------------------------------------------------------------------------


def _lift_movers(model: ir.Model) -> None:
    known: dict[ir.Value, Params] = {}
    for node in tuple(walk(model)):
        if is_onnx(node, "QuantizeLinear"):
            _remember(known, node.outputs[0], node)
        elif is_onnx(node, *_MOVING, *_CHOOSING):
            params = _params_of(node, known)
            if params is not None:
                _lift(node, params, known)


def _remember(known: dict[ir.Value, Params], value: ir.Value, quantizer: ir.Node) -> None:
    """``value`` has the parameters of ``quantizer``, if they are one constant each."""
    scale, zero = quantizer.inputs[1], quantizer.inputs[2] if len(quantizer.inputs) > 2 else None
    array = constant(scale)
    if scale is not None and zero is not None and array is not None and array.ndim == 0:
        known[value] = (scale, zero)


def _params_of(node: ir.Node, known: dict[ir.Value, Params]) -> Params | None:
    """Parameters of the integers that ``node`` moves: of its input, or of the DQ that reads its outputs."""
    source = node.inputs[0]
    if source is None or source in known:
        return None if source is None else known[source]
    if source.dtype not in _BYTES:
        return None
    for output in node.outputs:
        readers = [use.node for use in output.uses()]
        if readers and all(is_onnx(each, "DequantizeLinear") for each in readers):
            found: dict[ir.Value, Params] = {}
            _remember(found, output, readers[0])
            if found:
                return found[output]
    return None


def _lift(node: ir.Node, params: Params, known: dict[ir.Value, Params]) -> None:
    """``node`` on reals: DequantizeLinear before it, QuantizeLinear behind each of its outputs."""
    at = _Expansion(node)
    if node.op_type == "Relu" and np.any(np.asarray(constant(params[1]))):
        return  # a Relu of plain integers compares with 0, which is not the real 0
    if node.op_type == "Pad" and not _pad_with_real(at, params):
        return
    node.replace_input_with(0, at.dequantize(at.need(0), params))
    if node.op_type in _CHOOSING:
        return
    last = node
    for output in node.outputs:
        if not output.uses() and not output.is_graph_output():
            continue
        if output is not node.outputs[0] and node.op_type == "MaxPool":
            continue  # Indices
        quantize = ir.node("QuantizeLinear", [output, *params])
        at.graph.insert_after(last, quantize)
        last, result = quantize, quantize.outputs[0]
        name = output.name or node.op_type
        for reader, index in tuple(output.uses()):
            if reader is not quantize:
                reader.replace_input_with(index, result)
        for index, each in enumerate(at.graph.outputs):
            if each is output:
                at.graph.outputs[index] = result
        result.type, result.shape = output.type, output.shape
        output.type, output.name, result.name = ir.TensorType(ir.DataType.FLOAT), None, name
        output.name = free_name(at.graph, f"{name}_{node.op_type}")
        quantize.name = free_name(at.graph, f"{name}_QuantizeLinear")
        known[result] = params


def _pad_with_real(at: _Expansion, params: Params) -> bool:
    """The integer that fills (0 if none is given) as the real that it stands for. False: it is computed."""
    given = at.input(2)
    fill = np.zeros(()) if given is None else constant(given)
    if fill is None:
        return False
    if at.node.attributes.get_string("mode", "constant") != "constant":
        return True
    scale, zero = (np.asarray(constant(each), np.float64) for each in params)
    real = at.constant("pad_value", ((fill.astype(np.float64) - zero) * scale).astype(np.float32).reshape(()))
    if len(at.node.inputs) < 3:
        at.node.resize_inputs(3)
    at.node.replace_input_with(2, real)
    return True


def _refusal(node: ir.Node, reason: str) -> ModelFileError:
    return ModelFileError(
        f"node {node.name!r} ({node.op_type}) cannot be read as a quantized operator: {reason}",
        why="quantized models are compiled from DequantizeLinear, a float operator and QuantizeLinear",
        remedy=_AGAIN,
    )
