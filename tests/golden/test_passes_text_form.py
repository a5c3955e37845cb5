"""The text form of a model, and of the canonical form of what exporters write."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.text import text
from edgekit.passes import canonicalize

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def test_the_text_form_shows_types_weights_and_attributes() -> None:
    model = ir.from_onnx_text(
        HEAD
        + """
g (float[batch, 4] x, bool c) => (float[batch, 2, 2] y)
<float[2] w = {1, 2}, int64[3] s = {-1, 2, 2}>
{
  a = LeakyRelu <alpha = 0.25> (x)
  b = Reshape <allowzero = 0> (a, s)
  d = Mul(b, w)
  y = Clip(d)
}
"""
    )
    assert (
        text(model)
        == """\
graph g opset=21
in   x: float32[batch,4]
in   c: bool[]
w    s: int64[3] = [-1, 2, 2]
w    w: float32[2] sha=320024d8
node ?: LeakyRelu(x) {alpha=0.25} -> a: ?[?]
node ?: Reshape(a, s) {allowzero=0} -> b: ?[?]
node ?: Mul(b, w) -> d: ?[?]
node ?: Clip(d) -> y: float32[batch,2,2]
out  y
"""
    )


def test_a_tf2onnx_dense_layer_becomes_a_gemm_with_fixed_shapes() -> None:
    """Shape arithmetic on a dynamic batch, MatMul + Add, Relu as Clip, an Identity at the end."""
    model = ir.from_onnx_text(
        HEAD
        + """
tf2onnx (float[batch, 2, 2, 1] image) => (float[batch, 3] probabilities)
<float[4, 3] kernel, float[3] bias, float low = {0},
 int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {4}>
{
  shape = Shape(image)
  batch = Slice(shape, zero, one, zero)
  wanted = Concat <axis = 0> (batch, rest)
  flat = Reshape(image, wanted)
  product = MatMul(flat, kernel)
  dense = Add(product, bias)
  positive = Clip(dense, low)
  soft = Softmax(positive)
  probabilities = Identity(soft)
}
""",
        initializers=[
            ir.tensor(np.arange(12, dtype=np.float32).reshape(4, 3), name="kernel"),
            ir.tensor(np.arange(3, dtype=np.float32), name="bias"),
        ],
    )
    assert (
        text(canonicalize(model))
        == """\
graph tf2onnx opset=21
in   image: float32[batch,2,2,1]
w    bias_1: float32[3] sha=a0a71632
w    kernel_1: float32[3,4] sha=c2281097
w    val_0: int64[2] = [-1, 4]
node node_Reshape_1: Reshape(image, val_0) {allowzero=1} -> flat: float32[batch,4]
node product: Gemm(flat, kernel_1, bias_1) {transB=1} -> product: float32[batch,3]
node positive: Relu(product) -> positive: float32[batch,3]
node soft: Softmax(positive) -> probabilities: float32[batch,3]
out  probabilities
"""
    )


def test_a_torch_block_becomes_one_convolution_and_a_pooling() -> None:
    """Conv + BatchNormalization + Dropout + ReduceMean over space with keepdims 0."""
    values = {
        "w": np.arange(18).reshape(2, 1, 3, 3) / 8,
        "gamma": np.array([1.0, 2.0]),
        "beta": np.array([0.5, -0.5]),
        "mean": np.array([0.0, 1.0]),
        "var": np.array([1.0, 4.0]),
    }
    model = ir.from_onnx_text(
        HEAD
        + """
torch (float[batch, 1, 4, 4] x) => (float[batch, 2] y)
<float[2, 1, 3, 3] w, float[2] gamma, float[2] beta, float[2] mean, float[2] var,
 int64[2] axes = {-1, -2}>
{
  a = Conv <pads = [1, 1, 1, 1]> (x, w)
  b = BatchNormalization <epsilon = 0.0> (a, gamma, beta, mean, var)
  c = Relu(b)
  d = Dropout(c)
  y = ReduceMean <keepdims = 0> (d, axes)
}
""",
        initializers=[ir.tensor(array.astype(np.float32), name=name) for name, array in values.items()],
    )
    assert (
        text(canonicalize(model))
        == """\
graph torch opset=21
in   x: float32[batch,1,4,4]
w    w_1: float32[2,1,3,3] sha=8de2326e
w    w_bias: float32[2] sha=a69ceb2d
w    y_axes: int64[2] = [2, 3]
node a: Conv(x, w_1, w_bias) {pads=[1, 1, 1, 1]} -> a: float32[batch,2,4,4]
node c: Relu(a) -> c: float32[batch,2,4,4]
node y: GlobalAveragePool(c) -> y_pooled: float32[batch,2,1,1]
node y_squeeze: Squeeze(y_pooled, y_axes) -> y: float32[batch,2]
out  y
"""
    )
