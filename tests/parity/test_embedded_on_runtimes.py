"""Raw bytes into the embedded artifact = normalized floats into the plain one, on every runtime.

In int8 both have the same weights and the same output step. Where the bytes are the integers (A2 of
``absorb_quantized_input``) both convolutions read the same integers: 1 step is a rounding of kernels.
Elsewhere the input is rounded at other places, by half an input step at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.worker import WorkerSession
from edgekit.ir.verify import CANONICAL
from edgekit.passes import absorb_quantized_input, canonicalize
from edgekit.passes.base import Pass, run
from edgekit.passes.embed_normalize import EmbedNormalize
from edgekit.passes.embed_raw_input import EmbedRawInput
from edgekit.passes.fold_input_scale import FoldInputScale
from edgekit.passes.infer_shapes import InferShapes
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import absorbed, plan_of
from edgekit.quantization.apply import apply
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Precision, Range, Ranges

SEED = 0
TARGETS = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[batch, 3, 12, 12] x) => (float[batch, 8, 6, 6] y)
<float[8, 3, 3, 3] w, float[8] b, float[8, 8, 3, 3] v, float[8] c>
{
  h = Conv<pads = [1, 1, 1, 1]>(x, w, b)
  r = Relu(h)
  y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(r, v, c)
}"""
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """``steps``: of the output, int8 against int8; ``absorbed``: the bytes are the integers."""

    id: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    steps: float
    absorbed: bool


CASES = (
    Case("scale", (0.0,), (255.0,), steps=1.0, absorbed=True),
    Case("middle", (128.0,), (128.0,), steps=1.0, absorbed=True),
    Case("half", (127.5,), (127.5,), steps=3.0, absorbed=True),
    Case("channels", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), steps=2.0, absorbed=False),
)


def model() -> ir.Model:
    rng = np.random.default_rng(SEED)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3), "c": (8,)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(MODEL, initializers=tensors))


def pictures() -> npt.NDArray[np.uint8]:
    found = np.random.default_rng(SEED + 1).integers(0, 256, (4, 12, 12, 3)).astype(np.uint8)
    found[0], found[1] = 0, 255
    return found


def ready(case: Case) -> npt.NDArray[np.float32]:
    x = (pictures().astype(np.float32) - np.array(case.mean, np.float32)) / np.array(case.std, np.float32)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)).astype(np.float32)


def run_in(
    folder: Path, made: ir.Model, target: str, feeds: Arrays, *, precision: Precision
) -> tuple[Any, Any]:
    folder.mkdir(exist_ok=True, parents=True)
    found = targets.load(target)
    backend = registry.backend(found.backend)
    if not backend.probe(found).ok:
        pytest.skip(f"{target}: {backend.probe(found).reason}")
    request = CompileRequest(made, found, precision, found.run.options(), f"m-{target}")
    artifact = backend.compile(request, folder)
    with backend.open(artifact, artifact.options) as session:
        assert isinstance(session, WorkerSession)
        outputs = session.run(feeds)
        return outputs["y"], session.executed()


def embedded(plain: ir.Model, case: Case, *last: Pass) -> ir.Model:
    passes = (
        EmbedNormalize("x", case.mean, case.std),
        EmbedRawInput("x", "uint8", channels_last=True),
        *last,
        InferShapes(again=True),
    )
    return run(plain, passes, rules=CANONICAL, known=frozenset({"canonical", "opset-canonical"}))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_float(case: Case, target: str, tmp_path: Path) -> None:
    plain = model()
    inside = embedded(plain, case, FoldInputScale())
    wanted, _ = run_in(tmp_path / "a", plain, target, {"x": ready(case)}, precision=Precision.FP32)
    found, _ = run_in(tmp_path / "b", inside, target, {"x": pictures()}, precision=Precision.FP32)
    assert np.abs(found - wanted).max() <= 1e-5 * np.ptp(wanted)


def quantized(case: Case, target: str, *, inside: bool) -> tuple[ir.Model, float]:
    """The QDQ form, and one step of its output: the plain model's ranges in both forms."""
    plain = model()
    made = embedded(plain, case) if inside else plain
    ends = [(byte - m) / s for byte in (0.0, 255.0) for m, s in zip(case.mean, case.std, strict=True)]
    x = Range(min(ends), max(ends))
    tensors = {"x": x, "x_inside": x, "r": Range(0.0, 6.0), "h": Range(-6.0, 6.0), "y": Range(-20.0, 20.0)}
    ranges = Ranges(tensors, "minmax", "", "", "", samples=4, seed=SEED)
    prepared = Prepared(made, ranges, Restoration())
    plan = plan_of(prepared, targets.load(target), Scheme(Precision.W8A8))
    return absorbed(apply(made, plan)), plan.activations["y"].scale[0]


