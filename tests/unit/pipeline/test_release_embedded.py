"""A release whose targets embed different steps: each takes what its manifest says, and verifies from raw."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import golden, manifest
from edgekit.bundle.manifest import Manifest, TargetEntry
from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import ReleaseResult
from edgekit.preprocess import Bytes, Cast, Layout, Resize, Scale
from edgekit.spec import Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = """
schema = 1
[model]
name = "digits"
version = "1"
source = "digits-cnn.onnx"
embed = ["uint8-input", "normalize", "softmax"]
[data]
calibration = { source = "calibration.npz" }
evaluation = { source = "evaluation.npz", metric = "top1" }
preprocess = [
  { op = "resize", size = [28, 28] },
  { op = "scale", by = 15.9375 },
  { op = "bytes" },
  { op = "scale", by = 0.00392156862745098 },
  { op = "layout", to = "NCHW" },
]
[optimize]
quantize = { precision = "w8a8", restore = "none" }
[budget]
never_slower = false
[[target]]
name = "onnxruntime-cpu"
[[target]]
name = "openvino-cpu"
embed = []
[[target]]
name = "litert-cpu"
embed = ["normalize"]
"""
BEFORE = (
    Resize(op="resize", size=(28, 28)),
    Scale(op="scale", by=15.9375),
    Bytes(op="bytes"),
)
BEHIND = (Scale(op="scale", by=0.00392156862745098), Layout(op="layout", to="NCHW"))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReleaseResult]:
    here = tmp_path_factory.mktemp("embedded")
    shutil.copy(EXAMPLE / "digits-cnn.onnx", here)
    with np.load(EXAMPLE / "evaluation.npz") as raw:
        np.savez(here / "evaluation.npz", image=raw["image"], labels=raw["labels"])
        np.savez(here / "calibration.npz", image=raw["image"][:32])
    (here / "edgekit.toml").write_text(RECIPE)
    done = release(here / "edgekit.toml", out=here / "dist", cache_dir=here / "cache", progress=Silent())
    assert done.exit_code is ExitCode.OK, [row.reason for row in done.targets]
    return here, done


def entries(folder: Path) -> tuple[Manifest, dict[str, TargetEntry]]:
    found = manifest.load(folder / "dist" / "digits-1")
    return found, {entry.name: entry for entry in found.targets}


def test_each_target_says_what_is_left_to_the_app(released: tuple[Path, ReleaseResult]) -> None:
    whole, by_name = entries(released[0])
    assert whole.processing.inputs[0].steps == (*BEFORE, *BEHIND)
    assert whole.processing.outputs[0].activation == "softmax"  # implied by embed
    ort, openvino, litert = (by_name[n].processing for n in ("onnxruntime-cpu", "openvino-cpu", "litert-cpu"))
    assert ort.embedded == ("uint8-input", "normalize", "softmax")
    assert ort.inputs[0].steps == BEFORE
    assert ort.outputs[0].activation == "none"
    assert openvino == whole.processing
    assert litert.embedded == ("normalize",)
    assert litert.inputs[0].steps == (*BEFORE, Cast(op="cast", dtype="float32"))
    assert litert.outputs[0].activation == "softmax"


def test_the_artifacts_take_it(released: tuple[Path, ReleaseResult]) -> None:
    _, by_name = entries(released[0])
    found = {
        name: (entry.artifact.inputs[0].reference.dtype, entry.artifact.inputs[0].reference.shape[1:])
        for name, entry in by_name.items()
    }
    assert found == {
        "onnxruntime-cpu": ("uint8", (28, 28, 1)),
        "openvino-cpu": ("float32", (1, 28, 28)),
        "litert-cpu": ("float32", (28, 28, 1)),
    }
    with np.load(released[0] / "dist" / "digits-1" / "golden" / "inputs.npz") as raw:
        for entry in by_name.values():
            fed = golden.prepared(dict(raw), entry.processing)["image"]
            reference = entry.artifact.inputs[0].reference
            assert (fed.dtype.name, fed.shape[1:]) == (reference.dtype, reference.shape[1:])


def test_layouts_are_those_of_the_form_that_ships(released: tuple[Path, ReleaseResult]) -> None:
    """Bytes go in as H W C; the model itself takes N C H W."""
    whole, by_name = entries(released[0])
    assert whole.inputs[0].layout == "NCHW"
    letters = {name: entry.artifact.layouts.get("image") for name, entry in by_name.items()}
    assert letters == {"onnxruntime-cpu": "NHWC", "openvino-cpu": "NCHW", "litert-cpu": "NHWC"}
    card = (released[0] / "dist" / "digits-1" / "README.md").read_text("utf-8")
    assert "| onnxruntime-cpu | uint8-input, normalize, softmax |" in card
    assert "| onnxruntime-cpu | image | image | uint8 | (batch, 28, 28, 1) | NHWC |" in card


def test_they_verify_from_the_raw_sample(released: tuple[Path, ReleaseResult]) -> None:
    found = edgekit.verify(released[0] / "dist" / "digits-1")
    assert found.exit_code is ExitCode.OK, [row for row in found.rows if row.status == "fail"]
    assert [row.status for row in found.rows if row.check == "golden"] == ["pass"] * 3


def test_accuracy_is_that_of_the_model_itself(released: tuple[Path, ReleaseResult]) -> None:
    _, done = released
    drops = {row.target: row.candidates[-1].accuracy for row in done.targets}
    plain = drops["openvino-cpu"]
    assert plain is not None
    for found in drops.values():
        assert found is not None
        assert abs(found.value - plain.value) <= 1 / found.samples  # one sample at the edge of two classes
    said = [finding for finding in done.findings if finding.startswith("embedded ")]
    assert len(said) == 2
    assert all("a difference of 0 pp" in finding for finding in said)


def test_what_the_steps_cost_is_measured(released: tuple[Path, ReleaseResult]) -> None:
    said = [
        finding for finding in released[1].findings if " inside " in finding and " ms against " in finding
    ]
    assert [each.split()[0] for each in said] == ["onnxruntime-cpu", "litert-cpu"]
    assert all(each.endswith(" bytes") for each in said)


def test_the_chain_of_transformations_names_it(released: tuple[Path, ReleaseResult]) -> None:
    _, by_name = entries(released[0])
    actions = {name: [step.action for step in entry.provenance] for name, entry in by_name.items()}
    assert actions["onnxruntime-cpu"] == ["canonicalized", "embedded", "quantized", "compiled"]
    assert "embedded" not in actions["openvino-cpu"]
    for entry in by_name.values():
        for one, other in zip(entry.provenance[:-1], entry.provenance[1:], strict=True):
            assert one.outputs[-1].digest in {each.digest for each in other.inputs}


def test_validate_says_why_it_cannot_compare_bytes_with_floats(released: tuple[Path, ReleaseResult]) -> None:
    here, _ = released
    [file] = (here / "dist" / "digits-1" / "artifacts").glob("*onnxruntime-cpu*.onnx")
    with pytest.raises(InputError, match=r"takes bytes as 'image'.*float32") as found:
        edgekit.validate(
            [file],
            reference=here / "digits-cnn.onnx",
            data=str(here / "evaluation.npz"),
            metric="top1",
        )
    assert "edgekit verify" in found.value.remedy


def test_it_can_be_packaged(released: tuple[Path, ReleaseResult], tmp_path: Path) -> None:
    """What is packaged is replayed first, from the raw golden samples through the steps that are left."""
    done = edgekit.package(released[0] / "dist" / "digits-1", kinds=["python", "web"], out=tmp_path)
    assert done.exit_code is ExitCode.OK


def test_it_follows_its_lock(released: tuple[Path, ReleaseResult]) -> None:
    here, _ = released
    again = release(here / "edgekit.toml", out=here / "twice", cache_dir=here / "other", progress=Silent())
    assert again.lock == "followed"
    one, other = (here / each / "digits-1" / "manifest.json" for each in ("dist", "twice"))
    assert one.read_bytes() == other.read_bytes()
