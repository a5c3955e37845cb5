"""Reductions -> ONNX, in the layout of the input where the axes that remain keep their order.

Source: kernels/reduce.cc, arg_min_max.cc, cumsum.cc, topk_v2.cc.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import IDENTITY, Importer, UnreadableError
from edgekit.frontends.tflite.read import Operator

Lowering = Callable[[Importer, Operator], None]


def axes_of(values: tuple[int, ...], rank: int) -> list[int]:
    """Axes counted from 0, each once, in order."""
    if any(not -rank <= axis < rank for axis in values):
        raise UnreadableError(f"axes {values} of a tensor with {rank} axes", "")
    return sorted({axis % rank for axis in values})


def _reduce(op: str, *, of_bool: bool = False) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        source = operator.inputs[0]
        rank, layout = graph.rank(source), graph.layout(source)
        axes = axes_of(graph.known_integers(operator.inputs[1], "axes"), rank)
        keep = bool(operator.options.get("keepDims"))
        left = [axis for axis in layout if axis not in axes]
        if not keep and left != sorted(left):
            layout = IDENTITY
        value = graph.value(source, layout)
        if of_bool:
            value = graph.node("Cast", [value], to=int(ir.DataType.INT32))
        places = [layout.index(axis) for axis in axes] if layout else axes
        result = graph.node(
            op, [value, graph.vector(sorted(places))], keepdims=int(keep), noop_with_empty_axes=1
        )
        if of_bool:
            result = graph.node("Cast", [result], to=int(ir.DataType.BOOL))
        graph.produce(operator.outputs[0], result, layout if keep else IDENTITY)

    return lower


def _arg(op: str) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        source, target = operator.inputs[0], operator.outputs[0]
        (axis,) = axes_of(graph.known_integers(operator.inputs[1], "axis"), graph.rank(source))
        found = graph.node(op, [graph.value(source)], axis=axis, keepdims=0)
        graph.produce(target, narrowed(graph, found, target))

    return lower


def narrowed(graph: Importer, value: ir.Value, target: int) -> ir.Value:
    """int64, as ONNX counts, to the type of tensor ``target``."""
    dtype = graph.tensor(target).dtype
    if dtype == "int64":
        return value
    return graph.node("Cast", [value], to=int(ir.DataType.from_numpy(np.dtype(dtype))))


def _cumsum(graph: Importer, operator: Operator) -> None:
    source = operator.inputs[0]
    (axis,) = axes_of(graph.known_integers(operator.inputs[1], "axis"), graph.rank(source))
    result = graph.node(
        "CumSum",
        [graph.value(source), graph.constant("axis", np.int64(axis))],
        exclusive=int(bool(operator.options.get("exclusive"))),
        reverse=int(bool(operator.options.get("reverse"))),
    )
    graph.produce(operator.outputs[0], result)


def _top_k(graph: Importer, operator: Operator) -> None:
    count = graph.known_integers(operator.inputs[1], "k")
    values, places = operator.outputs
    found = graph.nodes("TopK", [graph.value(operator.inputs[0]), graph.vector(count)], 2, axis=-1)
    graph.produce(values, found[0])
    graph.produce(places, narrowed(graph, found[1], places))


LOWERINGS: dict[str, Lowering] = {
    "ARG_MAX": _arg("ArgMax"),
    "ARG_MIN": _arg("ArgMin"),
    "CUMSUM": _cumsum,
    "MEAN": _reduce("ReduceMean"),
    "REDUCE_ALL": _reduce("ReduceMin", of_bool=True),
    "REDUCE_ANY": _reduce("ReduceMax", of_bool=True),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_MIN": _reduce("ReduceMin"),
    "REDUCE_PROD": _reduce("ReduceProd"),
    "SUM": _reduce("ReduceSum"),
    "TOPK_V2": _top_k,
}
