"""Text of the TFLite graph for models like the two demos: layouts, fusions, versions, and no TRANSPOSE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgekit
from edgekit.backends.litert.backend import translate
from edgekit.backends.litert.text import text_of
from tests.unit.litert.litert_models import Model, codes, compiled

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn" / "digits-cnn.onnx"


def torch_like() -> onnx.ModelProto:
    """NCHW input, strided convolution with explicit padding, depthwise, residual, flatten, dense, softmax."""
    model = Model()
    x = model.input("image", ("batch", 1, 28, 28))
    stem = model.add("Conv", x, model.weight(8, 1, 3, 3), model.weight(8), pads=[1] * 4, strides=[2, 2])
    stem = model.add("Relu", stem)
    deep = model.add("Conv", stem, model.weight(8, 1, 3, 3), model.weight(8), pads=[1] * 4, group=8)
    deep = model.add("Clip", deep, model.scalar(0), model.scalar(6))
    total = model.add("Add", stem, deep)
    small = model.add("MaxPool", total, kernel_shape=[2, 2], strides=[2, 2])
    flat = model.add("Flatten", small)
    logits = model.add("Gemm", flat, model.weight(10, 8 * 7 * 7), model.weight(10), transB=1)
    return model.build(model.add("Softmax", logits, out="probabilities"))


def keras_like() -> onnx.ModelProto:
    """NHWC input; Transposes around NCHW operators as tf2onnx leaves them; mean, MatMul + Add."""
    model = Model()
    x = model.input("image", ("batch", 28, 28, 3))
    nchw = model.add("Transpose", x, perm=[0, 3, 1, 2])
    stem = model.add("Relu", model.add("Conv", nchw, model.weight(8, 3, 3, 3), model.weight(8), pads=[1] * 4))
    nhwc = model.add("Transpose", stem, perm=[0, 2, 3, 1])
    scaled = model.add("Mul", nhwc, model.weight(8))
    nchw = model.add("Transpose", scaled, perm=[0, 3, 1, 2])
    deep = model.add("Conv", nchw, model.weight(8, 1, 3, 3), pads=[0, 0, 1, 1], group=8, strides=[2, 2])
    nhwc = model.add("Transpose", deep, perm=[0, 2, 3, 1])
    axes = model.constant(np.asarray([1, 2], np.int64))
    pooled = model.add("ReduceMean", nhwc, axes, keepdims=0)
    dense = model.add("Add", model.add("MatMul", pooled, model.weight(8, 10)), model.weight(10))
    return model.build(model.add("Relu", dense, out="scores"))


TORCH_LIKE = """\
input  image: float32:?x28x28x1
PAD.1(image, const int32:4x2) -> v2/part: float32:?x29x29x1
CONV_2D.1(v2/part, const float32:8x3x3x1, const float32:8) [dilationHFactor=1 dilationWFactor=1 \
fusedActivationFunction=RELU padding=VALID strideH=2 strideW=2] -> v2: float32:?x14x14x8
"""


def test_a_graph_like_the_torch_demo() -> None:
    text = text_of(compiled(torch_like()).lowered.graph)
    assert text.startswith(TORCH_LIKE)
    assert codes(torch_like()) == [
        "PAD",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MAX_POOL_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert text.endswith("output probabilities\n")


def test_the_torch_like_input_is_channels_last_and_says_so() -> None:
    (binding,) = compiled(torch_like()).inputs
    assert binding.reference.shape == ("batch", 1, 28, 28)
    assert binding.shape == ("batch", 28, 28, 1)
    assert binding.permutation == (0, 2, 3, 1)


def test_a_graph_like_the_keras_demo() -> None:
    assert codes(keras_like()) == ["CONV_2D", "MUL", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED"]
    (binding,) = compiled(keras_like()).inputs
    assert binding.permutation == ()


@pytest.mark.parametrize("make", [torch_like, keras_like])
def test_no_transpose_is_left(make: type[onnx.ModelProto]) -> None:
    found = compiled(make())
    assert found.transposes == ()
    assert "TRANSPOSE" not in {op.code for op in found.lowered.graph.operators}


def test_the_shipped_example_has_no_transpose() -> None:
    """The digits_cnn demo itself, as `edgekit init` writes it."""
    if not EXAMPLE.is_file():
        pytest.skip("the example model is written by models/digits_cnn/example.py")
    found = translate(ir.load(EXAMPLE))
    names = [op.code for op in found.lowered.graph.operators]
    assert found.lowered.rejections == ()
    assert "TRANSPOSE" not in names
    assert names.count("CONV_2D") == 5


def test_a_transpose_that_is_needed_is_written_and_reported() -> None:
    """The counterpart: a model output in an order that no channels-last binding can give."""
    model = Model()
    x = model.input("x", (1, 3, 8, 8))
    y = model.add("Conv", x, model.weight(4, 3, 3, 3))
    z = model.add("Reshape", y, model.constant(np.asarray([1, 2, 72], np.int64)))
    found = compiled(model.build(z))
    assert [op.code for op in found.lowered.graph.operators] == ["CONV_2D", "TRANSPOSE", "RESHAPE"]
    assert len(found.transposes) == 1
    assert "1 transposes remain" in found.notes[-1]
