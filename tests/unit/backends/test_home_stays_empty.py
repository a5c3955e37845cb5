"""Neither runtime leaves identifiers in the home folder, whatever the user's environment says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.spec import Precision

RELU = '<ir_version: 10, opset_import: ["" : 21]> g (float[batch,4] x) => (float[batch,4] y) { y = Relu(x) }'


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_fresh_home_stays_empty(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("CI", "1")  # OpenVINO's opt-out knows "true" only
    target = targets.load(name)
    backend = registry.backend(target.backend)
    model = ir.from_proto(onnx.parser.parse_model(RELU))
    options = target.run.options()
    artifact = backend.compile(CompileRequest(model, target, Precision.FP32, options, "m"), work)
    with backend.open(artifact, options) as session:
        session.run({"x": np.zeros((1, 4), np.float32)})
    assert list(home.rglob("*")) == []
