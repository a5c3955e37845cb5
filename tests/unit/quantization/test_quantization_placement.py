"""place: which operators become integer on which target, with which scales, and why the rest does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import InputError, RecipeError
from edgekit.quantization.constraints import CONSTRAINTS, INSIDE_INT8, check_constraints
from edgekit.quantization.place import QuantPlan, place, plan_from_json
from edgekit.spec import Array, Range
from edgekit.target import Kernel, Target, load, names

Build = Callable[..., ir.Model]
CPU = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu", "portable")
WEIGHTS = {
    "w": np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32),
    "d": np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32),
}
CONV = "float[2, 1, 3, 3] w"


def every_range(model: ir.Model, **special: Range) -> dict[str, Range]:
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return {value.name or "": special.get(value.name or "", Range(-1.0, 3.0)) for value in values}


def patterns(plan: QuantPlan) -> list[str]:
    return [operator.pattern for operator in plan.operators]


def reasons(plan: QuantPlan) -> dict[str, str]:
    return {item.node: item.rule for item in plan.left_float}


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    placed: Mapping[str, list[str]]
    left: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=lambda: WEIGHTS)


def everywhere(*wanted: str) -> dict[str, list[str]]:
    return {name: list(wanted) for name in CPU}


def reason_everywhere(**wanted: str) -> dict[str, dict[str, str]]:
    return {name: dict(wanted) for name in CPU}


CASES = (
    Case(
        "a fused activation is inside",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}> {{ a = Conv(x, w) y = Relu(a) }}",
        everywhere("Conv+Relu"),
    ),
    Case(
        "an activation that others bypass is not fused",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y, float[n, 2, 4, 4] a) <{CONV}> "
        "{ a = Conv(x, w) y = Relu(a) }",
        {
            "onnxruntime-cpu": ["Conv"],
            "openvino-cpu": ["Conv", "Relu"],
            "litert-cpu": ["Conv", "Relu"],
            "portable": ["Conv"],
        },
        {"onnxruntime-cpu": {"y": "no-kernel"}, "portable": {"y": "no-kernel"}},
    ),
    Case(
        "a clip from zero is inside",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}, float low = {{0}}, float high = {{6}}> "
        "{ a = Conv(x, w) y = Clip(a, low, high) }",
        everywhere("Conv+Clip"),
    ),
    Case(
        "a clip from below zero stays outside",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}, float low = {{-1}}, float high = {{1}}> "
        "{ a = Conv(x, w) y = Clip(a, low, high) }",
        everywhere("Conv"),
        reason_everywhere(y="no-kernel"),
    ),
    Case(
        "moves go along, the last softmax stays float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 3] y) <{CONV}, float[8, 3] d, int64[2] s = {{-1, 8}}> "
        "{ a = Conv(x, w) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)"
        " r = Reshape(p, s) l = MatMul(r, d) y = Softmax(l) }",
        everywhere("Conv", "MaxPool", "Reshape", "Gemm"),
        {
            "onnxruntime-cpu": {"y": "inside-int8"},
            "openvino-cpu": {"y": "no-kernel"},
            "litert-cpu": {"y": "inside-int8"},
            "portable": {"y": "no-kernel"},
        },
    ),
    Case(
        "a move of floats is not rounded before",
        "g (float[n, 2, 4] x) => (float[n, 3] y) <float[8, 3] d, int64[2] s = {-1, 8}> "
        "{ a = Erf(x) r = Reshape(a, s) y = MatMul(r, d) }",
        everywhere("Gemm"),
        reason_everywhere(a="no-kernel", r="from-int8"),
    ),
    Case(
        "a move of an input is: the input may be integer itself",
        "g (float[n, 2, 4] x) => (float[n, 3] y) <float[8, 3] d, int64[2] s = {-1, 8}> "
        "{ r = Reshape(x, s) y = MatMul(r, d) }",
        everywhere("Reshape", "Gemm"),
    ),
    Case(
        "a bias behind a product is inside, on whichever side it stands",
        "g (float[n, 4, 8] x) => (float[n, 4, 3] y, float[n, 4, 3] z)"
        " <float[8, 3] d, float[3] t = {1, 2, 3}> "
        "{ a = MatMul(x, d) y = Add(a, t) b = MatMul(x, d) c = Add(t, b) z = Relu(c) }",
        everywhere("MatMul+Add", "MatMul+Add+Relu"),
    ),
    Case(
        "a bias in front of a move stays float where OpenVINO has attention behind it",
        "g (float[n, 4, 8] x) => (float[n, 3, 4] y) <float[8, 3] d, float[3] t = {1, 2, 3}> "
        "{ a = MatMul(x, d) b = Add(a, t) c = Transpose <perm = [0, 2, 1]> (b) y = Softmax(c) }",
        {**everywhere("MatMul"), "litert-cpu": ["MatMul+Add", "Transpose"]},
    ),
    Case(
        "what is not one value for each output is no bias",
        "g (float[n, 4, 3] x) => (float[n, 4, 3] y) <float[3, 3] d, float[1, 4, 3] t> "
        "{ a = MatMul(x, d) y = Add(a, t) }",
        everywhere("MatMul"),
        reason_everywhere(y="two-activations"),
        {"d": WEIGHTS["d"][:3], "t": np.ones((1, 4, 3), np.float32)},
    ),
    Case(
        "a product that others read too is not fused with its bias",
        "g (float[n, 4, 8] x) => (float[n, 4, 3] y, float[n, 4, 3] a)"
        " <float[8, 3] d, float[3] t = {1, 2, 3}> { a = MatMul(x, d) y = Add(a, t) }",
        everywhere("MatMul"),
        reason_everywhere(y="two-activations"),
    ),
    Case(
        "two branches meet",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}> "
        "{ a = Conv(x, w) b = Relu(a) c = Conv(x, w) d = Add(b, c) y = Relu(d) }",
        everywhere("Conv+Relu", "Conv", "Add+Relu"),
    ),
    Case(
        "an island without weights stays float",
        "g (float[n, 2, 4, 4] x, float[n, 2, 4, 4] z) => (float[n, 2, 2, 2] y) "
        "{ a = Add(x, z) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a) }",
        everywhere(),
        reason_everywhere(a="island", y="island"),
    ),
    Case(
        "weights that are computed stay float",
        "g (float[n, 1, 6, 6] x, float[2, 1, 3, 3] w) => (float[n, 2, 4, 4] y) { y = Conv(x, w) }",
        everywhere(),
        reason_everywhere(y="const-weight"),
        {},
    ),
    Case(
        "weights that are not finite stay float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}> {{ y = Conv(x, w) }}",
        everywhere(),
        reason_everywhere(y="const-weight"),
        {"w": np.full((2, 1, 3, 3), np.inf, np.float32)},
    ),
    Case(
        "the product of a SiLU stays float in the portable file",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}> "
        "{ a = Conv(x, w) b = Sigmoid(a) c = Mul(a, b) d = Conv(x, w) y = Mul(c, d) }",
        {
            "onnxruntime-cpu": ["Conv", "Sigmoid", "Mul", "Conv", "Mul"],
            "openvino-cpu": ["Conv", "Mul", "Conv", "Mul"],
            "litert-cpu": ["Conv", "Sigmoid", "Mul", "Conv", "Mul"],
            "portable": ["Conv", "Conv", "Mul"],
        },
        {"portable": {"c": "no-silu"}},
    ),
    Case(
        "an addition of a constant stays float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <{CONV}, float[4] t = {{1, 2, 3, 4}}> "
        "{ a = Conv(x, w) y = Add(a, t) }",
        everywhere("Conv"),
        reason_everywhere(y="two-activations"),
    ),
    Case(
        "a one-dimensional convolution needs a kernel for it",
        "g (float[n, 1, 6] x) => (float[n, 2, 4] y) <float[2, 1, 3] w> { y = Conv(x, w) }",
        {"onnxruntime-cpu": ["Conv"], "openvino-cpu": ["Conv"], "litert-cpu": [], "portable": []},
        {"litert-cpu": {"y": "rank-4"}, "portable": {"y": "rank-4"}},
        {"w": np.ones((2, 1, 3), np.float32)},
    ),
    Case(
        "dense layers on sequences are MatMul",
        "g (float[n, 5, 8] x) => (float[n, 5, 3] y) <float[8, 3] d> { y = MatMul(x, d) }",
        everywhere("MatMul"),
    ),
    Case(
        "a max pooling that returns indices stays float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 2, 2] y, int64[n, 2, 2, 2] i) <{CONV}> "
        "{ a = Conv(x, w) y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a) }",
        everywhere("Conv"),
        reason_everywhere(y="no-indices"),
    ),
    Case(
        "a reshape to a computed shape stays float",
        f"g (float[n, 1, 6, 6] x, int64[2] s) => (float[p, q] y) <{CONV}> {{ a = Conv(x, w) y = "
        f"Reshape(a, s) }}",
        everywhere("Conv"),
        reason_everywhere(y="const-parameters"),
    ),
    Case(
        "padding with zeros has a kernel on two runtimes",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 6, 6] y) <{CONV}, int64[8] p> {{ a = Conv(x, w) y = "
        f"Pad(a, p) }}",
        {
            "onnxruntime-cpu": ["Conv"],
            "openvino-cpu": ["Conv", "Pad"],
            "litert-cpu": ["Conv", "Pad"],
            "portable": ["Conv"],
        },
        {"onnxruntime-cpu": {"y": "no-kernel"}},
        {**WEIGHTS, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    Case(
        "padding with ones stays float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 6, 6] y) <{CONV}, int64[8] p, float one = {{1}}> "
        "{ a = Conv(x, w) y = Pad(a, p, one) }",
        everywhere("Conv"),
        {"openvino-cpu": {"y": "zero-pad"}, "litert-cpu": {"y": "zero-pad"}},
        {**WEIGHTS, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    Case(
        "a mean over channels stays float",
        f"g (float[n, 1, 6, 6] x) => (float[n, 1, 4, 4] y) <{CONV}, int64[1] axes = {{1}}> "
        "{ a = Conv(x, w) y = ReduceMean(a, axes) }",
        everywhere("Conv"),
        {"openvino-cpu": {"y": "spatial-mean"}, "litert-cpu": {"y": "spatial-mean"}},
    ),
    Case(
        "a concatenation with a constant stays float",
        f"g (float[n, 1, 6, 6] x) => (float[2, 2, 4, 4] y) <{CONV}, float[1, 2, 4, 4] k> "
        "{ a = Conv(x, w) y = Concat <axis = 0> (a, k) }",
        everywhere("Conv"),
        reason_everywhere(y="all-activations"),
        {**WEIGHTS, "k": np.ones((1, 2, 4, 4), np.float32)},
    ),
    Case(
        "a dense layer on transposed input stays float",
        "g (float[8, n] x) => (float[n, 3] y) <float[8, 3] d> { y = Gemm <transA = 1> (x, d) }",
        everywhere(),
        reason_everywhere(y="plain-gemm"),
    ),
    Case(
        "operators of other domains and of integers are nobody's business",
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y, int64[4] s) <{CONV}> {{ y = Conv(x, w) s = "
        f"Shape(y) }}",
        everywhere("Conv"),
    ),
)


@pytest.mark.parametrize("target", CPU)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_placement(case: Case, target: str, build: Build) -> None:
    arrays = {name: array for name, array in case.arrays.items() if f"] {name}" in case.text}
    model = build(case.text, **arrays)
    plan = place(model, load(target), every_range(model))
    assert patterns(plan) == case.placed[target]
    left = reasons(plan)
    for node, rule in case.left.get(target, {}).items():
        assert left[node] == rule
    placed_nodes = {name for operator in plan.operators for name in operator.nodes}
    assert not placed_nodes & set(left)
    assert all(item.reason for item in plan.left_float)


def test_a_missing_range_leaves_the_operator_float(build: Build) -> None:
    model = build(CASES[0].text, w=WEIGHTS["w"])
    ranges = every_range(model)
    del ranges["y"]
    assert patterns(place(model, load("portable"), ranges)) == ["Conv"], (
        "the shorter kernel still has its range"
    )
    del ranges["a"]
    plan = place(model, load("portable"), ranges)
    assert plan.operators == ()
    assert reasons(plan)["a"] == "no-range"


def test_moves_share_the_union_of_their_ranges(build: Build) -> None:
    text = (
        f"g (float[n, 1, 6, 6] x) => (float[n, 4, 4, 4] y) <{CONV}> "
        "{ a = Conv(x, w) b = Conv(x, w) y = Concat <axis = 1> (a, b) }"
    )
    model = build(text, w=WEIGHTS["w"])
    ranges = every_range(model, a=Range(-1.0, 1.0), b=Range(-4.0, 0.5), y=Range(-4.0, 1.0))
    shared = place(model, load("litert-cpu"), ranges).activations
    assert shared["a"] == shared["b"] == shared["y"]
    assert shared["a"].scale[0] == pytest.approx(5.0 / 255)
    own = place(model, load("onnxruntime-cpu"), ranges).activations
    assert len({own[name] for name in ("a", "b", "y")}) == 3


def test_a_clip_ends_the_range_so_that_saturation_does_the_clamping(build: Build) -> None:
    model = build(CASES[2].text, w=WEIGHTS["w"])
    for high in (6.0, 5.3, 0.7):
        plan = place(model, load("onnxruntime-cpu"), every_range(model, y=Range(0.0, high)))
        params = plan.activations["y"]
        assert params.zero_point == (0,)
        assert np.float32(params.scale[0]) * np.float32(255) <= 6.0


def test_prescribed_scales_are_used_inside_the_integer_part(build: Build) -> None:
    text = (
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 2, 2] y) <{CONV}, float[2, 2, 3, 3] v> "
        "{ a = Conv(x, w) b = Sigmoid(a) y = Conv(b, v) }"
    )
    model = build(text, w=WEIGHTS["w"], v=np.ones((2, 2, 3, 3), np.float32))
    plans = {name: place(model, load(name), every_range(model, b=Range(0.1, 0.9))) for name in CPU}
    assert patterns(plans["litert-cpu"]) == patterns(plans["onnxruntime-cpu"]) == ["Conv", "Sigmoid", "Conv"]
    assert plans["litert-cpu"].digest == plans["onnxruntime-cpu"].digest, "-128 of int8 is 0 of uint8"
    assert plans["litert-cpu"].activations["b"].scale == (1 / 256,)
    assert patterns(plans["openvino-cpu"]) == ["Conv", "Conv"]


def test_a_value_that_does_not_fit_a_prescribed_scale_keeps_its_own(build: Build) -> None:
    text = (
        f"g (float[n, 1, 6, 6] x) => (float[n, 2, 2, 2] y) <{CONV}, float[2, 4, 3, 3] v> "
        "{ a = Conv(x, w) b = Sigmoid(a) c = Concat <axis = 1> (a, b) y = Conv(c, v) }"
    )
    model = build(text, w=WEIGHTS["w"], v=np.ones((2, 4, 3, 3), np.float32))
    plan = place(model, load("litert-cpu"), every_range(model, b=Range(0.1, 0.9)))
    assert reasons(plan) == {"c": "fixed-scale", "b": "inside-int8"}


def test_plans_of_the_runtimes_have_one_digest_where_they_agree(build: Build) -> None:
    model = build(CASES[4].text, w=WEIGHTS["w"], d=WEIGHTS["d"])
    digests = {place(model, load(name), every_range(model)).digest for name in CPU}
    assert len(digests) == 1
    assert digests != {place(model, load("portable"), every_range(model, x=Range(-2, 2))).digest}


def test_the_plan_is_deterministic_and_the_model_untouched(build: Build) -> None:
    from edgekit.ir.digest import digest

    model = build(CASES[4].text, w=WEIGHTS["w"], d=WEIGHTS["d"])
    before = digest(model)
    ranges = every_range(model)
    backwards = dict(reversed(ranges.items()))
    first, second = (place(model, load("portable"), found) for found in (ranges, backwards))
    assert first == second
    assert digest(model) == before


def test_a_plan_survives_json(build: Build) -> None:
    import json

    model = build(CASES[4].text, w=WEIGHTS["w"], d=WEIGHTS["d"])
    plan = place(model, load("portable"), every_range(model))
    again = plan_from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.digest == plan.digest


def test_a_changed_plan_is_refused(build: Build) -> None:
    model = build(CASES[0].text, w=WEIGHTS["w"])
    document = place(model, load("portable"), every_range(model)).to_json()
    document["activations"]["x"]["scale"] = [0.5]
    with pytest.raises(InputError, match="was changed"):
        plan_from_json(document)


def test_something_else_is_no_plan() -> None:
    with pytest.raises(InputError, match="not a quantization plan"):
        plan_from_json({"hello": "world"})


def with_constraint(name: str) -> Target:
    kernel = Kernel(
        pattern="Conv",
        weight="s8:channel:sym",
        activation="u8:tensor:asym",
        output="u8:tensor:asym",
        constraints=(name,),
        source="test",
    )
    return load("portable").model_copy(update={"kernel": (kernel,)})


def test_an_unknown_constraint_is_an_error_with_the_closest_one() -> None:
    with pytest.raises(RecipeError, match="unknown constraint 'const-wieght'") as caught:
        check_constraints(with_constraint("const-wieght"))
    assert "const-weight" in caught.value.remedy


def test_a_constraint_that_resembles_nothing_points_to_the_readme() -> None:
    with pytest.raises(RecipeError) as caught:
        check_constraints(with_constraint("zzz"))
    assert "README" in caught.value.remedy


@pytest.mark.parametrize("name", names())
def test_shipped_targets_are_complete(name: str) -> None:
    target = load(name)
    check_constraints(target)
    assert target.summary
    assert target.ladder
    shared = {kernel.head for kernel in target.kernel if kernel.output == "same"}
    assert shared == set(target.shared_scale), "shared_scale and the rows say the same"
    for kernel in target.kernel:
        assert kernel.source.startswith("https://") or kernel.source == "measured"
        assert (kernel.weight != "none") == bool({"const-weight", "table"} & set(kernel.constraints))
    for row in target.fixed_scale.values():
        assert row.source.startswith("https://")
        assert row.scale > 0


def test_the_readme_of_the_targets_lists_every_constraint() -> None:
    from edgekit._resources import shipped

    text = (shipped("targets") / "README.md").read_text("utf-8")
    for name in (*CONSTRAINTS, INSIDE_INT8):
        assert f"| `{name}` |" in text
