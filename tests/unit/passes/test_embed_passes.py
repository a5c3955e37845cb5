"""Steps of an app inside the model compute what they compute in the app, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.bundle.answers import activated, detections
from edgekit.bundle.processing import NmsProcessing
from edgekit.ir.graph import is_onnx
from edgekit.ir.verify import CANONICAL
from edgekit.passes import canonicalize, fold_input_scale
from edgekit.passes.base import Pass, run
from edgekit.passes.embed_activation import EmbedActivation
from edgekit.passes.embed_nms import EmbedNms
from edgekit.passes.embed_normalize import EmbedNormalize
from edgekit.passes.embed_raw_input import EmbedRawInput
from edgekit.passes.fold_input_scale import FoldInputScale

SEED = 0
ULPS = 4e-6  # of the output's range: sums of 27 products in another order
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
Floats = npt.NDArray[np.float32]


def embedded(model: ir.Model, *passes: Pass) -> ir.Model:
    return run(model, passes, rules=CANONICAL, known=frozenset({"canonical", "opset-canonical"}))


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def conv(build: Any, *, pads: str = "1, 1, 1, 1", group: int = 1) -> ir.Model:
    rng = np.random.default_rng(SEED)
    size = 8 if pads != "0, 0, 0, 0" else 6
    text = (
        f"g (float[n, 3, 8, 8] x) => (float[n, 6, {size}, {size}] y)"
        f" <float[6, {3 // group}, 3, 3] w, float[6] b>"
        f" {{ y = Conv<pads = [{pads}], group = {group}>(x, w, b) }}"
    )
    w = rng.normal(size=(6, 3 // group, 3, 3)).astype(np.float32)
    return canonicalize(build(text, w=w, b=rng.normal(size=6).astype(np.float32)))


def pictures(dtype: str = "uint8") -> npt.NDArray[Any]:
    """(2, 8, 8, 3), the ends of the bytes included."""
    found = np.random.default_rng(SEED).integers(0, 256, (2, 8, 8, 3)).astype(dtype)
    found[0, 0, 0], found[0, 7, 7] = 0, 255
    return found


def away(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.ptp(wanted))


@dataclass(frozen=True)
class Front:
    id: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "uint8"
    folded: tuple[str, ...] = ()
    pads: str = "1, 1, 1, 1"
    group: int = 1


FRONTS = (
    Front("scale", (0.0,), (255.0,), folded=("Transpose", "Cast", "Conv")),
    Front("none", (0.0,), (1.0,), folded=("Transpose", "Cast", "Conv")),
    Front("half", (127.5,), (127.5,), folded=("Transpose", "Cast", "Sub", "Conv")),
    Front("channels", *IMAGENET, folded=("Transpose", "Cast", "Sub", "Conv")),
    Front("channels-unpadded", *IMAGENET, folded=("Transpose", "Cast", "Conv"), pads="0, 0, 0, 0"),
    Front("channels-float", *IMAGENET, dtype="float32", folded=("Transpose", "Sub", "Conv")),
    Front("channels-grouped", *IMAGENET, folded=("Transpose", "Cast", "Sub", "Mul", "Conv"), group=3),
)


@pytest.mark.parametrize("case", FRONTS, ids=lambda case: case.id)
def test_raw_pictures_give_what_normalized_ones_give(case: Front, build: Any, evaluate: Any) -> None:
    model = conv(build, pads=case.pads, group=case.group)
    raw = pictures(case.dtype)
    ready = (raw.astype(np.float32) - np.array(case.mean, np.float32)) / np.array(case.std, np.float32)
    [wanted] = evaluate(model, {"x": np.moveaxis(ready, -1, 1).astype(np.float32)})
    passes = (
        EmbedNormalize("x", case.mean, case.std),
        EmbedRawInput("x", case.dtype, channels_last=True),
    )
    plain = embedded(model, *passes)
    assert [*map(str, plain.graph.inputs[0].shape or ())] == ["n", "8", "8", "3"]
    [found] = evaluate(plain, {"x": raw})
    assert away(found, wanted) <= ULPS
    folded = embedded(plain, FoldInputScale())
    assert tuple(operators(folded)) == case.folded
    assert away(evaluate(folded, {"x": raw})[0], wanted) <= ULPS


def test_a_mean_folded_in_front_of_padding_is_seen(
    build: Any, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage of S2: the border would be wrong, and the comparison above says so."""
    model = conv(build)
    plain = embedded(model, EmbedNormalize("x", *IMAGENET), EmbedRawInput("x", "uint8", channels_last=True))
    [wanted] = evaluate(plain, {"x": pictures()})
    monkeypatch.setattr(fold_input_scale, "_pads", lambda node: False)
    wrong = embedded(plain, FoldInputScale())
    assert operators(wrong) == ["Transpose", "Cast", "Conv"]
    [found] = evaluate(wrong, {"x": pictures()})
    assert away(found[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1]) <= ULPS
    assert away(found, wanted) > 0.01


def test_channels_first_bytes(build: Any, evaluate: Any) -> None:
    model = conv(build)
    raw = np.moveaxis(pictures(), -1, 1).copy()
    [wanted] = evaluate(model, {"x": raw.astype(np.float32) / np.float32(255)})
    found = embedded(model, EmbedNormalize("x", (0.0,), (255.0,)), EmbedRawInput("x"))
    assert operators(found) == ["Cast", "Mul", "Conv"]
    assert away(evaluate(found, {"x": raw})[0], wanted) <= ULPS


