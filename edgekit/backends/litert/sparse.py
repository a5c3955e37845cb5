"""Float32 filters of 1x1 convolutions that are mostly zero -> sparse in the file, dense again by DENSIFY.

    W (out, 1, 1, in), zeros -> values and their columns, row by row -> DENSIFY -> CONV_2D

The file holds what is not zero. XNNPACK, told so by the DENSIFY, computes a chain of such convolutions with
kernels that leave zeros out, in channels-first order inside; what it cannot chain it computes from the dense
filter, as before.

Q1 a filter is stored so where more than PART of it is zero: XNNPACK leaves chains dense below that
Q2 filters of other kernels stay: XNNPACK has no sparse ones, and their zeros compress anyway

Source: schema.fbs (SparsityParameters), XNNPACK's subgraph.c (xnn_subgraph_rewrite_for_nchw), the delegate's
README ("Sparse Inference"); Elsen et al., "Fast Sparse ConvNets", 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgekit.backends.litert.tensors import Graph, Operator, Rows, Tensor
from edgekit.spec import Array

PART = 2 / 3  # xnn_subgraph_rewrite_for_nchw: "num_zeroes * 3 <= num_params * 2"


@dataclass(frozen=True)
class _Stored:
    values: Array
    rows: Rows


def with_sparse_filters(graph: Graph) -> Graph:
    """The graph with Q1's filters stored as rows; the same graph where there are none."""
    wanted = {op.inputs[1] for op in graph.operators if op.code == "CONV_2D"}
    tensors = list(graph.tensors)
    first: list[Operator] = []
    instead: dict[int, int] = {}
    for index in sorted(wanted):
        tensor = graph.tensors[index]
        stored = _as_rows(tensor)
        if stored is None or index in graph.outputs:
            continue
        instead[index] = len(tensors)
        tensors[index] = replace(tensor, data=stored.values, rows=stored.rows)
        tensors.append(Tensor(f"{tensor.name}/dense", tensor.dtype, tensor.shape))
        first.append(Operator("DENSIFY", (index,), (instead[index],)))
    if not first:
        return graph
    operators = [
        replace(op, inputs=tuple(instead.get(index, index) for index in op.inputs)) for op in graph.operators
    ]
    return replace(graph, tensors=tuple(tensors), operators=(*first, *operators))


def _as_rows(tensor: Tensor) -> _Stored | None:
    data = tensor.data
    if data is None or data.dtype != np.float32 or data.ndim != 4 or data.shape[1:3] != (1, 1):
        return None
    flat = data.reshape(data.shape[0], -1)
    kept = flat != 0
    if kept.mean() >= 1 - PART:
        return None
    ends = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return _Stored(flat[kept], Rows(tuple(map(int, ends)), tuple(map(int, np.nonzero(kept)[1]))))
