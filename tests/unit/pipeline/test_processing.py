"""What a release says of the steps around its model: read in the manifest, and run by `verify`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import manifest
from edgekit.bundle.evidence import Evidence
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.processing import InputProcessing, OutputProcessing, RawTensor
from edgekit.errors import ExitCode, UnknownNameError
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result.verify import VerifyRow
from edgekit.preprocess import Layout, Normalize, Resize
from edgekit.spec import Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = """
schema = 1
[model]
name = "digits"
version = "1"
source = "digits-cnn.onnx"
labels = "names.txt"
activation = "softmax"
{nms}
[data]
evaluation = {{ source = "evaluation.npz", metric = "top1" }}
value_range = [0, 16]
preprocess = [
  {{ op = "resize", size = [28, 28] }},
  {{ op = "normalize", mean = [0.0], std = [16.0] }},
  {{ op = "layout", to = "NCHW" }},
]
[[target]]
name = "onnxruntime-cpu"
precision = "fp32"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("processing")
    for name in ("digits-cnn.onnx", "evaluation.npz"):
        (here / name).write_bytes((EXAMPLE / name).read_bytes())
    (here / "names.txt").write_text("".join(f"digit {k}\n" for k in range(10)))
    (here / "edgekit.toml").write_text(RECIPE.format(nms=""))
    done = release(here / "edgekit.toml", out=here / "dist", cache_dir=here / "cache", progress=Silent())
    assert done.exit_code is ExitCode.OK, [row.reason for row in done.targets]
    return here


def bundle_of(folder: Path) -> Path:
    return folder / "dist" / "digits-1"


def test_the_manifest_says_what_an_app_does(folder: Path) -> None:
    found = manifest.load(bundle_of(folder))
    [target] = found.targets
    assert target.processing == found.processing
    assert found.processing.inputs == (
        InputProcessing(
            name="image",
            raw=RawTensor(
                dtype="uint8", shape=(None, None, 1), layout="HWC", color="gray", low=0.0, high=16.0
            ),
            steps=(
                Resize(op="resize", size=(28, 28)),
                Normalize(op="normalize", mean=(0.0,), std=(16.0,)),
                Layout(op="layout", to="NCHW"),
            ),
        ),
    )
    assert found.processing.outputs == (
        OutputProcessing(name="logits", activation="softmax", axis=-1, labels="files/names.txt"),
    )
    assert (bundle_of(folder) / "files" / "names.txt").read_text().splitlines()[3] == "digit 3"


def test_golden_vectors_start_at_the_raw_sample(folder: Path) -> None:
    with (
        np.load(bundle_of(folder) / "golden" / "inputs.npz") as held,
        np.load(EXAMPLE / "evaluation.npz") as raw,
    ):
        assert held["image"].dtype == np.uint8
        assert np.array_equal(held["image"], raw["image"][: len(held["image"])])
    assert edgekit.verify(bundle_of(folder)).exit_code is ExitCode.OK


def test_nms_names_outputs_of_the_model(folder: Path) -> None:
    wrong = folder / "wrong.toml"
    wrong.write_text(RECIPE.format(nms='nms = { scores = "logits" }'))
    with pytest.raises(UnknownNameError, match="boxes"):
        release(wrong, out=folder / "none", cache_dir=folder / "cache", progress=Silent())


def sealed_again(bundle: Path, *, std: float) -> Path:
    """A copy of the bundle whose normalize step divides by ``std``, with every digest right again."""
    copy = bundle.with_name(f"std-{std}")
    shutil.copytree(bundle, copy)
    text = (copy / "manifest.json").read_text().replace("16.0", str(float(std)))
    document = manifest.sealed(Manifest.model_validate_json(text))
    evidence = Evidence.model_validate_json((copy / "evidence.json").read_text())
    about = manifest.sealed(evidence.model_copy(update={"manifest_digest": document.digest}))
    (copy / "manifest.json").write_bytes(manifest.to_bytes(document))
    (copy / "evidence.json").write_bytes(manifest.to_bytes(about))
    return copy


def golden_of(bundle: Path) -> VerifyRow:
    [row] = [each for each in edgekit.verify(bundle).rows if each.check == "golden"]
    return row


def test_a_step_that_changed_a_bit_is_seen(folder: Path) -> None:
    row = golden_of(sealed_again(bundle_of(folder), std=16.1))
    assert (row.status, "logits" in row.detail) == ("fail", True)


def test_sealing_alone_is_not_what_is_seen(folder: Path) -> None:
    assert golden_of(sealed_again(bundle_of(folder), std=16)).status == "pass"
