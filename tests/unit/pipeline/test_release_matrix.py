"""The drift matrix of a release: framework, ONNX, runtime, candidate on the same samples, each run once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DataError, ExitCode
from edgekit.pipeline.release import run
from edgekit.pipeline.result import ReleaseResult
from edgekit.spec import Silent

pytest.importorskip("torch")

SEED = 31
MODEL = """
import torch

def build():
    torch.manual_seed(0)
    centres = 3.0 * torch.randn(4, 6)
    layer = torch.nn.Linear(6, 4)
    with torch.no_grad():
        layer.weight.copy_(centres)
        layer.bias.copy_(-(centres**2).sum(1) / 2)
    return torch.nn.Sequential(layer).eval()
"""
RECIPE = """
schema = 1
[model]
name = "linear"
version = "1"
source = "model.py:build"
inputs = [{{ name = "x", dtype = "float32", shape = ["batch", 6] }}]
[data]
calibration = {{ source = "data.npz", samples = 64 }}
evaluation = {{ source = "{data}", metric = "top1"{more} }}
[optimize]
quantize = {{ precision = "w8a8", restore = "none" }}
[budget]
max_drop_pp = 20.0
never_slower = false
[[target]]
name = "onnxruntime-cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("linear") / "model"  # the cache is beside it: a source's folder is hashed
    path.mkdir()
    (path / "model.py").write_text(MODEL)
    torch.manual_seed(0)
    centres = (3.0 * torch.randn(4, 6)).numpy()
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 4, 600)
    x = (centres[labels] + rng.normal(size=(600, 6))).astype(np.float32)
    np.savez(path / "data.npz", allow_pickle=False, x=x, labels=labels)
    light = np.where(rng.random(600) < 0.3, "dark", "day")
    np.savez(path / "sliced.npz", allow_pickle=False, x=x, labels=labels, light=light)
    np.savez(path / "swapped.npz", allow_pickle=False, x=x, labels=rng.permutation(labels))
    return path


def release(folder: Path, *, data: str = "data.npz", more: str = "") -> ReleaseResult:
    recipe = folder / "edgekit.toml"
    recipe.write_text(RECIPE.format(data=data, more=more))
    return run.release(
        recipe, out=folder.parent / "dist", dry_run=True, cache_dir=folder.parent / "cache", progress=Silent()
    )


def test_every_step_is_a_row(folder: Path) -> None:
    found = release(folder)
    assert found.exit_code is ExitCode.OK
    rows = {row.step: row for row in found.matrix}
    assert [(row.first, row.second, row.step) for row in found.matrix] == [
        ("torch", "ONNX float", "export"),
        ("ONNX float", "onnxruntime-cpu fp32", "runtime"),
        ("onnxruntime-cpu fp32", "onnxruntime-cpu w8a8", "quantization"),
        ("ONNX float", "onnxruntime-cpu w8a8", "whole"),
    ]
    export, whole = rows["export"], rows["whole"]
    assert export.accuracy is not None
    assert export.accuracy.samples == export.drift[0].samples == 256  # the framework sees the first ones only
    assert export.drift[0].max_abs < 1e-4
    assert export.drift[0].flips == 0
    assert whole.accuracy is not None
    assert whole.accuracy.samples == 600
    assert whole.drift[0].max_abs > 100 * export.drift[0].max_abs
    assert rows["quantization"].drift[0].max_abs == pytest.approx(whole.drift[0].max_abs, rel=1e-3)
    candidate = found.targets[0].candidates[-1]
    assert candidate.accuracy is not None
    assert candidate.accuracy.calibration_error is not None
    assert {group.kind for group in candidate.groups} == {"class"}


def test_a_repeated_release_runs_nothing_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = release(folder)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a proof was made again")

    monkeypatch.setattr("edgekit.pipeline.proof.compare_on", fail)
    monkeypatch.setattr("edgekit.pipeline.release.framework.load", fail)
    assert release(folder).matrix == first.matrix


def test_slices_of_the_recipe(folder: Path) -> None:
    found = release(folder, data="sliced.npz", more=', slices = ["light"]')
    kinds = {group.kind for group in found.targets[0].candidates[-1].groups}
    assert kinds == {"class", "light"}


def test_swapped_labels_are_an_error_of_the_data(folder: Path) -> None:
    with pytest.raises(DataError, match="labels in random order"):
        release(folder, data="swapped.npz")
    with pytest.raises(DataError, match="is expected of it"):
        release(folder, data="swapped.npz", more=", expected = 0.98")
    assert release(folder, data="data.npz", more=", expected = 0.98").exit_code is ExitCode.OK
