"""ONNX Runtime: probe, check, compile, open, and in-memory models."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends.base import Backend, CompileRequest
from edgekit.backends.onnxruntime import OnnxRuntime, open_model
from edgekit.backends.worker_process import EngineError
from edgekit.errors import InputError, MissingBackendError, ModelFileError, TargetRefusalError
from edgekit.ir import io
from edgekit.spec import Precision, RunOptions
from edgekit.target import Target

CPU = targets.load("onnxruntime-cpu")
CUDA = targets.load("gpu-cuda")


def model_of(body: str, *, inputs: str = "float[batch,4] x", outputs: str = "float[batch,4] y") -> ir.Model:
    text = f'<ir_version: 10, opset_import: ["" : 21, "my.own" : 1]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def relu() -> ir.Model:
    return model_of("[first] y = Relu(x)")


def request(model: ir.Model, *, target: Target = CPU, stem: str = "m-1-cpu-fp32") -> CompileRequest:
    return CompileRequest(model, target, Precision.FP32, target.run.options(), stem)


def need_no_gpu() -> None:
    if OnnxRuntime().probe(CUDA).ok:
        pytest.skip("a CUDA device works here, so its absence cannot be shown")


def test_it_is_a_back_end() -> None:
    backend: Backend = OnnxRuntime()
    assert backend.probe(CPU).ok
    assert backend.probe(CPU).version.count(".") == 2


def test_probe_says_what_is_too_old() -> None:
    found = OnnxRuntime().probe(CPU.model_copy(update={"runtime": ">=99"}))
    assert (found.ok, "needs >=99" in found.reason) == (False, True)
    assert found.remedy == 'pip install "onnxruntime>=99"'


def test_probe_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.backends.onnxruntime.installed_version", lambda *_: "")
    found = OnnxRuntime().probe(CPU)
    assert (found.ok, found.reason) == (False, "onnxruntime is not installed")


def test_cuda_that_is_not_there_is_said_with_a_remedy_and_never_run_on_the_cpu() -> None:
    need_no_gpu()
    found = OnnxRuntime().probe(CUDA)
    assert "CUDA" in found.reason
    assert found.remedy
    with pytest.raises(MissingBackendError, match="CUDA"):
        open_model(relu(), CUDA.run.options())


def test_check_finds_nothing_wrong_with_a_good_model() -> None:
    model = relu()
    before = io.to_bytes(model)
    assert OnnxRuntime().check(model, CPU) == ()
    assert io.to_bytes(model) == before


def test_check_for_a_device_that_is_absent_uses_the_cpu() -> None:
    assert OnnxRuntime().check(relu(), CUDA.model_copy(update={"operators": ()})) == ()


def test_compile_writes_the_same_bytes_and_open_runs_them(tmp_path: Path) -> None:
    first = OnnxRuntime().compile(request(relu()), tmp_path)
    again = OnnxRuntime().compile(request(relu()), tmp_path)
    assert first == again
    assert [path.name for path in tmp_path.iterdir()] == ["m-1-cpu-fp32.onnx"]
    assert first.files[0].sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first.tools.keys() == {"onnxruntime"}
    x = np.array([[-1, 0, 1, 2]], np.float32)
    with OnnxRuntime().open(first, first.options) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(x, 0))
        assert session.facts["runtime"] == "onnxruntime"
        assert session.facts["device"] == "cpu"
        assert session.facts["providers"] == "CPUExecutionProvider"


def test_a_run_keeps_no_memory_of_the_one_before() -> None:
    with open_model(relu(), RunOptions()) as session:
        for batch in (3, 1, 5):
            x = np.random.default_rng(batch).normal(size=(batch, 4)).astype(np.float32)
            np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(x, 0))


def test_inputs_of_any_type_and_outputs_of_unknown_size() -> None:
    model = model_of(
        "[a] y = NonZero(x) [b] h = Identity(half)",
        inputs="bool[n] x, float16[2] half",
        outputs="int64[1,m] y, float16[2] h",
    )
    with open_model(model, RunOptions()) as session:
        found = session.run({"x": np.array([True, False, True]), "half": np.ones(2, np.float16)})
    assert found["y"].tolist() == [[0, 2]]
    assert found["h"].dtype == np.float16


def test_open_model_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_model(relu(), RunOptions()) as session:
        assert list(tmp_path.iterdir()) == []
        session.run({"x": np.zeros((1, 4), np.float32)})
    with pytest.raises(EngineError):
        open_model(model_of("[n] y = Foo(x)"), RunOptions())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x08\x01garbage" * 10], ids=["empty", "garbage"])
def test_a_damaged_artifact_is_named(tmp_path: Path, content: bytes) -> None:
    artifact = OnnxRuntime().compile(request(relu()), tmp_path)
    artifact.path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m-1-cpu-fp32\.onnx is not a readable ONNX file"):
        OnnxRuntime().open(artifact, artifact.options)


def test_settings_reach_the_session_and_unknown_ones_are_refused() -> None:
    good = (("graph_optimization_level", "none"), ("session.intra_op.allow_spinning", "1"))
    open_model(relu(), RunOptions(threads=2, settings=good)).close()
    for bad in (("spinning", "1"), ("graph_optimization_level", "most")):
        with pytest.raises(InputError, match="unknown"):
            open_model(relu(), RunOptions(settings=(bad,)))


def test_compile_refuses_what_check_refuses_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TargetRefusalError, match=r"onnxruntime-cpu refuses the model: first"):
        OnnxRuntime().compile(request(model_of("[first] y = my.own.Foo(x)")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_right_whatever_shape_the_last_ones_had() -> None:
    """They are written in place where their shape is the last one's; ONNX Runtime refuses another one."""
    text = "g (float[n] x) => (int64[1, m] y, float[n] z) { y = NonZero(x) z = Add(x, x) }"
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    with open_model(model, RunOptions()) as session:
        for x in ([1, 0, 2], [0, 3, 4], [1, 1, 1], [0, 0, 0], [0, 0, 0], [5, 0, 0], [1, 2], [0, 2]):
            feeds = np.array(x, np.float32)
            found = session.run({"x": feeds})
            np.testing.assert_array_equal(found["y"], np.array(np.nonzero(feeds)))
            np.testing.assert_array_equal(found["z"], 2 * feeds)
