"""Compiled files without a description: opened, validated and benched by their own interface."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.errors import InputError, ModelFileError
from edgekit.ir import io
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.open import artifact_at
from edgekit.spec import Artifact, FileEntry, IoBinding, Precision, QuantParams, RunOptions, TensorSpec
from edgekit.validation.streaming import fixed_batch

DATA = os.environ.get("EDGEKIT_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="EDGEKIT_DATA names no folder with real files")
SMALL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,4,6] image) => (float[batch,3] scores)
<float[3,1,1,1] w = {1, -2, 3}, float[3] b = {3, 4, 0.5}>
{ h = Conv(image, w, b) r = Relu(h) p = GlobalAveragePool(r) scores = Flatten(p) }
"""
RENAMED = SMALL.replace("image", "picture").replace("scores", "logits")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def model(folder: Path, text: str, name: str = "m.onnx") -> Path:
    io.save(ir.from_onnx_text(text), folder / name)
    return folder / name


def bare(folder: Path, target: str, text: str = SMALL) -> Path:
    path = edgekit.compile(model(folder, text, "source.onnx"), target=target, out=folder / "out").path
    path.with_name(path.name + ".json").unlink()
    return path


def test_a_tflite_file_opens_in_its_own_layout(tmp_path: Path) -> None:
    """Outputs as ONNX Runtime's, to 1e-6 of their range; seed 0."""
    path = bare(tmp_path, "litert-cpu")
    images = np.random.default_rng(0).standard_normal((5, 1, 4, 6)).astype(np.float32)
    with edgekit.open(tmp_path / "source.onnx") as truth:
        wanted = truth.run({"image": images})["scores"].astype(np.float64)
    with edgekit.open(path) as session:
        assert [str(spec) for spec in session.inputs] == ["image:float32:batchx4x6x1"]
        got = session.run({"image": np.ascontiguousarray(images.transpose(0, 2, 3, 1))})["scores"].astype(
            np.float64
        )
    assert np.abs(got - wanted).max() <= 1e-6 * np.ptp(wanted)


def test_an_ir_opens_and_its_weights_must_be_there(tmp_path: Path) -> None:
    path = bare(tmp_path, "openvino-cpu")
    with edgekit.open(path) as session:
        assert session.run({"image": np.zeros((1, 1, 4, 6), np.float32)})["scores"].shape == (1, 3)
    path.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match=r"has no .*\.bin beside it"):
        edgekit.open(path)


@pytest.mark.parametrize("dtype", ["(1,", "string", "f4,f4", "O"])
def test_a_description_with_an_element_type_that_no_array_has_is_refused(tmp_path: Path, dtype: str) -> None:
    """NumPy would evaluate the first, and take the last two for a structure and for objects."""
    artifact = edgekit.compile(model(tmp_path, SMALL), target="onnxruntime-cpu", out=tmp_path / "out")
    sidecar = artifact.path.with_name(artifact.path.name + ".json")
    said = json.loads(sidecar.read_text())
    artifact_at(artifact.path)  # as it was written
    for place in (said["inputs"][0], said["inputs"][0]["reference"]):
        before, place["dtype"] = place["dtype"], dtype
        sidecar.write_text(json.dumps(said))
        with pytest.raises(InputError, match="cannot be read"):
            artifact_at(artifact.path)
        place["dtype"] = before


@pytest.mark.parametrize("dtype", ["-1", "string", "(1,"])
def test_an_element_type_that_no_array_has_is_refused(tmp_path: Path, dtype: str) -> None:
    path = bare(tmp_path, "openvino-cpu")
    text = path.read_text()
    place = text.index('element_type="', text.index('type="Parameter"')) + len('element_type="')
    path.write_text(text[:place] + dtype + text[text.index('"', place) :])
    with pytest.raises(ModelFileError, match=re.escape(f"'image' has the element type {dtype!r}")):
        edgekit.validate(path, reference=tmp_path / "source.onnx", data=labelled(tmp_path))


def test_what_no_runtime_runs_still_needs_its_description(tmp_path: Path) -> None:
    """Must not fire for other files: a plug-in's format says nothing by itself."""
    (tmp_path / "m.chip").write_bytes(b"...")
    with pytest.raises(InputError, match="has no description beside it"):
        artifact_at(tmp_path / "m.chip")


def labelled(folder: Path) -> str:
    rng = np.random.default_rng(1)
    images = rng.standard_normal((64, 1, 4, 6)).astype(np.float32)
    labels = rng.integers(0, 3, 64)
    np.savez(folder / "d.npz", allow_pickle=False, image=images, labels=labels)
    return str(folder / "d.npz")


@pytest.mark.parametrize("target", ["litert-cpu", "openvino-cpu"])
def test_a_bare_file_is_validated_under_the_references_names(tmp_path: Path, target: str) -> None:
    path = bare(tmp_path, target, RENAMED)
    reference = model(tmp_path, SMALL)
    found = edgekit.validate(
        path,
        reference=reference,
        data=labelled(tmp_path),
        max_drop_pp=50,
        expected=0.26,  # the labels are random
    )
    assert found.accuracy.label_agreement == 1.0
    assert found.drift[0].output == "scores"
    assert found.notes[0].startswith("input 'picture' stands for 'image' of the reference")
    assert any("channels last" in note for note in found.notes) == (target == "litert-cpu")


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = bare(tmp_path, "litert-cpu", RENAMED.replace("4,6", "5,6"))
    with pytest.raises(InputError, match="inputs are"):
        edgekit.validate(path, reference=model(tmp_path, SMALL), data=labelled(tmp_path))


