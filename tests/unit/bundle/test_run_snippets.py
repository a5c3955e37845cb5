"""The model card's lines run as they stand, for every back end that has some."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

import edgekit
from edgekit.bundle.manifest import TargetEntry, Tolerance, entry_from_artifact
from edgekit.bundle.run_snippets import install_line, snippet
from edgekit.ir import io

MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,4,4] image, float[batch,2] other) => (float[batch,2,4,4] scores, float[batch,2] twice)
<float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}>
{ h = Conv(image, w, b) scores = Relu(h) twice = Add(other, other) }
"""
PACKAGES = {"onnxruntime-cpu": "onnxruntime", "openvino-cpu": "openvino", "litert-cpu": "ai_edge_litert"}


def entry_in(folder: Path, target: str) -> TargetEntry:
    io.save(ir.from_onnx_text(MODEL), folder / "m.onnx")
    made = edgekit.compile(folder / "m.onnx", target=target, out=folder / "artifacts", name="m")
    return entry_from_artifact(made, tolerance=Tolerance(steps=1, relative_to_range=1))


@pytest.mark.parametrize("target", [*PACKAGES, "executorch-xnnpack"])
def test_lines_run(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES.get(target, "executorch")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    entry = entry_in(tmp_path, target)
    code = snippet(entry) + "print({name: tuple(value.shape) for name, value in outputs.items()})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    own = {each.name: each.shape for each in entry.artifact.outputs}
    assert set(own) == set(eval(done.stdout.splitlines()[-1]))  # noqa: S307  our own print of a dict
    assert "==" in install_line(entry)


def test_a_back_end_without_lines_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    entry = entry_in(tmp_path, "onnxruntime-cpu")
    other = entry.model_copy(update={"artifact": entry.artifact.model_copy(update={"backend": "chip`x"})})
    assert snippet(other) == ""
    assert install_line(other) == "chipx"


def test_a_gpu_s_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    entry = entry_in(tmp_path, "gpu-cuda")
    assert install_line(entry).startswith("onnxruntime-gpu==")
    assert "providers=['CUDAExecutionProvider']" in snippet(entry)
