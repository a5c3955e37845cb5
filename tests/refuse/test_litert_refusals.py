"""What the TFLite compiler does not write: refused with node, rule, reason, remedy; no file is left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import errors
from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import backend, flatbuffer
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.spec import Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir

TARGET = "litert-cpu"


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    make: Callable[[Model], str]


def _x(model: Model, *shape: int | str, dtype: str = "float32") -> str:
    return model.input("x", shape or (1, 3, 8, 8), dtype)


def _ints(model: Model, *values: int) -> str:
    return model.constant(np.asarray(values, np.int64))


def _quantized_16(model: Model) -> str:
    x = _x(model, 2, 4)
    return model.quantized(x, 0.1, 0, dtype="int16")


CASES: tuple[Case, ...] = (
    Case("unknown", "unknown-operator", lambda m: m.add("Det", _x(m, 2, 2))),
    Case("conv-3d", "spatial-axes", lambda m: m.add("Conv", _x(m, 1, 2, 4, 4, 4), m.weight(2, 2, 3, 3, 3))),
    Case(
        "computed-weight",
        "constant-weight",
        lambda m: m.add("Conv", _x(m), m.input("w", (4, 3, 3, 3))),
    ),
    Case("float64", "type", lambda m: m.add("Sin", _x(m, 2, 3, dtype="float64"))),
    Case("plain-int8", "plain-bytes", lambda m: m.add("Add", _x(m, 2, 3, dtype="int8"), "x")),
    Case("int64-abs", "kernel-type", lambda m: m.add("Abs", _x(m, 2, 3, dtype="int64"))),
    Case("pool-indices", "indices", lambda m: m.add("MaxPool", _x(m), kernel_shape=[2, 2], outputs=2)),
    Case(
        "dilated-pool",
        "dilated-pool",
        lambda m: m.add("MaxPool", _x(m), kernel_shape=[2, 2], dilations=[2, 2]),
    ),
    Case(
        "pad-edge", "pad-mode", lambda m: m.add("Pad", _x(m), _ints(m, 0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    ),
    Case(
        "negative-pads",
        "negative-pads",
        lambda m: m.add("Pad", _x(m), _ints(m, 0, 0, -1, 0, 0, 0, 0, 0)),
    ),
    Case(
        "cubic",
        "resize-mode",
        lambda m: m.add("Resize", _x(m), "", m.floats(1, 1, 2, 2), mode="cubic"),
    ),
    Case("fmod", "fmod", lambda m: m.add("Mod", _x(m, 2, 3), m.weight(3), fmod=1)),
    Case(
        "two-dynamic-sizes",
        "one-dynamic-size",
        lambda m: m.add("Unsqueeze", _x(m, "batch", "length"), _ints(m, 1)),
    ),
    Case("int16-activations", "activation-type", _quantized_16),
    Case(
        "computed-axes",
        "constant-parameter",
        lambda m: m.add("Tile", _x(m, 2, 3), m.input("r", (2,), "int64")),
    ),
    Case("last-index", "last-index", lambda m: m.add("ArgMax", _x(m, 2, 3), select_last_index=1)),
    Case("crd", "crd", lambda m: m.add("DepthToSpace", _x(m, 1, 8, 2, 2), blocksize=2, mode="CRD")),
    Case("cast-to-int8", "cast-type", lambda m: m.add("Cast", _x(m, 2, 3), to=3)),
)


def _model(case: Case) -> ir.Model:
    model = Model()
    return as_ir(model.build(case.make(model)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_refused_with_node_rule_reason_remedy(case: Case, tmp_path: Path) -> None:
    model = _model(case)
    target = targets.load(TARGET)
    found = LiteRt().check(model, target)
    rejection = next(r for r in found if r.rule == case.rule)
    assert rejection.node
    assert rejection.reason
    assert rejection.remedy
    with pytest.raises(errors.TargetRefusalError, match="refuses the model") as caught:
        LiteRt().compile(_request(model), tmp_path)
    assert case.rule in str(caught.value)
    assert caught.value.exit_code == errors.ExitCode.TARGET_REFUSES
    assert list(tmp_path.iterdir()) == []


def _request(model: ir.Model) -> CompileRequest:
    return CompileRequest(model, targets.load(TARGET), Precision.FP32, RunOptions(), "m")


def _relu() -> ir.Model:
    model = Model()
    return as_ir(model.build(model.add("Relu", _x(model))))


def test_all_rejections_are_reported_at_once() -> None:
    model = Model()
    x = _x(model, 2, 2)
    y = model.add("Det", x)
    z = model.add("Mod", x, model.weight(2), fmod=1)
    found = LiteRt().check(as_ir(model.build(y, z)), targets.load(TARGET))
    assert [r.rule for r in found] == ["unknown-operator", "fmod"]


def test_an_unknown_operator_names_near_ones() -> None:
    model = Model()
    x = _x(model, 2, 2)
    built = as_ir(model.build(model.add("Sinh", x)))
    (found,) = LiteRt().check(built, targets.load(TARGET))
    assert "Sin" in found.reason


def test_a_file_that_the_runtime_refuses_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of C3: the writer gives other bytes."""
    monkeypatch.setattr(flatbuffer, "pack", lambda graph: b"not a flatbuffer")
    with pytest.raises(errors.EdgekitError, match="has just written") as caught:
        LiteRt().compile(_request(_relu()), tmp_path)
    assert caught.value.exit_code == errors.ExitCode.INTERNAL
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.OutputError, match="cannot write"):
        LiteRt().compile(_request(_relu()), tmp_path / "missing")


def test_a_missing_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(errors.MissingBackendError, match=r"ai-edge-litert is not installed") as caught:
        LiteRt().compile(_request(_relu()), tmp_path)
    assert 'pip install "edgekit[litert]"' in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_missing_runtime_names_the_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(errors.MissingBackendError, match=r"edgekit\[litert\]"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(), [], [])


def test_another_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingBackendError, match="cuda"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(device="cuda"), [], [])


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="unknown LiteRT setting"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(settings=(("kernels", "fast"),)), [], [])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(errors.ModelFileError, match=r"m\.tflite"):
        LiteRtEngine(path, RunOptions(), [], [])


def test_a_description_of_another_file_is_noticed(tmp_path: Path) -> None:
    artifact = LiteRt().compile(_request(_relu()), tmp_path)
    with pytest.raises(errors.ModelFileError, match="no tensor 'image'"):
        LiteRtEngine(artifact.path, RunOptions(), ["image"], [])


def test_a_shape_that_the_file_does_not_allow(tmp_path: Path) -> None:
    artifact = LiteRt().compile(_request(_relu()), tmp_path)
    names = [binding.name for binding in artifact.inputs], [binding.name for binding in artifact.outputs]
    engine = LiteRtEngine(artifact.path, RunOptions(), *names)
    with pytest.raises(errors.DataError, match="does not take inputs of shapes"):
        engine.bind({"x": np.zeros((2, 9, 9, 3), np.float32)})


def test_two_gigabytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatbuffer, "LARGEST_FILE_BYTES", 100)
    model = Model()
    built = model.build(model.add("Add", _x(model, 5, 20), model.weight(5, 20)))
    graph = backend.translate(as_ir(built)).lowered.graph
    with pytest.raises(errors.TargetRefusalError, match="bytes of weights"):
        flatbuffer.pack(graph)
