"""Float weights behind integers stay float on ONNX Runtime, and without the protection they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_float_weights import with_float_weights
from edgekit.backends.onnxruntime_lowering import lowered
from edgekit.errors import ModelFileError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.passes import canonicalize
from edgekit.spec import Precision, RunOptions

Floats = npt.NDArray[np.float32]
CASES = {
    "Conv": ("float[1, 4, 3, 3]", "float[1, 4, 3, 3]", "Conv <pads = [1, 1, 1, 1]>", (4, 4, 3, 3)),
    "Conv, grouped": ("float[1, 4, 3, 3]", "float[1, 4, 3, 3]", "Conv <group = 2>", (4, 2, 1, 1)),
    "ConvTranspose": ("float[1, 4, 3, 3]", "float[1, 2, 3, 3]", "ConvTranspose", (4, 2, 1, 1)),
    "Gemm": ("float[2, 4]", "float[2, 3]", "Gemm", (4, 3)),
    "Gemm, turned": ("float[2, 4]", "float[2, 3]", "Gemm <transB = 1>", (3, 4)),
    "one channel (F1)": ("float[1, 1, 3, 3]", "float[1, 2, 3, 3]", "Conv", (2, 1, 1, 1)),
}


def _model(case: str) -> tuple[ir.Model, Floats, Floats]:
    """x -> Q -> DQ -> operator with a wide float weight -> Q -> DQ, its input, and what it shall give."""
    given, gives, operator, shape = CASES[case]
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.1, 1.0, shape).astype(np.float32)
    weight.flat[0] = 3000.0  # one scale for all: everything else rounds to 0
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
g ({given} x) => ({gives} y)
<float s = {{0.05}}, uint8 z = {{128}}, float t = {{0.1}}, uint8 o = {{128}}> {{
  [q] a = QuantizeLinear (x, s, z)   [dq] b = DequantizeLinear (a, s, z)
  [op] c = {operator} (b, w)
  [q2] d = QuantizeLinear (c, t, o)  [dq2] y = DequantizeLinear (d, t, o)
}}"""
    model = ir.from_onnx_text(text, initializers=[ir.tensor(weight, name="w")])
    dims = [int(size) for size in given[6:-1].split(",")]
    x = (rng.integers(-20, 20, dims) * 0.05).astype(np.float32)
    x.flat[0] = x[..., 0] = 0.0  # the wide weight meets nothing, so the others decide
    return model, x, _float_of(model, x)


def _float_of(model: ir.Model, x: Floats) -> Floats:
    """Without the pair in front: x is on the grid already."""
    plain = model.clone()
    nodes = {node.name: node for node in plain.graph}
    nodes["op"].replace_input_with(0, plain.graph.inputs[0])
    for name in ("dq", "q"):
        plain.graph.remove(nodes[name], safe=True)
    return _run(plain, x)


def _run(model: ir.Model, x: Floats, *, optimized: Path | None = None) -> Floats:
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("case", CASES)
def test_the_weight_stays_float(case: str, tmp_path: Path) -> None:
    model, x, expected = _model(case)
    given = _run(lowered(model, Precision.W8A8), x, optimized=tmp_path / "optimized.onnx")
    assert np.abs(given - expected).max() <= 0.1 + 1e-5  # one step of the output
    there = {node.op_type for node in io.load(tmp_path / "optimized.onnx").graph}
    assert not there & {"QLinearConv", "QGemm"}


def test_sabotage_without_it_the_runtime_quantizes_the_weight(tmp_path: Path) -> None:
    """The day this fails, ONNX Runtime has stopped doing so, and the protection can go."""
    model, x, _ = _model("Conv")
    _run(model, x, optimized=tmp_path / "optimized.onnx")
    assert "QLinearConv" in {node.op_type for node in io.load(tmp_path / "optimized.onnx").graph}


def test_what_needs_no_protection_is_the_same_model() -> None:
    """F2: integers behind DequantizeLinear are what the plan says."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 4] x) => (float[1, 3] y) <float s = {0.05}, uint8 z = {128}, float t = {0.1}, int8 o = {0}> {
  a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, s, z)
  w = DequantizeLinear (v, t, o)
  y = Gemm (b, w)
}"""
    model = ir.from_onnx_text(text, initializers=[ir.tensor(np.ones((4, 3), np.int8), name="v")])
    assert with_float_weights(model) is model


def test_readers_of_one_value_share_its_new_form() -> None:
    model, _, _ = _model("Conv")
    twice = model.clone()
    first = next(node for node in twice.graph if node.name == "op")
    second = ir.node("Conv", list(first.inputs), attributes=dict(first.attributes), name="op2")
    second.outputs[0].name = "e"
    twice.graph.insert_after(first, second)
    protected = [node.name for node in with_float_weights(twice).graph if "by_channel" in (node.name or "")]
    assert len(protected) == 1


def test_openvino_reads_the_same_numbers() -> None:
    """The portable file has this form too."""
    openvino = pytest.importorskip("openvino")
    model, x, expected = _model("Conv")
    core = openvino.Core()
    read = core.read_model(io.to_bytes(lowered(model, Precision.W8A8)))
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled([x])[0] - expected).max() <= 0.1 + 1e-5


def test_a_model_in_memory_is_protected_too() -> None:
    """Parity and calibration open what no back end has compiled."""
    model, x, expected = _model("Conv")
    with open_model(model, RunOptions()) as session:
        given = np.asarray(session.run({"x": x})["y"], np.float32)
    assert np.abs(given - expected).max() <= 0.1 + 1e-5


def test_the_form_is_read_back_as_one_scale() -> None:
    """A file that was written for ONNX Runtime is a source like any other."""
    model, _, _ = _model("Conv")
    protected = lowered(model, Precision.W8A8)
    scales = [node.inputs[1] for node in protected.graph if node.op_type == "DequantizeLinear"]
    assert {constant(scale).size for scale in scales} == {1, 4}  # type: ignore[union-attr]
    read = canonicalize(protected)
    scales = [node.inputs[1] for node in read.graph if node.op_type == "DequantizeLinear"]
    assert {constant(scale).size for scale in scales} == {1}  # type: ignore[union-attr]


def test_different_scales_of_channels_are_not_read_as_one() -> None:
    model, _, _ = _model("Conv")
    protected = lowered(model, Precision.W8A8).clone()
    for name, value in protected.graph.initializers.items():
        if name.endswith("_scales"):
            value.const_value = ir.tensor(np.array([0.05, 0.05, 0.05, 0.06], np.float32), name=name)
    with pytest.raises(ModelFileError, match="vector"):
        canonicalize(protected)
