"""Signed activations as unsigned ones: bit for bit the same, and only where nobody sees the integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.backends.onnxruntime import open_model
from edgekit.ir import io
from edgekit.quantization.unsigned import with_unsigned_activations
from edgekit.spec import Array, RunOptions

SEED = 5
TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 4] x) => (float[n, 4] y)
<float sx = {0.02}, int8 zx = {-100}, int8[4, 4] w = {%s}, float sw = {0.01}, int8 zw = {0},
 float sy = {0.05}, int8 zy = {7}>
{
  qx = QuantizeLinear (x, sx, zx)
  dx = DequantizeLinear (qx, sx, zx)
  dw = DequantizeLinear (w, sw, zw)
  m = MatMul (dx, dw)
  qm = QuantizeLinear (m, sy, zy)
  dm = DequantizeLinear (qm, sy, zy)
  y = Relu (dm)
}
"""


def model() -> ir.Model:
    import onnx

    weights = ", ".join(map(str, np.random.default_rng(SEED).integers(-127, 128, 16)))
    return io.from_bytes(onnx.parser.parse_model(TEXT % weights).SerializeToString())


def zero_points(of: ir.Model) -> list[np.dtype[np.generic]]:
    return [
        node.inputs[2].const_value.numpy().dtype
        for node in of.graph
        if node.op_type == "QuantizeLinear" and node.inputs[2] is not None and node.inputs[2].const_value
    ]


def run(of: ir.Model) -> Array:
    x = np.random.default_rng(SEED).normal(1, 2, (64, 4)).astype(np.float32)  # saturates at both ends
    with open_model(of, RunOptions()) as session:
        return session.run({"x": x})["y"]


def test_every_activation_is_unsigned_and_every_value_the_same() -> None:
    signed = model()
    unsigned = with_unsigned_activations(signed)
    assert zero_points(signed) == [np.int8, np.int8]
    assert zero_points(unsigned) == [np.uint8, np.uint8]
    np.testing.assert_array_equal(run(unsigned), run(signed))
    weight = next(
        node for node in unsigned.graph if node.inputs[0] is not None and node.inputs[0].name == "w"
    )
    assert weight.inputs[0] is not None
    assert weight.inputs[0].dtype == ir.DataType.INT8


def test_integers_that_somebody_sees_stay() -> None:
    seen = model()
    seen.graph.outputs.append(next(n.outputs[0] for n in seen.graph if n.outputs[0].name == "qm"))
    assert zero_points(with_unsigned_activations(seen)) == [np.uint8, np.int8]


def test_a_shift_by_another_amount_would_be_seen() -> None:
    """Sabotage: 127 in place of 128 changes what saturates."""
    unsigned = with_unsigned_activations(model())
    for node in unsigned.graph:
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        if zero is not None and zero.const_value is not None and zero.const_value.numpy().dtype == np.uint8:
            zero.const_value = ir.tensor((zero.const_value.numpy() - 1).astype(np.uint8), name=zero.name)
    assert not np.array_equal(run(unsigned), run(model()))


def test_a_target_of_unsigned_kernels_gets_the_unsigned_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    io.save(model(), tmp_path / "signed.onnx")
    artifact = edgekit.compile(tmp_path / "signed.onnx", target="onnxruntime-cpu", out=tmp_path / "out")
    assert zero_points(io.load(artifact.path)) == [np.uint8, np.uint8]
