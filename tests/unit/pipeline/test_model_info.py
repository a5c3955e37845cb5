"""Recipe -> what the compiled file says: normalization as one affine step, labels, the form of its ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import preprocess
from edgekit import target as targets
from edgekit.backends.base import IoForm, ModelInfo, Normalization
from edgekit.errors import RecipeError, TargetRefusalError
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline import info as infos
from edgekit.pipeline import plan as plans
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.came import Variant
from edgekit.preprocess import Cast, Layout, Normalize, Resize, Scale, Step
from edgekit.spec import Precision, RunOptions, TensorSpec

SCALE = Scale(op="scale", by=1 / 255)
COLORS = Normalize(op="normalize", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
GREY = Normalize(op="normalize", mean=(0.5,), std=(0.25,))
NCHW = Layout(op="layout", to="NCHW")
BYTES = Cast(op="cast", dtype="uint8")
FLOATS = Cast(op="cast", dtype="float32")


@dataclass(frozen=True)
class Affine:
    id: str
    steps: tuple[Step, ...]


AFFINE = (
    Affine("scale", (SCALE,)),
    Affine("imagenet", (SCALE, COLORS, NCHW, FLOATS)),
    Affine("bytes-first", (BYTES, SCALE, GREY, NCHW)),
    Affine("one-value-behind-the-layout", (SCALE, NCHW, GREY)),
    Affine("scale-last", (COLORS, Scale(op="scale", by=4.0))),
)


@pytest.mark.parametrize("case", AFFINE, ids=lambda case: case.id)
def test_the_steps_are_one_normalization(case: Affine) -> None:
    """It computes what the steps compute, on a random image; 1e-5 of values around 1."""
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    found = infos.normalization(case.steps)
    assert found is not None
    expected = preprocess.apply(image, case.steps)
    ours = (image - np.asarray(found.mean)) / np.asarray(found.std)
    if NCHW in case.steps:
        ours = np.moveaxis(ours, -1, 0)
    np.testing.assert_allclose(ours, expected.astype(np.float64), rtol=1e-5, atol=1e-5)


def test_resize_does_not_change_it() -> None:
    steps = (Resize(op="resize", size=(8, 8)), SCALE)
    found = infos.normalization(steps)
    assert found is not None
    assert found.mean == (0.0,)
    assert found.std == pytest.approx((255.0,))


@pytest.mark.parametrize(
    "steps",
    [(), (NCHW,), (SCALE, BYTES), (NCHW, COLORS), (Scale(op="scale", by=0.0),)],
    ids=["none", "layout", "cut-off", "along-width", "zero"],
)
def test_what_is_no_normalization_says_nothing(steps: tuple[Step, ...]) -> None:
    assert infos.normalization(steps) is None


RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "model.py:build"
files = ["labels.txt"]
author = "A"
license = "MIT"
description = "d"
[data]
evaluation = {{ source = "e.npz", metric = "{metric}", output = "y" }}
preprocess = [{{ op = "scale", by = 0.5 }}]
[[target]]
name = "litert-cpu"
precision = "{precision}"
io_dtype = "{dtype}"
io_layout = "model"
"""


def recipe(folder: Path, *, metric: str = "top1", precision: str = "w8a8", dtype: str = "uint8") -> Path:
    (folder / "labels.txt").write_text("a\nb\n")
    path = folder / "edgekit.toml"
    path.write_text(RECIPE.format(metric=metric, precision=precision, dtype=dtype))
    return path


def test_of_plan(tmp_path: Path) -> None:
    plan = plans.make(recipe(tmp_path))
    assert plan.targets[0].io == IoForm("uint8", "model")
    inputs = (TensorSpec("x", "float32", (1, 4)), TensorSpec("ids", "int64", (1, 4)))
    assert infos.of_plan(plan, inputs) == ModelInfo(
        name="m",
        version="1",
        description="d",
        author="A",
        license="MIT",
        files={"labels.txt": b"a\nb\n"},
        labels="labels.txt",
        labelled="y",
        normalization={"x": Normalization((0.0,), (2.0,))},
    )


def test_labels_of_a_task_without_classes_are_a_file_only(tmp_path: Path) -> None:
    found = infos.of_plan(plans.make(recipe(tmp_path, metric="mae")), ())
    assert found.labels == ""
    assert set(found.files) == {"labels.txt"}


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_integer_ends_need_a_quantized_precision(precision: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"io_dtype uint8 and precision {precision}"):
        plans.make(recipe(tmp_path, precision=precision))
    assert plans.make(recipe(tmp_path, precision=precision, dtype="float32")).targets[0].io.dtype == "float32"


MODEL = """
<ir_version: 10, opset_import: ["": 21]>
m (float[1,4] x) => (float[1,4] y) { y = Relu(x) }
"""


def test_a_target_without_integer_ends_refuses_them(tmp_path: Path) -> None:
    variant = Variant(ir.from_onnx_text(MODEL), Precision.FP32)
    target = targets.load("onnxruntime-cpu")
    with pytest.raises(TargetRefusalError, match="int8 inputs and outputs") as caught:
        artifacts.obtain(variant, target, RunOptions(), stem="m-1", cache=Cache(tmp_path), io=IoForm("int8"))
    assert [rejection.rule for rejection in caught.value.rejections] == ["io-dtype"]


def test_form_and_info_are_part_of_the_cache_key(tmp_path: Path) -> None:
    variant = Variant(ir.from_onnx_text(MODEL), Precision.FP32)
    target, cache = targets.load("litert-cpu"), Cache(tmp_path)

    def folder(io: IoForm, info: ModelInfo) -> Path:
        return artifacts.obtain(variant, target, RunOptions(), stem="m", cache=cache, io=io, info=info).folder

    info = ModelInfo(files={"a.txt": b"1"})
    found = [
        folder(IoForm(), info),
        folder(IoForm(layout="model"), info),
        folder(IoForm(), ModelInfo(files={"a.txt": b"2"})),
        folder(IoForm(), ModelInfo(files={"a.txt": b"1"}, author="B")),
    ]
    assert len(set(found)) == 4
    assert folder(IoForm(), ModelInfo(files={"a.txt": b"1"})) == found[0]
