"""dynamic, w8 and w4 through the verbs: no calibration data, options that travel, refusals as data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

import edgekit
from edgekit.errors import ExitCode, InputError, RecipeError
from edgekit.ir import io
from edgekit.ir.graph import is_onnx
from edgekit.passes import canonicalize
from edgekit.pipeline import came
from edgekit.pipeline import plan as plans
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.release.run import release
from edgekit.quantization.weights import NoEligibleWeightError
from edgekit.spec import Precision, Silent

Floats = npt.NDArray[np.float32]
RNG = np.random.default_rng(0)
CLASSES, WIDTH = 4, 64
CENTRES = RNG.normal(size=(CLASSES, WIDTH)).astype(np.float32)
TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 64] x) => (float[n, 4] y) <float[64, 64] w, float[64] b, float[4, 64] v>
{ a = Gemm <transB = 1> (x, w, b) c = Relu(a) d = Add(c, x) y = Gemm <transB = 1> (d, v) }
"""
RECIPE = """
schema = 1
[model]
name = "dense"
version = "1.0.0"
source = "dense.onnx"
[data]
evaluation = {{ source = "evaluation.npz", metric = "top1" }}
[optimize]
quantize = {{ precision = "{precision}" }}
[budget]
max_drop_pp = 20.0
never_slower = false
[[target]]
name = "{target}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of noisy centres as ONNX, and labelled data."""
    here = tmp_path_factory.mktemp("dense")
    arrays = {
        "w": (0.1 * RNG.normal(size=(WIDTH, WIDTH))).astype(np.float32),
        "b": np.zeros(WIDTH, np.float32),
        "v": CENTRES,
    }
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    io.save(canonicalize(ir.from_onnx_text(TEXT, initializers=tensors)), here / "dense.onnx")
    labels = RNG.integers(0, CLASSES, 200)
    x = (CENTRES[labels] + 0.3 * RNG.normal(size=(200, WIDTH))).astype(np.float32)
    np.savez(here / "evaluation.npz", x=x, labels=labels)
    return here


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def recipe(folder: Path, tmp_path: Path, *, precision: str, target: str = "onnxruntime-cpu") -> Path:
    for name in ("dense.onnx", "evaluation.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    path = tmp_path / "edgekit.toml"
    path.write_text(RECIPE.format(precision=precision, target=target))
    return path


@pytest.mark.parametrize("precision", ["dynamic", "w8", "w4"])
def test_quantize_needs_no_data(folder: Path, tmp_path: Path, precision: str) -> None:
    out = edgekit.quantize(
        folder / "dense.onnx", out=tmp_path / "q.onnx", target="onnxruntime-cpu", precision=precision
    )
    operators = [node.op_type for node in io.load(out).graph]
    assert ("MatMulInteger" in operators) == (precision == "dynamic")
    assert ("DequantizeLinear" in operators) == (precision != "dynamic")


def test_a_written_file_is_compiled_as_what_it_is(folder: Path, tmp_path: Path) -> None:
    for precision in ("dynamic", "w8", "w4"):
        path = tmp_path / f"{precision}.onnx"
        edgekit.quantize(folder / "dense.onnx", out=path, target="onnxruntime-cpu", precision=precision)
        artifact = edgekit.compile(path, target="onnxruntime-cpu", out=tmp_path / "out")
        assert artifact.precision.value == precision
    settings = dict(artifact_at(next((tmp_path / "out").glob("*-w8.onnx"))).options.settings)
    assert settings == {"session.disable_quant_qdq": "1"}


def test_quantize_holds_the_budget_on_the_form_that_runs(folder: Path, tmp_path: Path) -> None:
    out = edgekit.quantize(
        folder / "dense.onnx",
        out=tmp_path / "q.onnx",
        target="onnxruntime-cpu",
        precision="dynamic",
        eval_data=str(folder / "evaluation.npz"),
        max_drop_pp=20.0,
    )
    assert out.is_file()


def test_a_precision_that_the_target_lacks_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="target portable has no dynamic"):
        edgekit.quantize(
            folder / "dense.onnx", out=tmp_path / "q.onnx", target="portable", precision="dynamic"
        )
    with pytest.raises(RecipeError, match="target litert-cpu has no bf16"):
        plans.make(recipe(folder, tmp_path, precision="bf16", target="litert-cpu"))


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu", "portable"])
def test_sixteen_bit_activations_are_refused_with_what_the_runtime_would_do(
    name: str, folder: Path, tmp_path: Path
) -> None:
    for ask in (
        lambda: edgekit.quantize(
            folder / "dense.onnx", out=tmp_path / "q.onnx", target=name, precision="w8a16"
        ),
        lambda: plans.make(recipe(folder, tmp_path, precision="w8a16", target=name)),
    ):
        with pytest.raises((InputError, RecipeError), match=f"target {name} has no w8a16") as caught:
            ask()
        assert "16-bit" in str(caught.value.why)
        assert "w8a8" in str(caught.value.remedy)


