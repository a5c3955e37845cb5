"""A .mlpackage: its interface, its constants, and what its program computes, read without a Mac."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends import coreml
from edgekit.backends.coreml_program import feature_names, largest_drift
from edgekit.backends.installed import installed_version
from edgekit.backends.onnxruntime import open_model
from edgekit.bundle.packages.ios_coreml import OF_RANGE
from edgekit.errors import InputError, MissingBackendError, TargetRefusalError
from edgekit.frontends.source import SourceRequest, load
from edgekit.passes import canonicalize
from edgekit.spec import Array, RunOptions, TensorSpec
from tests.unit.packages.mobile_bundle import absent

MODEL = Path(__file__).parents[3] / "models/digits_cnn"
DATA = "Data/com.apple.CoreML"


@dataclass(frozen=True)
class Float:
    model: ir.Model
    inputs: Array
    outputs: Array

    @property
    def samples(self) -> dict[str, Array]:
        return {"input/image": self.inputs, "output/logits": self.outputs}


@pytest.fixture(scope="module")
def digits() -> Float:
    """The canonical float model, and what it gives for random images."""
    pytest.importorskip("torch")
    request = SourceRequest(
        "model.py:build", MODEL, inputs=(TensorSpec("image", "float32", ("batch", 1, 28, 28)),)
    )
    model = canonicalize(load(request).model)
    images = np.random.default_rng(5).random((3, 1, 28, 28), np.float32)
    with open_model(model, RunOptions()) as session:
        return Float(model, images, session.run({"image": images})["logits"])


@pytest.fixture(scope="module")
def made(digits: Float) -> dict[str, coreml.CoreMl]:
    """One package of each precision."""
    if not installed_version("coremltools"):
        absent('coremltools is not here (pip install "edgekit[coreml]")')
    return {
        precision: coreml.convert(digits.model, precision=precision, samples=digits.samples)
        for precision in ("fp32", "fp16", "int8")
    }


@dataclass(frozen=True)
class Drifts:
    """From the float model: of a package as it is, and of one whose first constant is zeros."""

    whole: float
    broken: float


@pytest.fixture(scope="module")
def drifts(
    made: dict[str, coreml.CoreMl], digits: Float, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Drifts]:
    """By precision, computed by the tests' own reading: one process for all, which imports PyTorch once."""
    here = tmp_path_factory.mktemp("programs")
    folders = []
    for precision, found in made.items():
        weights = found.files[f"{DATA}/weights/weight.bin"]
        broken = bytearray(weights)
        broken[128:528] = bytes(400)  # values of the first constant, whose record is at 64
        for name, content in (("whole", weights), ("broken", bytes(broken))):
            folder = here / f"{precision}-{name}"
            folder.mkdir()
            (folder / "model.mlmodel").write_bytes(found.files[f"{DATA}/model.mlmodel"])
            (folder / "weight.bin").write_bytes(content)
            np.savez(folder / "feeds.npz", image=digits.inputs)
            folders.append(str(folder))
    command = [sys.executable, "-m", "tests.unit.packages.mil_program", *folders]
    subprocess.run(command, cwd=MODEL.parents[1], check=True, capture_output=True, timeout=300)
    return {
        precision: Drifts(*(drift_of(here / f"{precision}-{name}", digits) for name in ("whole", "broken")))
        for precision in made
    }


def drift_of(folder: Path, digits: Float) -> float:
    """Of the outputs in a folder from the float model's."""
    with np.load(folder / "outputs.npz") as held:
        outputs = iter(held["logits"])
    names = {"image": "image", "logits": "logits"}
    return largest_drift(lambda feeds: {"logits": next(outputs)}, digits.samples, names)


@pytest.mark.slow
def test_the_interface_is_the_models_and_every_constant_is_there(made: dict[str, coreml.CoreMl]) -> None:
    for precision, found in made.items():
        assert found.inputs == (coreml.Feature("image", "image", (1, 1, 28, 28), "float32"),)
        assert found.outputs == (coreml.Feature("logits", "logits", (1, 10), "float32"),)
        assert found.precision == precision
        assert (found.ran, found.drift) == ("", None) or found.ran.startswith("macOS")
        index = json.loads(found.files["Manifest.json"])
        assert index["rootModelIdentifier"] in index["itemInfoEntries"]
        for entry in index["itemInfoEntries"].values():
            assert any(path.startswith(f"Data/{entry['path']}") for path in found.files)
    assert made["fp32"].weights == made["fp16"].weights == "12 of 12"
    assert made["int8"].weights == "int8: not compared"
    sizes = {name: len(found.files[f"{DATA}/weights/weight.bin"]) for name, found in made.items()}
    assert sizes["int8"] < 0.6 * sizes["fp16"] < 0.36 * sizes["fp32"]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-6), ("fp16", 2e-3), ("int8", OF_RANGE["int8"])])
def test_its_program_computes_what_the_float_model_does(
    drifts: dict[str, Drifts], precision: str, limit: float
) -> None:
    """Computed in float32 by the tests' own reading: rounding of constants alone is left."""
    found = drifts[precision]
    assert found.whole < limit
    assert precision != "int8" or found.whole > 1e-5  # the weights were rounded
    assert found.broken > limit


@pytest.mark.slow
def test_equal_models_give_equal_bytes(made: dict[str, coreml.CoreMl], digits: Float) -> None:
    again = coreml.convert(digits.model, precision="fp16", samples=digits.samples)
    assert dict(again.files) == dict(made["fp16"].files)


def test_drift_is_the_largest_part_of_any_outputs_range() -> None:
    samples = {
        "input/x": np.zeros((2, 3), np.float32),
        "output/y": np.asarray([[0, 10], [5, 5]], np.float32),
    }

    def predict(feeds: dict[str, Array]) -> dict[str, Array]:
        assert feeds["x_1"].shape == (1, 3)
        return {"y": np.asarray([[0.5, 10]])}

    names = {"x": "x_1", "y": "y"}
    assert largest_drift(predict, samples, names) == pytest.approx(0.5)
    assert largest_drift(lambda feeds: {"y": np.full((1, 2), np.nan)}, samples, names) == np.inf


def test_feature_names_are_identifiers_and_no_two_alike() -> None:
    assert feature_names(["image", "a/b", "a.b", "7", ""]) == {
        "image": "image",
        "a/b": "a_b",
        "a.b": "a_b_2",
        "7": "t_7",
        "": "tensor",
    }


def test_what_is_missing_or_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    with pytest.raises(InputError, match="unknown Core ML precision 'w8a8'"):
        coreml.convert(model, precision="w8a8", samples={})
    monkeypatch.setattr(coreml, "installed_version", lambda package: "")
    with pytest.raises(MissingBackendError, match="coremltools is not installed") as missing:
        coreml.convert(model, precision="fp16", samples={})
    assert "edgekit[coreml]" in missing.value.remedy


def test_an_operator_without_a_counterpart_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "NoSuchOperator", [x], name="odd")
    model = ir.Model(ir.Graph([x], [node.outputs[0]], nodes=[node], opset_imports={"": 21}), ir_version=10)
    monkeypatch.setattr(coreml, "installed_version", lambda package: "9.0")
    with pytest.raises(TargetRefusalError, match="Core ML cannot take odd"):
        coreml.convert(model, precision="fp16", samples={})
