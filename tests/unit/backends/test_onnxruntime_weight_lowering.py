"""Lowered integer weights on ONNX Runtime against NumPy, from the definitions of the canonical form.

    weight-only   y = x @ (scale * W_int)                        within 1e-4 of the output's range
    dynamic       y = dq(DynamicQuantizeLinear(x)) @ (scale * W_int)    within 1e-4 of the output's range

Inputs and weights: normal, seed 0. Sessions run in this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.backends import small_weights
from edgekit.backends.onnxruntime_engine import _imported, _session_options
from edgekit.backends.onnxruntime_lowering import lowered, options_for, packed, saturating
from edgekit.backends.small_weights import WEIGHT_ONLY
from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.weights import place_weights
from edgekit.spec import Array, Precision, RunOptions
from edgekit.target import load

Floats = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lowered here stands for larger weights; tests/parity/test_small_weights.py has the others."""
    monkeypatch.setattr(small_weights, "SMALL_BYTES", 0)


ORT = load("onnxruntime-cpu")
RNG = np.random.default_rng(0)
W = RNG.normal(size=(64, 96)).astype(np.float32)
BIAS = RNG.normal(size=96).astype(np.float32)
TABLE = RNG.normal(size=(50, 64)).astype(np.float32)
X = RNG.normal(size=(7, 64)).astype(np.float32)

MATMUL = "g (float[2, n, 64] x) => (float[2, n, 96] y) <float[64, 96] w> { y = MatMul(x, w) }"
GEMM = """
g (float[n, 64] x) => (float[n, 96] y) <float[64, 96] w, float[96] b> { a = MatMul(x, w) y = Add(a, b) }
"""
GATHER = "g (int64[n, 3] i) => (float[n, 3, 64] y) <float[50, 64] t> { y = Gather(t, i) }"
TWICE = """
g (float[n, 64] x) => (float[n, 96] y, float[n, 96] z)
<float[64, 96] w, float[64, 96] v> { y = MatMul(x, w) z = MatMul(x, v) }
"""


def model(text: str, precision: Precision, **arrays: Array) -> ir.Model:
    """The canonical weight form of a graph."""
    head = '<ir_version: 10, opset_import: ["" : 21]>\n'
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    canonical = canonicalize(ir.from_onnx_text(head + text, initializers=tensors))
    return apply(canonical, place_weights(canonical, ORT, precision))


def run(
    made: ir.Model, feeds: Mapping[str, Array], *, options: RunOptions | None = None
) -> tuple[Floats, ...]:
    settings.silence_native_libraries()
    ort = _imported()
    session = ort.InferenceSession(
        io.to_bytes(made), _session_options(ort, options or RunOptions()), providers=["CPUExecutionProvider"]
    )
    return tuple(session.run(None, dict(feeds)))


def rounded(weight: Floats) -> Floats:
    """scale * W_int with one scale per column."""
    scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    return np.asarray(np.rint(weight / scale) * scale, np.float32)


