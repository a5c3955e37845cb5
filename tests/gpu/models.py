"""Small models for GPU tests: a CNN, one with an operator that no GPU provider has, and its QDQ form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.passes import canonicalize
from edgekit.spec import Array

Floats = npt.NDArray[np.float32]
HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
CNN = """
g (float[n, 3, 16, 16] image) => (float[n, 5] logits)
<float[8, 3, 3, 3] w1, float[8] b1, float[5, 8] w2, float[5] b2, int64[2] flat = {-1, 8}>
{
  a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  b = Relu(a)
  c = GlobalAveragePool(b)
  d = Reshape(c, flat)
  logits = Gemm <transB = 1> (d, w2, b2)
}
"""
WITH_DET = "g (float[4, 4] x) => (float[4, 4] y) { a = Det(x) b = Relu(x) y = Mul(a, b) }"
QDQ = """
g (float[n, 3, 16, 16] image) => (float[n, 8, 16, 16] y)
<float s = {0.03}, int8 z = {0}, int8[8, 3, 3, 3] w, float[8] sw>
{
  q = QuantizeLinear(image, s, z)
  x = DequantizeLinear(q, s, z)
  v = DequantizeLinear <axis = 0> (w, sw)
  y = Conv <pads = [1, 1, 1, 1]> (x, v)
}
"""


def floats(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def built(text: str, **arrays: Array) -> ir.Model:
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    model = ir.from_onnx_text(HEAD + text, initializers=tensors)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type.lower()}_{number}"
    return model


def cnn() -> ir.Model:
    return canonicalize(built(CNN, w1=floats(8, 3, 3, 3), b1=floats(8), w2=floats(5, 8), b2=floats(5)))


def with_det() -> ir.Model:
    return canonicalize(built(WITH_DET))


def qdq() -> ir.Model:
    weights = np.random.default_rng(1).integers(-127, 128, (8, 3, 3, 3), np.int8)
    return built(QDQ, w=weights, sw=np.full(8, 0.01, np.float32))
