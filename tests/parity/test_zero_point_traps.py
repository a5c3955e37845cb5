"""Zero points of activations that one runtime takes and another refuses: the portable file has none of them.

    form                      ONNX Runtime               OpenVINO, f32    OpenVINO, bf16 hint
    Z1 uint8, a scalar        runs                       runs             runs
    Z2 int8, not zero         runs                       runs             "No suitable implementations"
    Z3 one for each channel   QLinearConv refuses        runs             runs
    Z4 a vector of one        runs                       runs             runs

Z1 is what ``apply`` writes. The others are made of it here, and are the sabotage: each is seen red where the
table says so. The bf16 hint is OpenVINO's default on machines with AMX. Z3 is what NNCF 3.4 writes
for depthwise convolutions. Source: measured, ONNX Runtime 1.31 and OpenVINO 2026.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.ir import io
from edgekit.ir.graph import constant, is_onnx
from edgekit.measure.machine import cpu_features
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Range
from edgekit.target import load

Floats = npt.NDArray[np.float32]
SEED, CHANNELS = 0, 8
TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 8, 9, 9] x) => (float[1, 8, 5, 5] y) <float[8, 1, 3, 3] d, float[8, 8, 3, 3] w>
{ a = Conv<group = 8>(x, d) y = Conv(a, w) }"""
RANGES = {"x": Range(-1.0, 3.0), "a": Range(-4.0, 5.0), "y": Range(-20.0, 30.0)}
STEPS = 2.0  # of the output: two roundings in a row may fall to the other side


@pytest.fixture
def portable() -> ir.Model:
    rng = np.random.default_rng(SEED)
    drawn = {"d": rng.normal(size=(8, 1, 3, 3)), "w": rng.normal(size=(8, 8, 3, 3)) / 4}
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in drawn.items()]
    model = canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))
    return apply(model, place(model, load("portable"), RANGES))


def pairs(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Value, ir.Value]]:
    """QuantizeLinear and DequantizeLinear of activations, with scale and zero point."""
    for node in model.graph:
        if is_onnx(node, "QuantizeLinear", "DequantizeLinear") and constant(node.inputs[0]) is None:
            scale, zero = node.inputs[1:]
            assert scale is not None
            assert zero is not None
            yield node, scale, zero


def with_zero_points(model: ir.Model, form: str) -> ir.Model:
    """``model`` in the form Z2, Z3 or Z4: the same reals."""
    made = model.clone()
    done: set[str] = set()
    for node, scale, zero in pairs(made):
        if form == "Z3":
            node.attributes["axis"] = ir.AttrInt64("axis", 1)
        if form == "Z2" and node.op_type == "QuantizeLinear":
            node.outputs[0].dtype = ir.DataType.INT8
        for value in (scale, zero):
            name, array = value.name or "", np.asarray(constant(value))
            if name in done:
                continue
            done.add(name)
            if form == "Z2" and value is zero:
                array = (array.astype(np.int16) - 128).astype(np.int8)
            if form in {"Z3", "Z4"}:
                array = np.full(CHANNELS if form == "Z3" else 1, array)
            value.const_value = ir.tensor(array, name=name)
            value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    return made


def feeds() -> Mapping[str, Floats]:
    return {"x": np.random.default_rng(SEED).normal(size=(1, 8, 9, 9)).astype(np.float32)}


def on_onnxruntime(model: ir.Model) -> Floats:
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(feeds()))[0], np.float32)


def on_openvino(model: ir.Model, hint: str) -> Floats:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    read = core.read_model(io.to_bytes(model))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return np.asarray(compiled(dict(feeds()))[0], np.float32)


def needs_bf16() -> None:
    if not {"avx512_bf16", "amx_bf16"} & set(cpu_features()):
        pytest.skip("this CPU does not compute in bf16: OpenVINO does not follow the hint")


def test_the_portable_file_has_scalars_of_uint8_or_no_zero_point(portable: ir.Model) -> None:
    """Z1; the ranges have both signs, so that nothing is zero by chance."""
    found = list(pairs(portable))
    assert len(found) == 6
    for _, scale, zero in found:
        assert np.asarray(constant(scale)).shape == np.asarray(constant(zero)).shape == ()
        assert zero.dtype == ir.DataType.UINT8
        assert np.asarray(constant(zero)) > 0


@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_the_portable_file_runs_everywhere(portable: ir.Model, hint: str) -> None:
    step = (RANGES["y"].high - RANGES["y"].low) / 255
    assert np.abs(on_openvino(portable, hint) - on_onnxruntime(portable)).max() <= STEPS * step


def test_signed_zero_points_do_not_compile_under_the_bf16_hint(portable: ir.Model) -> None:
    """Z2. When this fails, OpenVINO was repaired, and D4 of ``place`` has one reason less."""
    signed = with_zero_points(portable, "Z2")
    on_onnxruntime(signed)
    on_openvino(signed, "f32")
    needs_bf16()
    with pytest.raises(RuntimeError, match="No suitable implementations"):
        on_openvino(signed, "bf16")


def test_zero_points_for_each_channel_do_not_run_on_onnxruntime(portable: ir.Model) -> None:
    """Z3."""
    vectors = with_zero_points(portable, "Z3")
    for hint in ("f32", "bf16"):
        on_openvino(vectors, hint)
    with pytest.raises(Exception, match="QLinearConv"):
        on_onnxruntime(vectors)


def test_a_vector_of_one_is_a_scalar_for_both(portable: ir.Model) -> None:
    """Z4."""
    single = with_zero_points(portable, "Z4")
    assert np.array_equal(on_onnxruntime(single), on_onnxruntime(portable))
    for hint in ("f32", "bf16"):
        assert np.array_equal(on_openvino(single, hint), on_openvino(portable, hint))


@pytest.mark.parametrize("form", ["Z2", "Z3", "Z4"])
def test_the_check_of_the_portable_file_sees_each(portable: ir.Model, form: str) -> None:
    """Sabotage of the first test."""
    with pytest.raises(AssertionError):
        test_the_portable_file_has_scalars_of_uint8_or_no_zero_point(with_zero_points(portable, form))
