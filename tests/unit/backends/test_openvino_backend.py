"""OpenVINO: the IR's bytes, static shapes, int8 kernels, names."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends.base import Backend, CompileRequest
from edgekit.backends.openvino import OpenVino
from edgekit.backends.openvino_engine import OpenVinoEngine
from edgekit.backends.worker_process import EngineError
from edgekit.errors import MissingBackendError, ModelFileError, OutputError, TargetRefusalError
from edgekit.spec import Artifact, Precision, RunOptions

CPU = targets.load("openvino-cpu")

# A quantized matrix product between Q/DQ pairs: 0.01 is the step of the weights, 0.05 that of the output.
QDQ = """<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,16] x) => (float[batch,8] logits)
<float s = {0.02}, uint8 z = {128}, float t = {0.01}, int8 o = {0}, float u = {0.05}, uint8 v = {128},
 int8[16,8] w = {%s}>
{ [q] a = QuantizeLinear(x, s, z) [d] b = DequantizeLinear(a, s, z) [e] c = DequantizeLinear(w, t, o)
  [product] m = MatMul(b, c) [f] n = QuantizeLinear(m, u, v) [g] logits = DequantizeLinear(n, u, v) }"""
RELU = '<ir_version: 10, opset_import: ["" : 21]> g (float[batch,4] x) => (float[batch,4] y) { y = Relu(x) }'


def qdq() -> ir.Model:
    weights = np.random.default_rng(3).integers(-127, 128, 128)
    return ir.serde.deserialize_model(onnx.parser.parse_model(QDQ % ",".join(map(str, weights))))


def relu() -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(RELU))


def compiled(model: ir.Model, folder: Path, *, options: RunOptions | None = None) -> Artifact:
    folder.mkdir(exist_ok=True)
    options = options or CPU.run.options()
    return OpenVino().compile(CompileRequest(model, CPU, Precision.W8A8, options, "m-1-ov-w8a8"), folder)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compiled(qdq(), tmp_path_factory.mktemp("quantized"))


@pytest.fixture(scope="module")
def floating(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compiled(relu(), tmp_path_factory.mktemp("floating"))


def test_it_is_a_back_end() -> None:
    backend: Backend = OpenVino()
    assert backend.probe(CPU).ok


def test_probe_says_what_is_too_old() -> None:
    found = OpenVino().probe(CPU.model_copy(update={"runtime": ">=9999"}))
    assert (found.ok, found.remedy) == (False, 'pip install "openvino>=9999"')


def test_the_ir_has_the_same_bytes_each_time_and_names_no_path(quantized: Artifact, tmp_path: Path) -> None:
    first = quantized
    again = compiled(qdq(), tmp_path / "another place")
    assert [entry.path for entry in first.files] == ["m-1-ov-w8a8.xml", "m-1-ov-w8a8.bin"]
    assert first.files == again.files
    text = first.path.read_text()
    assert "model.onnx" not in text
    assert str(first.folder) not in text
    assert sorted(path.name for path in first.folder.iterdir()) == sorted(e.path for e in first.files)


def test_weights_stay_int8_in_the_file(quantized: Artifact) -> None:
    assert 'element_type="i8"' in quantized.path.read_text()
    assert quantized.files[1].size_bytes < 128 * 4  # the 128 weights alone would be more in float


def test_int8_kernels_really_run_and_names_and_batches_hold(quantized: Artifact) -> None:
    with OpenVino().open(quantized, quantized.options) as session:
        assert "_I8:" in session.facts["kernels"]
        assert session.facts["precision_hint"] == "f32"
        assert (session.facts["device"], session.facts["threads"]) == ("cpu", "1")
        assert [spec.name for spec in session.outputs] == ["logits"]
        x = np.random.default_rng(5).normal(size=(6, 16)).astype(np.float32)
        together = session.run({"x": x})["logits"]
        for batch in (1, 2, 3):  # other shapes, compiled on their own: bit-equal integer arithmetic
            alone = np.concatenate([session.run({"x": part})["logits"] for part in np.split(x, 6 // batch)])
            np.testing.assert_array_equal(alone, together)
        for batch in (4, 5, 6):  # more shapes than are kept
            np.testing.assert_array_equal(session.run({"x": x[:batch]})["logits"], together[:batch])
        assert len(session.time_ms({"x": x[:1]}, runs=3)) == 3


def test_a_model_that_one_cannot_be_put_into_runs_with_dynamic_shapes(tmp_path: Path) -> None:
    text = QDQ.replace("[batch,16]", "[batch,n]") % ",".join(["1"] * 128)
    artifact = compiled(ir.serde.deserialize_model(onnx.parser.parse_model(text)), tmp_path)
    with OpenVino().open(artifact, artifact.options) as session:
        found = session.run({"x": np.ones((2, 16), np.float32)})["logits"].astype(np.float32)
    # 16 products of 1.0 and 0.01: 0.16, to the output's step of 0.05
    np.testing.assert_allclose(found, np.full((2, 8), 0.15), atol=0.0001)


def test_an_inference_is_timed_by_the_runtimes_own_clock(floating: Artifact) -> None:
    """Within the wall clock's figure of the same call, which has the way in from Python too."""
    engine = OpenVinoEngine(floating.path, RunOptions(), ["x"], ["y"])
    engine.bind({"x": np.zeros((1, 4), np.float32)})
    for _ in range(20):
        begin = time.perf_counter_ns()
        engine.invoke()
        around = time.perf_counter_ns() - begin
        assert 0 < engine.took_ns() <= around


def test_float_kernels_are_not_called_int8(floating: Artifact) -> None:
    with OpenVino().open(floating, floating.options) as session:
        assert "_I8:" not in session.facts["kernels"]


def test_settings_of_the_options_reach_the_plug_in(floating: Artifact) -> None:
    with pytest.raises(EngineError, match="NO_SUCH_SETTING"):
        OpenVino().open(floating, RunOptions(settings=(("NO_SUCH_SETTING", "1"),)))


def test_another_device_is_refused_not_replaced(floating: Artifact) -> None:
    with pytest.raises(MissingBackendError, match="not on 'cuda'"):
        OpenVino().open(floating, RunOptions(device="cuda"))


@pytest.mark.parametrize("broken", ["m-1-ov-w8a8.xml", "m-1-ov-w8a8.bin"])
def test_a_damaged_ir_is_named(quantized: Artifact, tmp_path: Path, broken: str) -> None:
    shutil.copytree(quantized.folder, tmp_path, dirs_exist_ok=True)
    artifact = dataclasses.replace(quantized, folder=tmp_path)
    (tmp_path / broken).write_bytes(b"<net>")
    with pytest.raises(ModelFileError, match=r"m-1-ov-w8a8\.xml is not a readable OpenVINO IR"):
        OpenVino().open(artifact, artifact.options)


def test_a_refused_model_leaves_no_file(tmp_path: Path) -> None:
    model = relu()
    next(iter(model.graph)).op_type = "Foo"
    with pytest.raises(TargetRefusalError, match="no conversion rule for Foo"):
        compiled(model, tmp_path)
    model = relu()
    model.graph.opset_imports[""] = 22
    with pytest.raises(TargetRefusalError, match="opset 22"):
        compiled(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    request = CompileRequest(relu(), CPU, Precision.FP32, CPU.run.options(), "m")
    with pytest.raises(OutputError, match="cannot be written"):
        OpenVino().compile(request, tmp_path / "absent")
