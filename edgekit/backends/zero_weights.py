"""Graph -> the weights of its sums of products, and how their zeros lie: what a runtime's sparse kernels ask.

    MatMul, Gemm, Conv with a constant weight, behind DequantizeLinear or not  ->  (rows, terms)

Terms are in the order of the sum.

Z1: zeros of an integer weight are its zero points; edgekit's are symmetric, so that they are 0.
Z2: the terms of a convolution are its input channels, for each place of the kernel apart: the order in which
    TensorRT and cuSPARSELt want two of four (``pruning.zeros``, Z2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx
from edgekit.spec import Array

GROUP, KEPT = 4, 2  # NVIDIA's sparse tensor cores: https://arxiv.org/abs/2104.08378


@dataclass(frozen=True, eq=False)
class Terms:
    """The weight of one node.

    Attributes:
        node: which.
        weight: (rows, terms).
        is_int8: whether it is stored so.
    """

    node: ir.Node
    weight: Array
    is_int8: bool

    @property
    def zeros(self) -> float:
        """The part of them that is zero."""
        return float((self.weight == 0).mean()) if self.weight.size else 0.0

    @property
    def is_two_of_four(self) -> bool:
        """Whether of four terms behind each other at most two are not zero."""
        rows, terms = self.weight.shape
        if not self.weight.size or terms % GROUP:
            return False
        return bool(((self.weight != 0).reshape(rows, -1, GROUP).sum(axis=2) <= KEPT).all())


def terms_of(model: ir.Model) -> Iterator[Terms]:
    """Of all nodes that have some, in the order of the graph."""
    for node in model.graph:
        if not is_onnx(node, "MatMul", "Gemm", "Conv"):
            continue
        array = stored(node.inputs[1])
        if array is None or array.ndim < 2:
            continue
        if is_onnx(node, "Conv"):
            rows = np.moveaxis(array, 1, -1)  # (out, *kernel, in / groups)
        elif is_onnx(node, "Gemm") and int_attribute(node, "transB", 0):
            rows = array
        else:
            rows = np.swapaxes(array, -1, -2)
        yield Terms(node, rows.reshape(-1, rows.shape[-1]), array.dtype == np.int8)


def stored(value: ir.Value | None) -> Array | None:
    """The constant, or the integers whose DequantizeLinear it is."""
    maker = None if value is None else value.producer()
    if maker is not None and is_onnx(maker, "DequantizeLinear"):
        return constant(maker.inputs[0])
    return constant(value)