def test_a_dense_layer_takes_the_mean_too(build: Any, evaluate: Any) -> None:
    rng = np.random.default_rng(SEED)
    text = (
        "g (float[n, 5] x) => (float[n, 4] y) <float[4, 5] w, float[4] b> { y = Gemm<transB = 1>(x, w, b) }"
    )
    w, b = rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    model = canonicalize(build(text, w=w, b=b))
    raw = rng.normal(size=(3, 5)).astype(np.float32) * 100
    found = embedded(model, EmbedNormalize("x", (7.0,), (30.0,), axis=1), FoldInputScale())
    assert operators(found) == ["Gemm"]
    assert away(evaluate(found, {"x": raw})[0], evaluate(model, {"x": (raw - 7) / np.float32(30)})[0]) <= ULPS


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("axis", [1, -1])
def test_activations(activation: Any, axis: int, build: Any, evaluate: Any) -> None:
    model = canonicalize(build("g (float[n, 4, 3] x) => (float[n, 4, 3] y) { y = Neg(x) }"))
    x = np.random.default_rng(SEED).normal(size=(2, 4, 3)).astype(np.float32) * 30
    found = embedded(model, EmbedActivation("y", activation, axis=axis))
    assert found.graph.outputs[0].name == "y"
    [got] = evaluate(found, {"x": x})
    assert np.abs(got - activated(-x, activation, axis=axis)).max() <= 1e-6


# --- nms -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suppression:
    id: str
    count: int
    most: int
    iou: float = 0.5
    score: float = 0.1
    kinds: int = 3
    dtype: str = "int64"


SUPPRESSIONS = (
    Suppression("many", 60, 20),
    Suppression("more-rows-than-candidates", 5, 12),
    Suppression("one-candidate", 1, 4),
    Suppression("only-the-best", 60, 1),
    Suppression("nothing-is-left", 30, 8, score=2.0),
    Suppression("one-class", 60, 20, kinds=1),
    Suppression("almost-any-overlap", 60, 20, iou=0.05),
    Suppression("almost-no-overlap", 60, 60, iou=0.95),
    Suppression("float-classes", 60, 20, dtype="float32"),
)


def candidates(case: Suppression) -> dict[str, npt.NDArray[Any]]:
    """Boxes that overlap a lot, batch 1; the last candidates have no class."""
    rng = np.random.default_rng(SEED)
    middle, size = rng.uniform(0, 40, (1, case.count, 2)), rng.uniform(4, 20, (1, case.count, 2))
    kinds = rng.integers(0, case.kinds, (1, case.count))
    if case.count > 4:
        kinds[0, -2:] = -1
    return {
        "b": np.concatenate([middle - size / 2, middle + size / 2], -1).astype(np.float32),
        "s": rng.permutation(case.count)[None].astype(np.float32) / case.count,  # no two are equal
        "c": kinds.astype(case.dtype),
    }


@pytest.mark.parametrize("case", SUPPRESSIONS, ids=lambda case: case.id)
def test_nms_is_that_of_the_app(case: Suppression, build: Any, evaluate: Any) -> None:
    n, kind = case.count, {"int64": "int64", "float32": "float"}[case.dtype]
    text = (
        f"g (float[batch, {n}, 4] b, float[batch, {n}] s, {kind}[batch, {n}] c)"
        f" => (float[batch, {n}, 4] boxes, float[batch, {n}] scores, {kind}[batch, {n}] classes)"
        " { t = Neg(b) boxes = Neg(t) u = Neg(s) scores = Neg(u) v = Neg(c) classes = Neg(v) }"
    )
    limits = {"iou_threshold": case.iou, "score_threshold": case.score, "max_detections": case.most}
    model = embedded(
        canonicalize(build(text)),
        EmbedNms("boxes", "scores", "classes", **limits),  # type: ignore[arg-type]
    )
    assert [value.name for value in model.graph.outputs] == ["boxes", "scores", "classes"]
    assert model.graph.outputs[0].shape == (1, case.most, 4)
    feeds = candidates(case)
    boxes, scores, classes = evaluate(model, feeds)
    named = NmsProcessing.model_validate(
        {"boxes": "boxes", "scores": "scores", "classes": "classes", **limits}
    )
    wanted = detections({"boxes": feeds["b"], "scores": feeds["s"], "classes": feeds["c"]}, named)
    assert np.array_equal(scores, wanted["scores"])
    assert np.array_equal(classes, wanted["classes"])
    assert classes.dtype == case.dtype
    assert np.array_equal(boxes, wanted["boxes"])
    if case.id == "nothing-is-left":
        assert (classes == -1).all()
        assert not scores.any()


def test_boxes_of_two_classes_do_not_suppress_each_other() -> None:
    """What M1 is for: one list without it keeps one of two equal boxes."""
    nms = NmsProcessing(boxes="b", scores="s", classes="c", iou_threshold=0.5, max_detections=4)
    same = np.array([[[0, 0, 4, 4], [0, 0, 4, 4]]], np.float32)
    scores = np.array([[0.9, 0.8]], np.float32)
    two = detections({"b": same, "s": scores, "c": np.array([[0, 1]])}, nms)
    one = detections({"b": same, "s": scores, "c": np.array([[1, 1]])}, nms)
    assert two["c"].tolist() == [[0, 1, -1, -1]]
    assert one["c"].tolist() == [[1, -1, -1, -1]]


def test_nothing_of_the_model_itself_is_changed(build: Any) -> None:
    model = conv(build)
    before = [str(node) for node in model.graph]
    embedded(model, EmbedNormalize("x", *IMAGENET), FoldInputScale())
    assert [str(node) for node in model.graph] == before
    assert any(is_onnx(node, "Conv") for node in model.graph)
