"""Dense layers, matrix products and the operators along the last axis -> ONNX.

    FULLY_CONNECTED  y = x W^T + b, W: (out, in)  ->  Gemm(x, W, b, transB = 1) on matrices
                     keep_num_dims on higher ranks ->  MatMul(x, W^T) + b
    SOFTMAX          softmax(beta x) along the last axis of the file's layout
    L2_NORMALIZATION x / max(|x|, 1e-6) along the last axis

Source: kernels/fully_connected.cc, softmax.cc, l2norm.cc (the 1e-6), batch_matmul.cc.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import IDENTITY, Importer, UnreadableError
from edgekit.frontends.tflite.ops.activation import fused
from edgekit.frontends.tflite.ops.conv import bias, weight
from edgekit.frontends.tflite.read import Operator

Lowering = Callable[[Importer, Operator], None]

_SMALLEST_NORM = 1e-6  # kernels/internal/reference/l2normalization.h, epsilon


def _fully_connected(graph: Importer, operator: Operator) -> None:
    data, kernel = operator.inputs[:2]
    if int(operator.options.get("weightsFormat", 0)):
        raise UnreadableError("its weights are shuffled for one kind of processor", "convert the model again")
    if graph.rank(kernel) != 2:
        raise UnreadableError(f"its weights have {graph.rank(kernel)} axes", "")
    added = bias(graph, operator, 2, data=data, weight=kernel)
    width = graph.tensor(kernel).shape[1]
    if graph.rank(data) > 2 and operator.options.get("keepNumDims"):
        product = graph.node("MatMul", [graph.value(data), weight(graph, kernel, (1, 0))])
        result = product if added is None else graph.node("Add", [product, added])
    else:
        rows = _rows(graph, data, width)
        weights = graph.value(kernel)
        result = graph.node("Gemm", [rows, weights, *([] if added is None else [added])], transB=1)
    result = fused(graph, operator, result)
    graph.produce(operator.outputs[0], result)


def _rows(graph: Importer, index: int, width: int) -> ir.Value:
    """The input as a matrix of ``width`` columns, requantized by its own parameters if it is integer."""
    if graph.rank(index) == 2 and graph.tensor(index).shape[1] == width:
        return graph.value(index)
    rows = graph.node("Reshape", [graph.flat(index), graph.vector([-1, width])])
    return graph.requantized(index, rows)


def _batch_matmul(graph: Importer, operator: Operator) -> None:
    sides = []
    for index, flag in zip(operator.inputs, ("adjX", "adjY"), strict=True):
        rank = graph.rank(index)
        if rank < 2:
            raise UnreadableError(f"its operand has {rank} axes", "")
        if operator.options.get(flag):
            order = (*range(rank - 2), rank - 1, rank - 2)
            turned = weight(graph, index, order)
            computed = graph.tensor(index).data is None
            sides.append(graph.requantized(index, turned) if computed else turned)
        else:
            sides.append(graph.value(index))
    graph.produce(operator.outputs[0], graph.node("MatMul", sides))


def _last_axis(op: str) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        source = operator.inputs[0]
        layout, rank = graph.layout(source), graph.rank(source)
        value = graph.value(source, layout)
        beta = float(operator.options.get("beta", 1.0))
        if beta != 1.0 and op == "Softmax":
            value = graph.node("Mul", [value, graph.constant("beta", np.float32(beta))])
        axis = layout.index(rank - 1) if layout else -1
        graph.produce(operator.outputs[0], graph.node(op, [value], axis=axis), layout)

    return lower


def _l2_normalization(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    value = graph.value(source)
    norm = graph.node("ReduceL2", [value, graph.vector([-1])], keepdims=1)
    floor = graph.constant("epsilon", np.float32(_SMALLEST_NORM))
    scaled = graph.node("Div", [value, graph.node("Max", [norm, floor])])
    graph.produce(operator.outputs[0], fused(graph, operator, scaled), IDENTITY)


LOWERINGS: dict[str, Lowering] = {
    "BATCH_MATMUL": _batch_matmul,
    "FULLY_CONNECTED": _fully_connected,
    "L2_NORMALIZATION": _l2_normalization,
    "LOG_SOFTMAX": _last_axis("LogSoftmax"),
    "SOFTMAX": _last_axis("Softmax"),
}