def test_auto_tries_the_ladder_and_a_name_what_is_made_on_request(folder: Path, tmp_path: Path) -> None:
    (auto,) = plans.make(recipe(folder, tmp_path, precision="auto")).targets
    assert auto.candidates == (Precision.FP32, Precision.DYNAMIC, Precision.W8A8)
    (named,) = plans.make(recipe(folder, tmp_path, precision="w8")).targets
    assert named.candidates == (Precision.FP32, Precision.W8)


def test_a_release_without_calibration_data(folder: Path, tmp_path: Path) -> None:
    path = recipe(folder, tmp_path, precision="dynamic")
    with path.open("a") as file:
        file.write('[[target]]\nname = "openvino-cpu"\n[[target]]\nname = "litert-cpu"\n')
    result = release(path, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert result.exit_code is ExitCode.OK, [row.reason for row in result.targets]
    for row in result.targets:
        assert row.chosen is Precision.DYNAMIC
        candidate = next(each for each in row.candidates if each.precision is Precision.DYNAMIC)
        assert candidate.plan_digest
        assert [item.rule for item in candidate.left_float] == ["large-weight"]
    document = json.loads((tmp_path / "dist" / "dense-1.0.0" / "manifest.json").read_text())
    options = {each["name"]: dict(each["artifact"]["options"]["settings"]) for each in document["targets"]}
    assert options["openvino-cpu"]["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "64"
    assert edgekit.verify(tmp_path / "dist" / "dense-1.0.0").exit_code is ExitCode.OK
    again = release(path, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert again.lock == "followed"


def test_a_source_that_came_with_integer_weights_is_what_it_is(folder: Path, tmp_path: Path) -> None:
    edgekit.quantize(folder / "dense.onnx", out=tmp_path / "q.onnx", target="onnxruntime-cpu", precision="w8")
    model = canonicalize(io.load(tmp_path / "q.onnx"))
    assert came.precision_of(model) is Precision.W8
    assert came.quantized_operators(model) == 1
    assert any(is_onnx(node, "DequantizeLinear") for node in model.graph)
    edgekit.quantize(
        folder / "dense.onnx", out=tmp_path / "d.onnx", target="onnxruntime-cpu", precision="dynamic"
    )
    model = canonicalize(io.load(tmp_path / "d.onnx"))
    assert came.precision_of(model) is Precision.DYNAMIC
    assert came.quantized_operators(model) == 1


def test_another_form_of_a_quantized_source_is_an_error(folder: Path, tmp_path: Path) -> None:
    path = recipe(folder, tmp_path, precision="dynamic")
    edgekit.quantize(
        folder / "dense.onnx", out=tmp_path / "dense.onnx", target="onnxruntime-cpu", precision="w8"
    )
    with pytest.raises(NoEligibleWeightError, match="this one came quantized"):
        release(path, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())


def test_a_named_precision_without_eligible_weight_ends_the_release(folder: Path, tmp_path: Path) -> None:
    path = recipe(folder, tmp_path, precision="dynamic")
    tensors = [ir.tensor(CENTRES, name="v")]
    text = TEXT[: TEXT.index("g (")] + (
        "g (float[n, 64] x) => (float[n, 4] y) <float[4, 64] v> { y = Gemm <transB = 1> (x, v) }"
    )
    io.save(canonicalize(ir.from_onnx_text(text, initializers=tensors)), tmp_path / "dense.onnx")
    with pytest.raises(NoEligibleWeightError, match="no operator of this model has a weight") as caught:
        release(path, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert "--precision fp32" in caught.value.remedy
