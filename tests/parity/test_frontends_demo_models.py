"""The demo models as ONNX on ONNX Runtime against their frameworks.

Tolerance: 1e-4 of the output's range (float32 sums in another order stay near 1e-7); seed 0.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import dataset, recipe, settings
from edgekit.frontends import parity
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.spec import Runner, TensorSpec

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Demo:
    id: str
    extra: str
    shape: tuple[int, int, int]


DEMOS = [Demo("digits_cnn", "torch", (1, 28, 28)), Demo("digits_keras", "tensorflow", (28, 28, 1))]


def request(demo: Demo) -> SourceRequest:
    folder = ROOT / "models" / demo.id
    plan = recipe.load(folder / "edgekit.toml")
    return SourceRequest(plan.model.source, folder, inputs=tuple(t.spec() for t in plan.model.inputs))


@cache
def exported(demo: Demo) -> Loaded:
    return load(request(demo))


@pytest.fixture(params=DEMOS, ids=lambda demo: demo.id)
def demo(request: pytest.FixtureRequest) -> Demo:
    found: Demo = request.param
    settings.silence_native_libraries()
    pytest.importorskip(found.extra)
    return found


def reference(demo: Demo) -> Runner:
    runner = exported(demo).reference
    assert runner is not None
    return runner


def on_onnxruntime(model: ir.Model) -> FunctionRunner:
    settings.silence_native_libraries()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def test_names_types_and_shapes_are_those_of_the_recipe(demo: Demo) -> None:
    inputs, outputs = io.specs(exported(demo).model)
    assert inputs == (TensorSpec("image", "float32", ("batch", *demo.shape)),)
    assert outputs == (TensorSpec("logits", "float32", ("batch", 10)),)


def test_framework_and_onnx_agree(demo: Demo) -> None:
    report = parity.check(reference(demo), on_onnxruntime(exported(demo).model), tolerance=TOLERANCE, seed=0)
    assert report.passed, report


@pytest.mark.parametrize("batch", [1, 5])
def test_every_batch_size_runs(demo: Demo, batch: int) -> None:
    image = np.random.default_rng(0).random((batch, *demo.shape), np.float32)
    logits = on_onnxruntime(exported(demo).model).run({"image": image})["logits"]
    assert logits.shape == (batch, 10)


@pytest.mark.parametrize("part", [0, 1], ids=["first-weight", "last-weight"])
def test_a_perturbed_weight_is_seen(demo: Demo, part: int) -> None:
    model = io.from_bytes(io.to_bytes(exported(demo).model))
    weights = [
        v for v in model.graph.initializers.values() if v.const_value is not None and len(v.shape or ()) > 1
    ]
    value = weights[-1 if part else 0]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[(0,) * array.ndim] += 0.5 * np.abs(array).max()
    value.const_value = ir.tensor(array, name=value.name)
    report = parity.check(reference(demo), on_onnxruntime(model), tolerance=TOLERANCE, seed=0)
    assert not report.passed


def test_the_demo_is_accurate_on_the_test_half(demo: Demo) -> None:
    pytest.importorskip("sklearn")
    folder = ROOT / "models" / demo.id
    plan = recipe.load(folder / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource("digits", split="test"),
        inputs=io.specs(exported(demo).model)[0],
        base=folder,
        preprocess=plan.data.preprocess,
    )
    assert data.count == 899
    runner = on_onnxruntime(exported(demo).model)
    (batch,) = data.batches(data.count)
    labels = np.asarray(runner.run(batch)["logits"], np.float32).argmax(axis=1)
    assert np.mean(labels == data.labels) >= 0.98


EXPORT = """
import hashlib, pathlib, sys
from edgekit import recipe
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import io
folder = pathlib.Path(sys.argv[1])
inputs = tuple(table.spec() for table in recipe.load(folder / "edgekit.toml").model.inputs)
model = load(SourceRequest("model.py:build", folder, inputs=inputs)).model
print(hashlib.sha256(io.to_bytes(model)).hexdigest())
"""


def test_a_fresh_process_gives_the_same_bytes_and_a_clean_stdout(demo: Demo) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXPORT, str(ROOT / "models" / demo.id)],
        cwd=ROOT / "tests",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == hashlib.sha256(io.to_bytes(exported(demo).model)).hexdigest() + "\n"
    assert done.stderr == ""