def test_bench_compares_files_of_different_names(tmp_path: Path) -> None:
    first = bare(tmp_path, "litert-cpu")
    (tmp_path / "other").mkdir()
    second = bare(tmp_path / "other", "litert-cpu", RENAMED)
    found = edgekit.bench([first, second], budget_s=1)
    assert [row.artifact for row in found.rows] == [str(first), str(second)]


@needs_data
def test_a_real_int8_file_takes_floats_and_agrees_with_the_float_file() -> None:
    """Labels of the int8 reference and of the float file agree on 90 % of 100 test images at least."""
    folder = Path(DATA) / "mlperf_tiny_ic"
    artifact = artifact_at(folder / "pretrainedResnet_quant.tflite")
    assert artifact.precision is Precision.W8A8
    assert artifact.output_steps == {"Identity_int8": 0.00390625}
    with np.load(Path(DATA) / "cifar10" / "cifar10_test_2000.npz") as held:
        images = held["x"][:100].astype(np.float32)
    with edgekit.open(artifact) as session:
        integer = session.run({"input_1_int8": images})["Identity_int8"].argmax(1)
    with edgekit.open(folder / "pretrainedResnet.tflite") as session:
        real = session.run({"input_1": images})["Identity"].argmax(1)
    assert (integer == real).mean() >= 0.9


@needs_data
def test_a_real_file_of_fixed_batch_opens() -> None:
    with edgekit.open(Path(DATA) / "mnist" / "trained_lstm.tflite") as session:
        name = session.inputs[0].name
        (out,) = session.run({name: np.zeros((1, 28, 28), np.float32)}).values()
        assert fixed_batch(session) == 1
    assert out.sum() == pytest.approx(1, abs=1e-5)  # its last operator is a softmax


# --- align, case by case ------------------------------------------------------------------------------


def binding(text: str, **more: object) -> IoBinding:
    name, dtype, *dims = text.split()
    shape = tuple(int(dim) if dim.isdecimal() else dim for dim in dims)
    spec = TensorSpec(name, dtype, shape)
    return IoBinding(reference=spec, name=name, dtype=dtype, shape=shape, **more)  # type: ignore[arg-type]


def made(*inputs: IoBinding) -> Artifact:
    return Artifact(
        folder=Path(),
        files=(FileEntry("m.tflite", "0" * 64, 1),),
        target="litert-cpu",
        backend="litert",
        precision=Precision.W8A8,
        options=RunOptions(),
        inputs=inputs,
        outputs=(binding("out float32 batch 10"),),
        output_steps={"out": 0.5},
    )


OUT = (TensorSpec("out", "float32", ("n", 10)),)


def test_equal_names_stay_and_say_nothing() -> None:
    artifact = made(binding("x float32 batch 4"), binding("y int64 batch"))
    wanted = (TensorSpec("y", "int64", ("n",)), TensorSpec("x", "float32", ("n", 4)))
    assert in_terms_of(artifact, wanted, OUT) == (artifact, ())


def test_what_is_left_is_matched_in_order() -> None:
    artifact = made(binding("a float32 batch 4"), binding("y int32 batch"), binding("b float32 batch 4"))
    wanted = (
        TensorSpec("p", "float32", ("n", 4)),
        TensorSpec("q", "float32", ("n", 4)),
        TensorSpec("y", "int64", ("n",)),
    )
    found, notes = in_terms_of(artifact, wanted, OUT)
    assert [each.reference.name for each in found.inputs] == ["p", "y", "q"]
    assert found.inputs[1].reference.dtype == "int64"  # the file's int32 is converted on the way
    assert found.inputs[1].dtype == "int32"
    assert len(notes) == 2


def test_steps_of_outputs_follow_their_names() -> None:
    found, notes = in_terms_of(
        made(binding("x float32 1")),
        (TensorSpec("x", "float32", (1,)),),
        (TensorSpec("z", "float32", ("n", 10)),),
    )
    assert found.output_steps == {"z": 0.5}
    assert notes == ("output 'out' stands for 'z' of the reference: matched by position",)


def test_channels_last_is_moved_and_its_scale_stays() -> None:
    quant = QuantParams("int8", (0.1,), (3,))
    artifact = made(binding("x float32 batch 8 9 3", quant=quant))
    found, notes = in_terms_of(artifact, (TensorSpec("image", "float32", ("n", 3, 8, 9)),), OUT)
    assert found.inputs[0].permutation == (0, 2, 3, 1)
    assert found.inputs[0].reference.shape == ("batch", 3, 8, 9)
    assert found.inputs[0].quant == quant
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        pytest.param("x float32 batch 4", TensorSpec("z", "int64", ("n", 4)), id="another kind of number"),
        pytest.param("x float32 batch 4", TensorSpec("z", "float32", ("n", 5)), id="another size"),
        pytest.param("x float32 batch 4 1", TensorSpec("z", "float32", ("n", 4)), id="another rank"),
        pytest.param("x float32 batch 4 5", TensorSpec("z", "float32", ("n", 5, 4)), id="three axes"),
        pytest.param("x float32 b h w 3", TensorSpec("z", "float32", ("n", 3, 8, 9)), id="open sizes"),
    ],
)
def test_what_is_not_the_same_tensor_stays(own: str, wanted: TensorSpec) -> None:
    """Must not fire: a guess would compare other things."""
    artifact = made(binding(own))
    assert in_terms_of(artifact, (wanted,), OUT) == (artifact, ())


def test_another_number_of_inputs_stays() -> None:
    artifact = made(binding("a float32 4"), binding("b float32 4"))
    assert in_terms_of(artifact, (TensorSpec("z", "float32", (4,)),), OUT) == (artifact, ())
