"""Operators of several inputs that broadcast -> ONNX, in the layout that most of the inputs have.

    shapes align at the last axis in both; in another layout a smaller operand gets axes of size 1 first

B1 all operands in the file's own layout: nothing to do.
B2 a result of rank 4 with an operand made channels-first: all channels-first; constants are permuted here.

Source: kernels/add.cc, comparisons.cc, select.cc; numpy broadcasting in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import IDENTITY, Importer, Layout, UnreadableError
from edgekit.frontends.tflite.ops.activation import fused
from edgekit.frontends.tflite.read import Operator

Lowering = Callable[[Importer, Operator], None]


def common_layout(graph: Importer, inputs: Sequence[int], rank: int) -> Layout:
    """B1 or B2: a computed operand of lower rank (more than one element) keeps everything as it is."""
    computed = [index for index in inputs if graph.tensor(index).data is None]
    if rank != 4 or any(graph.rank(index) not in (0, 4) for index in computed):
        return IDENTITY
    layouts = [graph.layout(index) for index in computed if graph.rank(index) == 4]
    return max(layouts, key=lambda each: (layouts.count(each), each), default=IDENTITY)


def operand(graph: Importer, index: int, layout: Layout, rank: int) -> ir.Value:
    """Input ``index`` such that it broadcasts in ``layout``."""
    tensor = graph.tensor(index)
    if tensor.data is None or layout == IDENTITY:
        return graph.value(index, layout if len(tensor.shape) == rank else IDENTITY)
    if tensor.data.size == 1:
        return graph.constant_tensor(index, axes=range(len(tensor.shape)), shape=())
    padded = (1,) * (rank - len(tensor.shape)) + tensor.shape
    if len(tensor.shape) == rank:
        return graph.constant_tensor(index, axes=layout)
    # The new axes stand first: permute what is there, with the axes of size 1 in between.
    own = [axis - (rank - len(tensor.shape)) for axis in layout if axis >= rank - len(tensor.shape)]
    return graph.constant_tensor(index, axes=own, shape=[padded[axis] for axis in layout])


def operands(graph: Importer, operator: Operator, count: int | None = None) -> tuple[list[ir.Value], Layout]:
    """All inputs in one layout, and that layout."""
    inputs = operator.inputs[:count]
    rank = graph.rank(operator.outputs[0])
    layout = common_layout(graph, inputs, rank)
    return [operand(graph, index, layout, rank) for index in inputs], layout


def binary(op: str) -> Lowering:
    """An ONNX operator with the same meaning, and the fused activation behind it."""

    def lower(graph: Importer, operator: Operator) -> None:
        values, layout = operands(graph, operator)
        graph.produce(operator.outputs[0], fused(graph, operator, graph.node(op, values)), layout)

    return lower


def _div(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator, 2)
    graph.produce(operator.outputs[0], fused(graph, operator, graph.node("Div", values)), layout)


def _squared_difference(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator)
    difference = graph.node("Sub", values)
    graph.produce(operator.outputs[0], graph.node("Mul", [difference, difference]), layout)


def _floor_div(graph: Importer, operator: Operator) -> None:
    """floor(a / b); ONNX' Div of integers rounds to zero: (a - mod(a, b)) / b is exact."""
    (left, right), layout = operands(graph, operator)
    if graph.tensor(operator.outputs[0]).dtype.startswith("float"):
        result = graph.node("Floor", [graph.node("Div", [left, right])])
    else:
        rest = graph.node("Mod", [left, right])
        result = graph.node("Div", [graph.node("Sub", [left, rest]), right])
    graph.produce(operator.outputs[0], result, layout)


def _floor_mod(graph: Importer, operator: Operator) -> None:
    """The rest has the sign of the divisor, as ONNX' Mod of integers has it; of floats, a - floor(a/b) b."""
    (left, right), layout = operands(graph, operator)
    if graph.tensor(operator.outputs[0]).dtype.startswith("float"):
        whole = graph.node("Floor", [graph.node("Div", [left, right])])
        result = graph.node("Sub", [left, graph.node("Mul", [whole, right])])
    else:
        result = graph.node("Mod", [left, right])
    graph.produce(operator.outputs[0], result, layout)


def _not_equal(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator)
    graph.produce(operator.outputs[0], graph.node("Not", [graph.node("Equal", values)]), layout)


def _select(graph: Importer, operator: Operator) -> None:
    """SELECT: a condition of rank 1 chooses along axis 0; otherwise shapes are equal."""
    condition, left, right = operator.inputs
    rank = graph.rank(operator.outputs[0])
    if graph.rank(condition) != 1 or rank == 1:
        _where(graph, operator)
        return
    column = graph.vector([-1] + [1] * (rank - 1))
    chosen = graph.node("Reshape", [graph.value(condition), column])
    result = graph.node("Where", [chosen, graph.value(left), graph.value(right)])
    graph.produce(operator.outputs[0], result)


def _where(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator)
    graph.produce(operator.outputs[0], graph.node("Where", values), layout)


def _prelu(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator)
    graph.produce(operator.outputs[0], graph.node("PRelu", values), layout)


def _zeros_like(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    tensor = graph.tensor(source)
    shape = graph.node("Shape", [graph.value(source)])
    zero = ir.tensor(np.zeros(1, tensor.dtype if tensor.quant is None else np.float32))
    graph.produce(operator.outputs[0], graph.node("ConstantOfShape", [shape], value=zero))


def _add_n(graph: Importer, operator: Operator) -> None:
    values, layout = operands(graph, operator)
    graph.produce(operator.outputs[0], graph.node("Sum", values), layout)


def _pow(graph: Importer, operator: Operator) -> None:
    if graph.is_integer(operator.inputs[0]):
        raise UnreadableError("it is a power of quantized numbers, for which TFLite has no kernel", "")
    binary("Pow")(graph, operator)


LOWERINGS: dict[str, Lowering] = {
    "ADD": binary("Add"),
    "ADD_N": _add_n,
    "DIV": _div,
    "EQUAL": binary("Equal"),
    "FLOOR_DIV": _floor_div,
    "FLOOR_MOD": _floor_mod,
    "GREATER": binary("Greater"),
    "GREATER_EQUAL": binary("GreaterOrEqual"),
    "LESS": binary("Less"),
    "LESS_EQUAL": binary("LessOrEqual"),
    "LOGICAL_AND": binary("And"),
    "LOGICAL_OR": binary("Or"),
    "MAXIMUM": binary("Max"),
    "MINIMUM": binary("Min"),
    "MUL": binary("Mul"),
    "NOT_EQUAL": _not_equal,
    "POW": _pow,
    "PRELU": _prelu,
    "SELECT": _select,
    "SELECT_V2": _where,
    "SQUARED_DIFFERENCE": _squared_difference,
    "SUB": binary("Sub"),
    "ZEROS_LIKE": _zeros_like,
}
