"""WHILE: loop variables, a graph that asks whether to go on, a graph that goes round once.

    variables --WHILE--> results        variable 0 counts the iterations (int64), from 0

LiteRT shares the memory of a variable that the body gives back as it came and that nobody reads afterwards;
any other is copied once an iteration (tflite/kernels/while.cc). Rows are collected in a variable that has all
of them: FILL makes it, DYNAMIC_UPDATE_SLICE writes one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import check_kernel, computed_sizes, reshape
from edgekit.backends.litert.tensors import Graph, GraphBuilder, Shape, Tensor

NUMBER = 0
"""The variable that counts."""


def repeat(builder: GraphBuilder, variables: Sequence[int], *, condition: Graph, body: Graph) -> list[int]:
    """WHILE; its results, one for each variable."""
    results = []
    for index in variables:
        tensor = builder.tensors[index]
        results.append(builder.tensor(f"{tensor.name}/last", tensor.dtype, tensor.shape, quant=tensor.quant))
    builder.operator("WHILE", variables, results, graphs=(condition, body))
    return results


def variable_inputs(builder: GraphBuilder, variables: Sequence[Tensor]) -> list[int]:
    """Inputs of a subgraph, one for each variable."""
    made = [builder.tensor(each.name, each.dtype, each.shape, quant=each.quant) for each in variables]
    builder.inputs.extend(made)
    return made


def finished(builder: GraphBuilder, outputs: Sequence[int]) -> Graph:
    """The subgraph; its names are those of its tensors."""
    names = [tuple(builder.tensors[index].name for index in ends) for ends in (builder.inputs, outputs)]
    return Graph(
        tuple(builder.tensors), tuple(builder.operators), tuple(builder.inputs), tuple(outputs), *names
    )


def until(variables: Sequence[Tensor], *, count: int | None, most: int | None, going: int | None) -> Graph:
    """Whether to go round: fewer iterations than variable ``count`` or ``most`` says, and ``going`` holds."""
    builder = GraphBuilder()
    inputs = variable_inputs(builder, variables)
    asked: list[int] = []
    if count is not None or most is not None:
        limit = inputs[count] if count is not None else builder.constant("count", np.asarray(most, np.int64))
        fewer = builder.tensor("fewer", "bool", ())
        builder.operator("LESS", [inputs[NUMBER], limit], [fewer])
        asked.append(fewer)
    if going is not None:
        asked.append(inputs[going])
    if len(asked) == 1:
        asked.append(builder.constant("true", np.asarray(True)))
    answer = builder.tensor("goes on", "bool", ())
    builder.operator("LOGICAL_AND", asked, [answer])
    return finished(builder, [answer])


def counted(builder: GraphBuilder, number: int) -> int:
    """``number`` + 1."""
    more = builder.tensor("number", "int64", ())
    builder.operator("ADD", [number, builder.constant("one", np.asarray(1, np.int64))], [more])
    return more


def filled(t: Terms, shape: Shape, value: int, *, first: int | None = None, like: int | None = None) -> int:
    """A tensor of ``shape`` full of the scalar ``value``.

    Args:
        t: where.
        shape: sizes that are no numbers are those of the graph's inputs, or of ``like``, of the same name.
        value: a scalar.
        first: an integer scalar, where it says how large the first axis is.
        like: a tensor.
    """
    rest = shape[1:] if first is not None else shape
    if all(isinstance(dim, int) for dim in rest):
        dims = t.const(rest, "int32")
    else:
        dims = computed_sizes(t.step.builder, value if like is None else like, rest)
    if first is not None:
        dims = t.concat([t.reshape(t.cast(first, "int32"), (1,)), *([dims] if rest else [])], 0)
    return t.step.emit("FILL", [dims, value], shape, dtype=t.dtype(value))


def with_row(builder: GraphBuilder, rows: int, row: int, *, number: int) -> int:
    """``rows`` with ``row``, which has no first axis, in the place ``number``."""
    whole, part = builder.tensors[rows], builder.tensors[row]
    check_kernel("DYNAMIC_UPDATE_SLICE", whole.dtype, len(whole.shape))
    place = builder.tensor("place", "int32", ())
    builder.operator("CAST", [number], [place], options={"inDataType": "int64", "outDataType": "int32"})
    first = builder.tensor("first", "int32", (1,))
    shape = builder.constant("shape", np.asarray([1], np.int32))
    builder.operator("RESHAPE", [place, shape], [first], options={"newShape": (1,)})
    begin = first
    if len(whole.shape) > 1:
        rest = builder.constant("rest", np.zeros(len(whole.shape) - 1, np.int32))
        begin = builder.tensor("begin", "int32", (len(whole.shape),))
        builder.operator("CONCATENATION", [first, rest], [begin], options={"axis": 0})
    stacked = reshape(builder, row, (1, *part.shape))
    out = builder.tensor(f"{whole.name}/more", whole.dtype, whole.shape, quant=whole.quant)
    builder.operator("DYNAMIC_UPDATE_SLICE", [rows, stacked, begin], [out])
    return out
