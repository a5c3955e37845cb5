"""Sizes that are bound, streams, outputs in place: what docs/sessions.md says, on the real runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from edgekit.backends.openvino_engine import OpenVinoEngine
from edgekit.errors import DataError, InputError, RecipeError
from edgekit.pipeline import compile as compiling
from edgekit.pipeline import plan as plans
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.release import run
from edgekit.pipeline.verify import verify
from edgekit.spec import Artifact, RunOptions, Silent

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,4] x) => (float[batch,4] y) { h = Softmax(x) y = Add(h, x) }"""
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
PACKAGES = {"onnxruntime-cpu": "onnxruntime", "openvino-cpu": "openvino", "litert-cpu": "ai_edge_litert"}
RUNTIMES = tuple(PACKAGES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sizes") / "m.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), path)
    return path


def compiled(source: Path, folder: Path, target: str, **sizes: int) -> Artifact:
    found = compiling.compile(
        source,
        targets=(target,),
        out=folder / target,
        name="",
        version="",
        threads=None,
        cache_dir=folder / "cache",
        progress=Silent(),
        sizes=sizes,
    )
    return found.artifacts[0]


@pytest.mark.parametrize("target", RUNTIMES)
def test_a_bound_size_is_the_only_one(source: Path, tmp_path: Path, target: str) -> None:
    pytest.importorskip(
        {"openvino-cpu": "openvino", "litert-cpu": "ai_edge_litert"}.get(target, "onnxruntime")
    )
    fixed = compiled(source, tmp_path, target, batch=3)
    assert fixed.inputs[0].shape == fixed.outputs[0].shape == (3, 4)
    with open_artifact(fixed) as session:
        assert _same(session.run({"x": X})["y"], _truth(X))
        with pytest.raises(DataError, match="has shape 2x4"):
            session.run({"x": X[:2]})


@pytest.mark.parametrize("target", RUNTIMES)
def test_an_open_batch_takes_any_and_outputs_are_the_callers(
    source: Path, tmp_path: Path, target: str
) -> None:
    """Runs with equal shapes write in place from the second on: an earlier result must not change."""
    pytest.importorskip(
        {"openvino-cpu": "openvino", "litert-cpu": "ai_edge_litert"}.get(target, "onnxruntime")
    )
    with open_artifact(compiled(source, tmp_path, target)) as session:
        arrays = (X, X + 1, X[:1], X, 2 * X, 3 * X)
        kept = [session.run({"x": array})["y"] for array in arrays]
        for array, found in zip(arrays, kept, strict=True):
            assert _same(found, _truth(array))


def _same(found: Any, wanted: Any) -> bool:
    return bool(np.shape(found) == np.shape(wanted) and np.abs(found - wanted).max() <= 1e-6)


def _truth(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) + x


def test_openvino_writes_outputs_where_they_are_read(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    artifact = compiled(source, tmp_path, "openvino-cpu", batch=3)
    engine = OpenVinoEngine(artifact.path, RunOptions(), ["x"], ["y"])
    place = np.zeros((3, 4), np.float32)
    engine.bind({"x": X})
    assert engine.place({"y": place})
    engine.invoke()
    assert _same(place, _truth(X))
    engine.bind({"x": 2 * X})  # its own outputs again: what was placed stays as it is
    engine.invoke()
    assert _same(place, _truth(X))
    assert _same(engine.fetch()["y"], _truth(2 * X))


def test_an_unknown_size_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no input has an open size 'sequence'"):
        compiled(source, tmp_path, "onnxruntime-cpu", sequence=8)


RECIPE = """schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
evaluation = { source = "e.npz", metric = "mae" }
[optimize]
quantize = { precision = "fp32" }
[budget]
max_drop_pp = 50.0
[[target]]
name = "%s"
"""


def recipe(folder: Path, target: str, more: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "edgekit.toml"
    path.write_text(RECIPE % target + more)
    return path


def test_streams_and_threads_are_run_options_of_the_artifact(tmp_path: Path) -> None:
    plan = plans.make(recipe(tmp_path, "openvino-cpu", "threads = 2\nstreams = 3\n"))
    settings = dict(plan.targets[0].options.settings)
    assert (settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"]) == ("3", "6")
    assert plan.targets[0].options.threads == 2


def test_streams_of_a_runtime_without_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="litert-cpu has streams, and its runtime has none"):
        plans.make(recipe(tmp_path, "litert-cpu", "streams = 2\n"))


def test_openvino_opens_with_its_streams(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    artifact = compiled(source, tmp_path, "openvino-cpu")
    options = RunOptions(1, "cpu", (("INFERENCE_NUM_THREADS", "2"), ("NUM_STREAMS", "2")))
    engine = OpenVinoEngine(artifact.path, options, ["x"], ["y"])
    assert engine.facts["streams"] == "2"
    assert int(engine._request.get_compiled_model().get_property("NUM_STREAMS")) == 2
    assert "streams" not in OpenVinoEngine(artifact.path, RunOptions(), ["x"], ["y"]).facts


def test_a_release_with_bound_sizes_is_proved_and_verified(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    path = recipe(folder, "onnxruntime-arm64", "sizes = { batch = 1 }\n")
    (folder / "m.onnx").write_bytes(source.read_bytes())
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    np.savez(folder / "e.npz", x=x, labels=_truth(x) + np.float32(0.01))
    found = run.release(path, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert found.exit_code == 0, found
    assert found.bundle is not None
    shipped = onnx.load(next((found.bundle / "artifacts").rglob("*.onnx")))
    assert [dim.dim_value for dim in shipped.graph.input[0].type.tensor_type.shape.dim] == [1, 4]
    assert verify(found.bundle, targets=(), progress=Silent()).exit_code == 0
