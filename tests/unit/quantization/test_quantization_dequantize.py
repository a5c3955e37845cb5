"""QDQ -> the float model that it stands for: exact where nothing saturates, with the activation that does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.ir import io
from edgekit.ir.verify import is_quantized
from edgekit.quantization.dequantize import to_float
from edgekit.spec import RunOptions

SEED = 3
Floats = npt.NDArray[np.float32]

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 3, 6, 6] x) => (float[n, 4, 6, 6] y)
<
  float sx = {{0.03}}, uint8 zx = {{128}},
  int8[4, 3, 3, 3] w = {{{weights}}}, float[4] sw = {{0.01, 0.02, 0.03, 0.04}}, int8[4] zw = {{0, 0, 0, 0}},
  int32[4] b = {{100, -50, 0, 7}}, float[4] sb = {{0.0003, 0.0006, 0.0009, 0.0012}},
  int32[4] zb = {{0, 0, 0, 0}},
  float sy = {{{step}}}, uint8 zy = {{{zero}}}
>
{{
  qx = QuantizeLinear (x, sx, zx)
  dx = DequantizeLinear (qx, sx, zx)
  dw = DequantizeLinear <axis = 0> (w, sw, zw)
  db = DequantizeLinear <axis = 0> (b, sb, zb)
  c = Conv <pads = [1, 1, 1, 1]> (dx, dw, db)
  qc = QuantizeLinear (c, sy, zy)
  dc = DequantizeLinear (qc, sy, zy)
  y = {last} (dc)
}}
"""


def model(*, step: float, zero: int, last: str = "Neg") -> ir.Model:
    import onnx

    weights = np.random.default_rng(SEED).integers(-40, 40, 4 * 3 * 3 * 3)
    text = TEXT.format(weights=", ".join(map(str, weights)), step=step, zero=zero, last=last)
    return io.from_bytes(onnx.parser.parse_model(text).SerializeToString())


def run(what: ir.Model, x: Floats) -> Floats:
    with open_model(what, RunOptions()) as session:
        return np.asarray(session.run({"x": x})["y"], np.float32)


@dataclass(frozen=True)
class Case:
    """A quantizer behind the convolution, and the activation that it stands for."""

    id: str
    step: float
    zero: int
    operator: str | None


CASES = [
    Case("both signs: nothing", 0.1, 128, None),
    Case("nothing below zero: Relu", 0.05, 0, "Relu"),
    Case("zero to six: Clip", 6 / 255, 0, "Clip"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_float_form_is_within_steps_of_the_integers(case: Case) -> None:
    quantized = model(step=case.step, zero=case.zero)
    found = to_float(quantized)
    assert is_quantized(quantized)
    assert not is_quantized(found)
    operators = [node.op_type for node in found.graph]
    assert operators == ["Conv", *([case.operator] if case.operator else []), "Neg"]
    # On the input's own grid, so that only the output is rounded: half a step, and float32's last bits.
    x = (0.03 * np.random.default_rng(SEED).integers(-60, 60, (2, 3, 6, 6))).astype(np.float32)
    apart = np.abs(run(found, x) - run(quantized, x)) / case.step
    inside = np.abs(run(found, x)) < case.step * 120
    assert inside.mean() > 0.5
    assert apart[inside].max() <= 0.5 + 1e-3


def test_without_the_activation_the_sabotage_shows() -> None:
    """The check above would see a Relu that got lost."""
    quantized, plain = model(step=0.05, zero=0), to_float(model(step=0.05, zero=128))
    x = (0.03 * np.random.default_rng(SEED).integers(-60, 60, (2, 3, 6, 6))).astype(np.float32)
    assert np.abs(run(plain, x) - run(quantized, x)).max() / 0.05 > 5


def test_an_integer_output_keeps_its_quantizer() -> None:
    kept = model(step=0.1, zero=128)
    kept.graph.outputs[:] = [next(n.outputs[0] for n in kept.graph if n.outputs[0].name == "qc")]
    kept.graph.remove(next(n for n in kept.graph if n.op_type == "Neg"), safe=True)
    found = to_float(kept)
    assert [node.op_type for node in found.graph] == ["Conv", "QuantizeLinear"]


def test_blocks_are_dequantized_along_their_axis() -> None:
    import onnx

    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[n, 5] x) => (float[n, 2] y)
    <int8[5, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, float[3, 2] s = {1, 10, 2, 20, 3, 30}>
    { dw = DequantizeLinear <axis = 0, block_size = 2> (w, s)  y = MatMul (x, dw) }
    """
    found = to_float(io.from_bytes(onnx.parser.parse_model(text).SerializeToString()))
    expected = np.array([[1, 20], [3, 40], [10, 120], [14, 160], [27, 300]], np.float32)
    np.testing.assert_array_equal(run(found, np.eye(5, dtype=np.float32)), expected)


def test_the_model_that_was_handed_in_is_untouched() -> None:
    before = model(step=0.05, zero=0)
    text = io.to_bytes(before)
    to_float(before)
    assert io.to_bytes(before) == text
