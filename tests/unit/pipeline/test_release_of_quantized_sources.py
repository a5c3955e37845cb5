"""A source that comes quantized: scales kept, nothing calibrated, gated and bundled like any other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import manifest
from edgekit.errors import ExitCode, InputError
from edgekit.ir import io
from edgekit.ir.graph import constant, is_onnx
from edgekit.pipeline.release.run import release
from edgekit.spec import Precision, Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = """
schema = 1
[model]
name = "digits-int8"
version = "1.0.0"
source = "digits-int8.onnx"
files = ["labels.txt"]
[data]
evaluation = { source = "evaluation.npz", metric = "top1" }
preprocess = [
  { op = "resize", size = [28, 28] }, { op = "scale", by = 0.0625 }, { op = "layout", to = "NCHW" },
]
[budget]
never_slower = false
[[target]]
name = "onnxruntime-cpu"
[[target]]
name = "openvino-cpu"
[[target]]
name = "litert-cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside an int8 model, its evaluation data and a file of labels."""
    here = tmp_path_factory.mktemp("quantized")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(here / "cache"))
        digits = np.random.default_rng(0).random((64, 1, 28, 28)).astype(np.float32)
        with np.load(EXAMPLE / "evaluation.npz") as raw:
            np.savez(here / "evaluation.npz", **raw)
            scaled = raw["image"][:64].astype(np.float32) / 16
        digits[:, 0] = scaled.repeat(4, 1).repeat(4, 2)[:, 2:30, 2:30].reshape(64, 28, 28)
        np.save(here / "calibration.npy", digits)
        edgekit.quantize(
            EXAMPLE / "digits-cnn.onnx",
            calibration_data=str(here / "calibration.npy"),
            out=here / "digits-int8.onnx",
            target="portable",
            precision="w8a8",
        )
    (here / "edgekit.toml").write_text(RECIPE)
    (here / "labels.txt").write_text("\n".join(map(str, range(10))))
    return here


def scales(path: Path) -> dict[str, float]:
    """Scale of every per-tensor quantizer by the name of what it quantizes."""
    return {
        str(node.inputs[0].name): float(scale.reshape(-1)[0])
        for node in io.load(path).graph
        if is_onnx(node, "QuantizeLinear") and node.inputs[0] is not None
        for scale in [constant(node.inputs[1])]
        if scale is not None
    }


def test_it_is_released_without_calibration_data(folder: Path) -> None:
    result = release(
        folder / "edgekit.toml", out=folder / "dist", cache_dir=folder / "cache", progress=Silent()
    )
    assert result.exit_code is ExitCode.OK, [row.reason for row in result.targets]
    bundle = folder / "dist" / "digits-int8-1.0.0"
    assert json.loads((bundle / "ranges.json").read_text()) == {}
    assert (bundle / "files" / "labels.txt").read_text().startswith("0\n1")
    for row in result.targets:
        by_precision = {each.precision: each for each in row.candidates}
        # bf16 is tried on OpenVINO where the CPU has it, fp16 on LiteRT
        assert set(by_precision) - {Precision.BF16, Precision.FP16} == {Precision.FP32, Precision.W8A8}
        integers = by_precision[Precision.W8A8].accuracy
        assert integers is not None
        assert integers.label_agreement is not None
        assert integers.label_agreement >= 0.99
    plans = {each.plan_digest for row in result.targets for each in row.candidates if each.plan_digest}
    assert len(plans) == 1
    again = release(
        folder / "edgekit.toml", out=folder / "dist", cache_dir=folder / "cache", progress=Silent()
    )
    assert again.lock == "followed"
    for entry in manifest.load(bundle).targets:  # dequantized or as it came: a whole chain either way
        for before, after in itertools.pairwise(entry.provenance):
            assert before.outputs[-1].digest in {each.digest for each in after.inputs}
        assert "quantized" not in {step.action for step in entry.provenance}
    shipped = next((bundle / "artifacts").glob("*onnxruntime-cpu-w8a8.onnx"), None)
    if shipped is not None:  # the fastest ships; where that is float there are no scales to compare
        assert set(scales(folder / "digits-int8.onnx").values()) >= set(scales(shipped).values())


def test_verify_sees_a_damaged_file_of_the_model(folder: Path) -> None:
    bundle = folder / "dist" / "digits-int8-1.0.0"
    (bundle / "files" / "labels.txt").write_text("one\n")
    assert edgekit.verify(bundle).exit_code is ExitCode.VERIFICATION_FAILED


@pytest.mark.parametrize("verb", [edgekit.quantize, edgekit.calibrate], ids=["quantize", "calibrate"])
def test_it_is_not_quantized_twice(folder: Path, verb: Callable[..., Path]) -> None:
    out = folder / "twice.out"
    with pytest.raises(InputError, match="quantized already"):
        verb(folder / "digits-int8.onnx", calibration_data=str(folder / "calibration.npy"), out=out)
    assert not out.exists()
