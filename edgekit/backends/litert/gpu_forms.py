"""TFLite graph -> the same numbers in operators that LiteRT's GPU accelerator computes rightly.

W7 an int8 CONV_2D with a 1x1 filter and a stride: 2.3.0 computes other numbers, up to 104 output steps off
   (float is right, and so is a 1x1 filter without a stride). The filter becomes 2x2, zeros right and below:

       y[i, j] = w x[s i, s j]  =  [[w, 0], [0, 0]] over x[s i : s i + 2, s j : s j + 2]      padding SAME

   SAME adds one row below where s i is the last one (tflite/kernels/padding.h), which meets zeros. A CPU runs
   the same file, with a little more to multiply.
G5 SLICE of a tensor with an open size is dynamic for LiteRT (tflite/kernels/slice.cc), and a graph with one
   dynamic tensor is refused as a whole; SPACE_TO_DEPTH of several images is wrong (W6): the batch is 1 there
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.backends.litert.tensors import Graph, Operator, Tensor

PINNED = "the batch is pinned to 1: LiteRT's GPU accelerator does not take this graph with an open one"
_FIXED_ONLY = frozenset({"SLICE", "STRIDED_SLICE", "SPACE_TO_DEPTH"})


def is_open(graph: Graph) -> bool:
    """Whether an input has a size that is not known."""
    return any(not isinstance(dim, int) for index in graph.inputs for dim in graph.tensors[index].shape)


def wants_fixed_batch(graph: Graph) -> bool:
    """G5."""
    return any(op.code in _FIXED_ONLY for op in graph.operators)


def with_gpu_forms(graph: Graph) -> Graph:
    """W7. The graph itself where nothing is to be done."""
    tensors = list(graph.tensors)
    operators = []
    for op in graph.operators:
        if _is_strided_point(op, graph.tensors):
            weight = tensors[op.inputs[1]]
            inputs = (op.inputs[0], len(tensors), *op.inputs[2:])
            tensors.append(_widened(weight))
            options = {**op.options, "padding": "SAME"}
            operators.append(replace(op, inputs=inputs, options=options))
        else:
            operators.append(op)
    if len(tensors) == len(graph.tensors):
        return graph
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


def _is_strided_point(op: Operator, tensors: tuple[Tensor, ...]) -> bool:
    if op.code != "CONV_2D":
        return False
    weight = tensors[op.inputs[1]]
    strided = max(int(op.options["strideH"]), int(op.options["strideW"])) > 1
    return weight.dtype == "int8" and weight.data is not None and weight.shape[1:3] == (1, 1) and strided


def _widened(weight: Tensor) -> Tensor:
    """(out, 1, 1, in) -> (out, 2, 2, in)."""
    assert weight.data is not None  # noqa: S101  _is_strided_point
    out, _, _, taken = weight.data.shape
    data = np.zeros((out, 2, 2, taken), np.int8)
    data[:, :1, :1] = weight.data
    return replace(weight, name=f"{weight.name}/2x2", shape=data.shape, data=data)