@pytest.mark.parametrize("target", TARGETS)
def test_a_channels_last_model(target: str, tmp_path: Path) -> None:
    """A4: its own Transpose stands between the arithmetic and the first convolution."""
    text = MODEL.replace("float[batch, 3, 12, 12] x", "float[batch, 12, 12, 3] x")
    text = text.replace(
        "h = Conv<pads = [1, 1, 1, 1]>(x,",
        "t = Transpose<perm = [0, 3, 1, 2]>(x) h = Conv<pads = [1, 1, 1, 1]>(t,",
    )
    rng = np.random.default_rng(SEED)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3), "c": (8,)}
    drawn = {name: rng.normal(size=shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    plain = canonicalize(
        ir.from_onnx_text(text, initializers=[ir.tensor(a, name=n) for n, a in drawn.items()])
    )
    passes = (EmbedNormalize("x", (0.0,), (255.0,), axis=3), EmbedRawInput("x"), InferShapes(again=True))
    inside = run(plain, passes, rules=CANONICAL, known=frozenset({"canonical", "opset-canonical"}))
    one = Range(0.0, 1.0)
    held = {
        "x": one,
        "x_inside": one,
        "t": one,
        "r": Range(0.0, 6.0),
        "h": Range(-6.0, 6.0),
        "y": Range(-20.0, 20.0),
    }

    def integers(made: ir.Model) -> ir.Model:
        prepared = Prepared(made, Ranges(held, "minmax", "", "", "", samples=4, seed=SEED), Restoration())
        return absorbed(apply(made, plan_of(prepared, targets.load(target), Scheme(Precision.W8A8))))

    bytes_in = integers(inside)
    assert not [node for node in bytes_in.graph if node.op_type in {"Cast", "Mul"}]
    floats = pictures().astype(np.float32) / np.float32(255)
    wanted, _ = run_in(tmp_path / "a", integers(plain), target, {"x": floats}, precision=Precision.W8A8)
    found, ran = run_in(tmp_path / "b", bytes_in, target, {"x": pictures()}, precision=Precision.W8A8)
    assert np.abs(found - wanted).max() <= 40 / 255  # one step of the output
    assert {each.precision for each in ran or () if each.multiplies} == {"int8"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_int8(case: Case, target: str, tmp_path: Path) -> None:
    plain, step = quantized(case, target, inside=False)
    inside, same = quantized(case, target, inside=True)
    assert step == same
    wanted, _ = run_in(tmp_path / "a", plain, target, {"x": ready(case)}, precision=Precision.W8A8)
    found, ran = run_in(tmp_path / "b", inside, target, {"x": pictures()}, precision=Precision.W8A8)
    assert np.abs(found - wanted).max() / step <= case.steps
    first = {node.op_type for node in inside.graph if (node.name or "").startswith("embed/")}
    assert first == ({"Transpose"} if case.absorbed else {"Transpose", "Cast", "Sub", "Mul"})
    convolutions = [each for each in ran or () if each.multiplies]
    assert len(convolutions) == 2
    assert {each.precision for each in convolutions} == {"int8"}  # the bytes reach the first one as integers


def bias_of(case: Case, folder: Path) -> float:
    """Mean error of an int8 sum of 27 bytes, in steps of its output: 0 but for roundings. No border."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[batch, 3, 12, 12] x) => (float[batch, 1, 12, 12] y) <float[1, 3, 3, 3] w, float[1] b>
    { y = Conv<pads = [1, 1, 1, 1]>(x, w, b) }"""
    arrays = {"w": np.ones((1, 3, 3, 3), np.float32), "b": np.ones(1, np.float32)}
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    plain = canonicalize(ir.from_onnx_text(text, initializers=tensors))
    made = embedded(plain, case)
    held = {"x_inside": Range(-1.0, 1.0), "y": Range(-9.0, 9.0)}
    ranges = Ranges(held, "minmax", "", "", "", samples=4, seed=SEED)
    plan = plan_of(Prepared(made, ranges, Restoration()), targets.load("portable"), Scheme(Precision.W8A8))
    integer = absorbed(apply(made, plan))
    feeds = {"x": pictures()[2:]}
    wanted, _ = run_in(folder / "float", made, TARGETS[0], feeds, precision=Precision.FP32)
    found, _ = run_in(folder / "int8", integer, TARGETS[0], feeds, precision=Precision.W8A8)
    inner = (found - wanted)[:, :, 1:-1, 1:-1]
    return float(inner.mean() / plan.activations["y"].scale[0])


def test_the_rest_is_in_the_bias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A3, and its sabotage: half a byte 27 times over is 1.5 steps of this output."""
    case = next(case for case in CASES if case.id == "half")
    assert abs(bias_of(case, tmp_path)) < 0.1
    monkeypatch.setattr(absorb_quantized_input, "_into_bias", lambda *_: True)
    assert abs(bias_of(case, tmp_path)) > 1.0


def test_the_bytes_of_a_model_without_a_bias_stay_bytes_only_where_that_is_exact() -> None:
    """A3 needs a bias; A2 does not."""
    text = MODEL.replace("(x, w, b)", "(x, w)").replace("float[8] b, ", "")
    rng = np.random.default_rng(SEED)
    shapes = {"w": (8, 3, 3, 3), "v": (8, 8, 3, 3), "c": (8,)}
    tensors = [ir.tensor(rng.normal(size=s).astype(np.float32), name=n) for n, s in shapes.items()]
    bare = canonicalize(ir.from_onnx_text(text, initializers=tensors))
    for case, goes in ((CASES[0], True), (CASES[2], False)):
        made = embedded(bare, case)
        ends = [(byte - case.mean[0]) / case.std[0] for byte in (0.0, 255.0)]
        held = {"x_inside": Range(*ends), "r": Range(0, 9), "h": Range(-9, 9), "y": Range(-20, 20)}
        ranges = Ranges(held, "minmax", "", "", "", samples=1, seed=0)
        plan = plan_of(
            Prepared(made, ranges, Restoration()), targets.load("portable"), Scheme(Precision.W8A8)
        )
        left = {
            node.op_type
            for node in absorbed(apply(made, plan)).graph
            if (node.name or "").startswith("embed/")
        }
        assert ("Cast" not in left) is goes
