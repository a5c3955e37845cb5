"""The QDQ form of a small network, in text: where the pairs stand, and under which names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.ir.text import text
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.float16 import to_float16
from edgekit.quantization.place import place
from edgekit.spec import Range
from edgekit.target import load

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
small (float[batch, 1, 4, 4] image) => (float[batch, 3] probabilities)
<float[2, 1, 3, 3] w, float[2] b, float[2, 3] d, int64[2] flat = {-1, 2}>
{
  conv = Conv(image, w, b)
  relu = Relu(conv)
  pool = MaxPool <kernel_shape = [2, 2]> (relu)
  row = Reshape(pool, flat)
  dense = MatMul(row, d)
  probabilities = Softmax(dense)
}
"""


def golden(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def small() -> ir.Model:
    arrays = {
        "w": (np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3) - 9) / 8,
        "b": np.array([0.5, -0.5], np.float32),
        "d": np.array([[1, 2, 3], [-1, -2, -4]], np.float32),
    }
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))


def test_pairs_stand_behind_fused_operators_and_the_softmax_stays_float() -> None:
    model = small()
    ranges = {
        "image": Range(0.0, 1.0),
        "conv": Range(-2.0, 2.55),
        "relu": Range(0.0, 2.55),
        "pool": Range(0.0, 2.55),
        "row": Range(0.0, 2.55),
        "dense": Range(-1.0, 4.1),
    }
    plan = place(model, load("portable"), ranges)
    nodes = [line for line in text(apply(model, plan)).splitlines() if not line.startswith("w ")]
    assert "\n".join(nodes) + "\n" == golden("quantization_qdq.txt")


def test_float16_keeps_float32_at_the_edges() -> None:
    nodes = [line for line in text(to_float16(small())).splitlines() if not line.startswith("w ")]
    assert "\n".join(nodes) + "\n" == golden("quantization_float16.txt")
