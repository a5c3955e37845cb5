"""The back end through its contract: probe, compile, open in a worker; files, bindings, batches, facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import backend
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.spec import Artifact, Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_onnx

TARGET = targets.load("litert-cpu")


def _model() -> Model:
    return Model(seed=3)


def _compile(folder: Path) -> tuple[Artifact, object]:
    m = _model()
    x = m.input("image", ("batch", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    z = m.add("Gemm", m.add("Flatten", y), m.weight(256, 5), out="scores")
    built = m.build(z, y)
    request = CompileRequest(
        as_ir(built),
        TARGET,
        Precision.FP32,
        RunOptions(),
        "small",
        plan_digest="abc",
        output_steps={"scores": 0.5},
    )
    return LiteRt().compile(request, folder), built


def test_probe() -> None:
    found = LiteRt().probe(TARGET)
    assert found.ok
    assert found.version


def test_probe_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "installed_version", lambda *_names: "")
    found = LiteRt().probe(TARGET)
    assert not found.ok
    assert found.remedy == 'pip install "edgekit[litert]"'


def test_probe_of_an_old_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "installed_version", lambda *_names: "1.0")
    found = LiteRt().probe(TARGET)
    assert not found.ok
    assert "needs >=" in found.reason


def test_compile_writes_one_file_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, _ = _compile(tmp_path)
    content = first.path.read_bytes()
    second, _ = _compile(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["small.tflite"]
    assert first == second
    assert second.path.read_bytes() == content
    assert first.plan_digest == "abc"
    assert first.output_steps == {"scores": 0.5}
    assert set(first.tools) == {"ai-edge-litert", "flatbuffers"}


def test_a_session_speaks_the_reference_language(tmp_path: Path) -> None:
    """Names, NCHW layout and batch are the reference's, though the file is channels-last."""
    artifact, built = _compile(tmp_path)
    assert artifact.inputs[0].permutation == (0, 2, 3, 1)
    rng = np.random.default_rng(0)
    with LiteRt().open(artifact, RunOptions()) as session:
        assert session.inputs[0].shape == ("batch", 3, 8, 8)
        assert session.facts["runtime"] == "litert"
        assert session.facts["kernels"] == "xnnpack"
        for batch in (1, 3, 2):
            feeds = {"image": rng.standard_normal((batch, 3, 8, 8)).astype(np.float32)}
            found = session.run(feeds)
            expected = run_onnx(built, feeds)
            assert list(found) == list(expected)
            for name, value in expected.items():
                assert relative_error(found[name], value) <= 1e-5
        assert len(session.time_ms(feeds, runs=2)) == 2


def test_the_engine_returns_copies(tmp_path: Path) -> None:
    artifact, _ = _compile(tmp_path)
    engine = LiteRtEngine(artifact.path, RunOptions(), ["image"], ["scores"])
    one = engine.run({"image": np.ones((1, 8, 8, 3), np.float32)})["scores"]
    kept = one.copy()
    engine.run({"image": np.zeros((1, 8, 8, 3), np.float32)})
    np.testing.assert_array_equal(one, kept)


def test_builtin_kernels_can_be_asked_for(tmp_path: Path) -> None:
    artifact, _ = _compile(tmp_path)
    engine = LiteRtEngine(
        artifact.path, RunOptions(settings=(("kernels", "builtin"),)), ["image"], ["scores"]
    )
    assert engine.facts["kernels"] == "builtin"


def test_outputs_that_are_inputs_constants_or_twice(tmp_path: Path) -> None:
    m = _model()
    x = m.input("x", (2, 3))
    y = m.add("Relu", x, out="y")
    z = m.add("Identity", y, out="z")
    k = m.add("Constant", out="k", value_floats=[1.0, 2.0])
    built = m.build(y, z, k)
    artifact = LiteRt().compile(
        CompileRequest(as_ir(built), TARGET, Precision.FP32, RunOptions(), "twice"), tmp_path
    )
    engine = LiteRtEngine(artifact.path, RunOptions(), ["x"], ["y", "z", "k"])
    feed = np.asarray([[-1, 2, 3], [4, -5, 6]], np.float32)
    found = engine.run({"x": feed})
    np.testing.assert_array_equal(found["y"], np.maximum(feed, 0))
    np.testing.assert_array_equal(found["z"], np.maximum(feed, 0))
    np.testing.assert_array_equal(found["k"], np.asarray([1, 2], np.float32))


def test_the_model_is_not_changed(tmp_path: Path) -> None:
    m = _model()
    model = as_ir(m.build(m.add("Relu", m.input("x", (1, 3)))))
    before = [(node.op_type, [v.name for v in node.inputs if v]) for node in model.graph]
    LiteRt().compile(CompileRequest(model, TARGET, Precision.FP32, RunOptions(), "m"), tmp_path)
    assert before == [(node.op_type, [v.name for v in node.inputs if v]) for node in model.graph]