def dynamic(x: Floats) -> Floats:
    """DynamicQuantizeLinear-11 and back: uint8 per tensor, a range that holds zero."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.asarray((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale, np.float32)


def assert_close(found: Floats, expected: Floats) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)


def operators(made: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in made.graph)


def test_dynamic_computes_what_the_form_says() -> None:
    made = lowered(model(MATMUL, Precision.DYNAMIC, w=W), Precision.DYNAMIC)
    x = np.stack([X, X * 3])
    (found,) = run(made, {"x": x})
    assert_close(found, dynamic(x) @ rounded(W))
    assert np.abs(found - x @ rounded(W)).max() > 1e-4 * np.ptp(found), "activations are rounded"
    assert operators(made) == {"DynamicQuantizeLinear": 1, "MatMulInteger": 1, "Cast": 1, "Mul": 2}


def test_a_dense_layer_keeps_its_bias() -> None:
    canonical = model(GEMM, Precision.DYNAMIC, w=W, b=BIAS)
    assert operators(canonical)["Gemm"] == 1
    (found,) = run(lowered(canonical, Precision.DYNAMIC), {"x": X})
    assert_close(found, dynamic(X) @ rounded(W) + BIAS)


def test_readers_of_one_value_share_its_integers() -> None:
    made = lowered(model(TWICE, Precision.DYNAMIC, w=W, v=W[::-1].copy()), Precision.DYNAMIC)
    assert operators(made)["DynamicQuantizeLinear"] == 1
    first, second = run(made, {"x": X})
    assert_close(first, dynamic(X) @ rounded(W))
    assert_close(second, dynamic(X) @ rounded(W[::-1].copy()))


def test_w8_stays_float_where_quantizers_are_folded() -> None:
    made = lowered(model(MATMUL, Precision.W8, w=W), Precision.W8)
    x = np.stack([X, X * 3])
    options = options_for(Precision.W8, RunOptions())
    assert options.settings == (("session.disable_quant_qdq", "1"),)
    (found,) = run(made, {"x": x}, options=options)
    assert_close(found, x @ rounded(W))


def test_without_the_option_w8_is_quantized_unasked() -> None:
    """The sabotage of the test above: it fails on the day when the option is not needed any more."""
    made = lowered(model(MATMUL, Precision.W8, w=W), Precision.W8)
    x = np.stack([X, X * 3])
    (found,) = run(made, {"x": x})
    assert np.abs(found - x @ rounded(W)).max() > 1e-4 * np.ptp(found)


@pytest.mark.parametrize("precision", [p for p in Precision if p not in WEIGHT_ONLY])
def test_other_precisions_run_as_they_are_told(precision: Precision) -> None:
    options = RunOptions(threads=2, settings=(("session.intra_op.allow_spinning", "1"),))
    assert options_for(precision, options) == options
    for other in WEIGHT_ONLY:
        assert options_for(other, options).settings[1] == options.settings[0]


def test_w8_gathers_integers() -> None:
    made = lowered(model(GATHER, Precision.W8, t=TABLE), Precision.W8)
    rows = np.random.default_rng(0).integers(-50, 50, (4, 3))
    (found,) = run(made, {"i": rows}, options=options_for(Precision.W8, RunOptions()))
    np.testing.assert_array_equal(found, rounded(TABLE.T.copy()).T[rows])
    kinds = {
        value.dtype
        for value in made.graph.initializers.values()
        if value.const_value is not None and value.const_value.size > 64
    }
    assert kinds == {ir.DataType.INT8}


@pytest.mark.parametrize("text", [MATMUL, GEMM], ids=["MatMul", "Gemm"])
def test_w4_accumulates_in_float(text: str) -> None:
    arrays = {"w": W, "b": BIAS} if text is GEMM else {"w": W}
    made = lowered(model(text, Precision.W4, **arrays), Precision.W4)
    assert operators(made)["MatMulNBits"] == 1
    steps = np.repeat(np.abs(W).reshape(2, 32, 96).max(axis=1) / 7, 32, axis=0).astype(np.float32)
    expected = X @ (np.rint(W / steps) * steps) + (BIAS if text is GEMM else 0)
    (found,) = run(made, {"x": X if text is GEMM else np.stack([X, X])})
    assert_close(found, expected if text is GEMM else np.stack([expected, expected]))


def test_packing_puts_the_first_value_into_the_low_half() -> None:
    weight = np.array([[-7, 0, 7, 1]], np.int8)
    np.testing.assert_array_equal(packed(weight, blocks=2), [[[0x81], [0x9F]]])


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.W8A8])
def test_other_precisions_are_not_rewritten(precision: Precision) -> None:
    canonical = model(MATMUL, Precision.W8, w=W)
    assert lowered(canonical, precision) is canonical


@pytest.mark.parametrize("precision", [Precision.DYNAMIC, Precision.W8, Precision.W4])
def test_the_model_is_not_changed_and_bytes_repeat(precision: Precision) -> None:
    canonical = model(GEMM, precision, w=W, b=BIAS)
    before = digest(canonical)
    first, second = lowered(canonical, precision), lowered(canonical, precision)
    assert digest(canonical) == before
    assert io.to_bytes(first) == io.to_bytes(second)


def test_asymmetric_and_per_tensor_weights_stay_behind_dequantize() -> None:
    canonical = model(MATMUL, Precision.DYNAMIC, w=W)
    zero = next(v for name, v in canonical.graph.initializers.items() if name.endswith("zero_point"))
    zero.const_value = ir.tensor(np.ones(96, np.int8), name=zero.name)
    assert operators(lowered(canonical, Precision.DYNAMIC)) == {"DequantizeLinear": 1, "MatMul": 1}


def test_saturating_products_are_counted() -> None:
    loud = np.zeros((64, 96), np.float32)
    loud[0] = 1.0  # 127 alone in every pair of rows: 255 * 127 fits int16
    assert saturating(lowered(model(MATMUL, Precision.DYNAMIC, w=loud), Precision.DYNAMIC)) == ()
    loud[1] = 1.0  # 255 * (127 + 127) does not
    assert len(saturating(lowered(model(MATMUL, Precision.DYNAMIC, w=loud), Precision.DYNAMIC))) == 1
