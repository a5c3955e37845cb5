"""placement.lean of openvino-cpu: integers only where a kernel reads them, and zero points of 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import UnknownNameError
from edgekit.ir.graph import is_onnx
from edgekit.quantization.alone import sources
from edgekit.quantization.apply import apply, output_steps
from edgekit.quantization.place import QuantPlan, place
from edgekit.spec import QuantParams, Range
from edgekit.target import Target, load

Build = Callable[..., ir.Model]
TARGET = load("openvino-cpu")
LEAN = TARGET.placed("lean")
SEED = 0
SHAPES = {"v": (8, 8), "w": (8, 8), "k": (2, 2, 3, 3), "m": (2, 2, 3, 3), "n": (2, 2, 3, 3)}
DRAWN = {
    name: np.random.default_rng(SEED).normal(size=size).astype(np.float32) for name, size in SHAPES.items()
}
DENSE = "float[8, 8] v, float[8, 8] w"
CONV = "float[2, 2, 3, 3] k, float[2, 2, 3, 3] m"


def ranges_of(model: ir.Model, **special: Range) -> dict[str, Range]:
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return {value.name or "": special.get(value.name or "", Range(-1.0, 3.0)) for value in values}


def made(build: Build, case: Case, rules: Target = LEAN) -> tuple[ir.Model, QuantPlan]:
    model = built(build, case)
    return model, place(model, rules, ranges_of(model))


def built(build: Build, case: Case) -> ir.Model:
    """The text, with what it declares and draws."""
    return build(case.text, **{name: array for name, array in DRAWN.items() if f"] {name}" in case.text})


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    placed: list[str]
    integer: set[str]
    left: Mapping[str, str] = field(default_factory=dict)


CASES = (
    Case(
        "a product that floats read gives floats",
        f"g (float[n, 8] x) => (float[n, 8] y) <{DENSE}> {{ a = MatMul(x, v) b = Tanh(a) y = MatMul(b, w) }}",
        ["Gemm", "Gemm"],
        {"x", "b"},
        {"b": "no-kernel"},
    ),
    Case(
        "a product that a product reads gives integers",
        f"g (float[n, 8] x) => (float[n, 8] y) <{DENSE}> {{ a = MatMul(x, v) y = MatMul(a, w) }}",
        ["Gemm", "Gemm"],
        {"x", "a"},
    ),
    Case(
        "moves in front of floats stay float",
        "g (float[n, 8] x) => (float[n, 2, 4] y) <float[8, 8] v, int64[3] s = {-1, 2, 4}> "
        "{ a = MatMul(x, v) r = Reshape(a, s) y = Softmax(r) }",
        ["Gemm"],
        {"x"},
        {"r": "inside-int8", "y": "no-kernel"},
    ),
    Case(
        "moves between products go along",
        f"g (float[n, 2, 9, 9] x) => (float[n, 2, 4, 4] y) <{CONV}> "
        "{ a = Conv(x, k) r = MaxPool<kernel_shape = [2, 2]>(a) y = Conv(r, m) }",
        ["Conv", "MaxPool", "Conv"],
        {"x", "a", "r"},
    ),
    Case(
        "an addition inside is taken",
        f"g (float[n, 2, 9, 9] x) => (float[n, 2, 5, 5] y) <{CONV}, float[2, 2, 3, 3] n> "
        "{ a = Conv(x, k) b = Conv<pads = [1, 1, 1, 1]>(a, m) c = Add(a, b) y = Conv(c, n) }",
        ["Conv", "Conv", "Add", "Conv"],
        {"x", "a", "b", "c"},
    ),
    Case(
        "an addition whose sum leaves stays float",
        f"g (float[n, 8] x) => (float[n, 8] y) <{DENSE}> "
        "{ a = MatMul(x, v) b = MatMul(a, w) y = Add(a, b) }",
        ["Gemm", "Gemm"],
        {"x", "a"},
        {"y": "inside-int8"},
    ),
    Case(
        "SiLU stays whole",
        "g (float[n, 2, 9, 9] x) => (float[n, 2, 5, 5] y) <float[2, 2, 3, 3] k, float[2, 2, 3, 3] n> "
        "{ a = Conv(x, k) s = Sigmoid(a) c = Mul(a, s) y = Conv(c, n) }",
        ["Conv", "Conv"],
        {"x", "c"},
        {"s": "no-kernel", "c": "from-int8"},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_integer(case: Case, build: Build) -> None:
    model, plan = made(build, case)
    assert [operator.pattern for operator in plan.operators] == case.placed
    assert set(plan.activations) == case.integer
    assert {each.node: each.rule for each in plan.left_float if each.node in case.left} == case.left
    nodes = {output.name: node for node in apply(model, plan).graph for output in node.outputs}
    assert is_onnx(nodes["y"], "DequantizeLinear") == ("y" in case.integer)
    assert set(output_steps(model, plan)) == {"y"} & case.integer
    assert {source.value for source in sources(model, plan) if not source.is_weight} <= case.integer


def test_the_rows_as_they_are_write_integers_there(build: Build) -> None:
    """What fires under one set of rules does not under the other."""
    _, plan = made(build, CASES[0], rules=TARGET)
    assert set(plan.activations) == {"x", "a", "b", "y"}


def test_without_the_neighbour_rules_the_pairs_are_there(build: Build) -> None:
    """Sabotage of from-int8: SiLU's product is quantized, and its operands with it."""
    lean = TARGET.placement["lean"].model_copy(update={"constraints": {}})
    blind = TARGET.model_copy(update={"placement": {"lean": lean}}).placed("lean")
    _, plan = made(build, CASES[-1], rules=blind)
    assert "Mul" in [operator.pattern for operator in plan.operators]
    assert {"a", "s"} <= set(plan.activations)


def test_zero_points_are_zero(build: Build) -> None:
    model = built(build, CASES[1])
    plan = place(model, LEAN, ranges_of(model, a=Range(0.0, 2.0)))
    assert plan.activations["a"] == QuantParams("uint8", (float(np.float32(2.0 / 255)),), (0,))
    assert plan.activations["x"] == QuantParams("int8", (float(np.float32(3.0 / 127)),), (0,))


def test_the_other_candidate_keeps_the_plan_that_all_cpu_targets_share(build: Build) -> None:
    model, plan = made(build, CASES[4], rules=TARGET)
    assert plan.digest == place(model, load("portable"), ranges_of(model)).digest
    assert plan.digest != made(build, CASES[4])[1].digest


def test_a_placement_that_the_target_lacks_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="fat"):
        TARGET.placed("fat")
    assert TARGET.placed("") is TARGET
