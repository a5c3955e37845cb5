"""place_weights and apply: which weights become integers, in which form, and why the others stay float.

Weights are normal, seed 0. Expected integers and scales are computed here in NumPy from the definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir.digest import digest
from edgekit.ir.graph import is_onnx
from edgekit.ir.verify import QDQ, breaches
from edgekit.quantization.apply import apply
from edgekit.quantization.constraints import BLOCK, SMALLEST_WEIGHT
from edgekit.quantization.plan import plan_from_json
from edgekit.quantization.weights import NoEligibleWeightError, place_weights
from edgekit.spec import Array, Precision
from edgekit.target import load

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]

ORT = load("onnxruntime-cpu")
WEIGHT_ONLY = [Precision.DYNAMIC, Precision.W8, Precision.W4]


def normal(*shape: int) -> Floats:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


TRANSFORMER = """
g (int64[n, 6] ids) => (float[n, 6, 3] y)
<float[50, 64] table, float[64, 96] wide, float[96] bias, float[96, 64] narrow, float[64, 3] tiny>
{
  x = Gather(table, ids)
  a = MatMul(x, wide)
  b = Add(a, bias)
  c = Relu(b)
  d = MatMul(c, narrow)
  t = Transpose <perm = [0, 2, 1]> (d)
  s = MatMul(d, t)
  p = Softmax(s)
  e = MatMul(p, d)
  y = MatMul(e, tiny)
}
"""
ARRAYS = {
    "table": normal(50, 64),
    "wide": normal(64, 96),
    "bias": normal(96),
    "narrow": normal(96, 64),
    "tiny": normal(64, 3),
}
IDS = {"ids": np.random.default_rng(0).integers(0, 50, (2, 6))}


@pytest.fixture
def transformer(build: Build) -> ir.Model:
    return build(TRANSFORMER, **ARRAYS)


def dequantizers(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if is_onnx(node, "DequantizeLinear")]


@pytest.mark.parametrize("precision", WEIGHT_ONLY)
def test_products_of_activations_are_never_named(transformer: ir.Model, precision: Precision) -> None:
    plan = place_weights(transformer, ORT, precision)
    weights = [operator.weight.name for operator in plan.operators if operator.weight]
    assert set(weights) >= {"wide", "narrow"}
    assert plan.activations == {}
    named = {operator.name for operator in plan.operators} | {item.node for item in plan.left_float}
    readers = {
        node.name for node in transformer.graph if any(v and v.name in ARRAYS for v in node.inputs)
    } - {node.name for node in transformer.graph if node.op_type == "Add"}
    assert named == readers


def test_what_stays_float_says_why(transformer: ir.Model) -> None:
    left = {item.rule: item.reason for item in place_weights(transformer, ORT, Precision.DYNAMIC).left_float}
    assert (
        left["large-weight"] == f"its weight has 192 elements; below {SMALLEST_WEIGHT} integers save nothing"
    )
    assert left["no-kernel"] == "onnxruntime-cpu has no dynamic kernel for Gather"


def test_one_scale_per_output_channel(transformer: ir.Model, evaluate: Evaluate) -> None:
    plan = place_weights(transformer, ORT, Precision.W8)
    model = apply(transformer, plan)
    assert not breaches(model, QDQ)
    stored = {node.inputs[0].name: node for node in dequantizers(model) if node.inputs[0]}
    wide = stored["wide_quantized"]
    integers = wide.inputs[0].const_value.numpy()  # type: ignore[union-attr]  # an initializer
    scale = wide.inputs[1].const_value.numpy()  # type: ignore[union-attr]  # an initializer
    assert integers.dtype == np.int8
    np.testing.assert_allclose(scale, np.abs(ARRAYS["wide"]).max(axis=0) / 127, rtol=1e-6)
    np.testing.assert_array_equal(integers, np.rint(ARRAYS["wide"] / scale))
    rows = stored["table_quantized"].inputs[1].const_value.numpy()  # type: ignore[union-attr]  # an initializer
    np.testing.assert_allclose(rows, np.abs(ARRAYS["table"]).max(axis=1) / 127, rtol=1e-6)
    (real,), (rounded,) = evaluate(transformer, IDS), evaluate(model, IDS)
    assert 0 < np.abs(real - rounded).max() < 0.05 * np.abs(real).max()


def test_four_bits_have_a_scale_per_block(transformer: ir.Model) -> None:
    model = apply(transformer, place_weights(transformer, ORT, Precision.W4))
    assert not breaches(model, QDQ)
    narrow = next(n for n in dequantizers(model) if n.inputs[0] and n.inputs[0].name == "narrow_quantized")
    integers, scale = narrow.inputs[0], narrow.inputs[1]
    assert integers is not None
    assert scale is not None
    assert integers.dtype == ir.DataType.INT4
    assert narrow.attributes["block_size"].as_int() == BLOCK
    peak = np.abs(ARRAYS["narrow"]).reshape(96 // BLOCK, BLOCK, 64).max(axis=1)
    steps = scale.const_value.numpy()  # type: ignore[union-attr]  # an initializer
    np.testing.assert_allclose(steps, peak / 7, rtol=1e-6)
    found = integers.const_value.numpy().astype(np.int8)  # type: ignore[union-attr]  # an initializer
    np.testing.assert_array_equal(found, np.rint(ARRAYS["narrow"] / np.repeat(steps, BLOCK, axis=0)))
    assert found.min() == -7
    assert found.max() == 7


def test_dynamic_and_w8_are_the_same_weights_in_another_plan(transformer: ir.Model) -> None:
    dynamic, stored = (place_weights(transformer, ORT, p) for p in (Precision.DYNAMIC, Precision.W8))
    assert dynamic.digest != stored.digest
    weights = {operator.name: operator.weight for operator in stored.operators}
    assert all(weights[operator.name] == operator.weight for operator in dynamic.operators)
    assert {operator.activation for operator in dynamic.operators} == {"dynamic:u8:tensor:asym"}
    assert {operator.activation for operator in stored.operators} == {"float"}


def test_a_weight_only_plan_is_the_same_on_every_target(build: Build) -> None:
    dense = build(
        "g (float[n, 64] x) => (float[n, 96] y) <float[64, 96] w> { y = MatMul(x, w) }", w=normal(64, 96)
    )
    digests = {
        place_weights(dense, load(name), Precision.W8).digest
        for name in ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
    }
    assert len(digests) == 1
    dynamic = {
        place_weights(dense, load(name), Precision.DYNAMIC).digest
        for name in ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
    }
    assert len(dynamic) == 3, "each runtime rounds activations in its own way"


@pytest.mark.parametrize("precision", WEIGHT_ONLY)
def test_plans_survive_json(transformer: ir.Model, precision: Precision) -> None:
    plan = place_weights(transformer, ORT, precision)
    assert plan_from_json(plan.to_json()) == plan


def test_the_digest_sees_blocks_and_activations(transformer: ir.Model) -> None:
    document = place_weights(transformer, ORT, Precision.W4).to_json()
    document["operators"][0]["weight"]["block"] = 16
    with pytest.raises(InputError, match="digest"):
        plan_from_json(document)
    document = place_weights(transformer, ORT, Precision.DYNAMIC).to_json()
    document["operators"][0]["activation"] = "float"
    with pytest.raises(InputError, match="digest"):
        plan_from_json(document)


def test_the_model_is_not_changed(transformer: ir.Model) -> None:
    before = digest(transformer)
    apply(transformer, place_weights(transformer, ORT, Precision.W4))
    assert digest(transformer) == before


def test_readers_of_one_weight_share_its_integers(build: Build) -> None:
    model = build(
        """
        g (float[n, 64] x) => (float[n, 64] y)
        <float[64, 64] w> { a = MatMul(x, w) b = Relu(a) c = MatMul(b, w) y = Relu(c) }
        """,
        w=normal(64, 64),
    )
    found = apply(model, place_weights(model, ORT, Precision.W8))
    stored = {node.inputs[0].name for node in dequantizers(found) if node.inputs[0]}
    assert len(dequantizers(found)) == 2
    assert len(stored) == 1


@dataclass(frozen=True)
class Left:
    id: str
    text: str
    arrays: dict[str, Array]
    precision: Precision
    reason: str


LEFT = [
    Left(
        "small",
        "g (float[n, 8] x) => (float[n, 8] y) <float[8, 8] w> { y = MatMul(x, w) }",
        {"w": normal(8, 8)},
        Precision.DYNAMIC,
        "its weight has 64 elements",
    ),
    Left(
        "no weight",
        "g (float[n, 8] x) => (float[n, 8] y) { y = Relu(x) }",
        {},
        Precision.W8,
        "none multiplies with a constant",
    ),
    Left(
        "convolution",
        "g (float[n, 8, 9, 9] x) => (float[n, 32, 7, 7] y) <float[32, 8, 3, 3] w> { y = Conv(x, w) }",
        {"w": normal(32, 8, 3, 3)},
        Precision.DYNAMIC,
        "onnxruntime-cpu has no dynamic kernel for Conv",
    ),
    Left(
        "batch of weights",
        "g (float[4, n, 32] x) => (float[4, n, 32] y) <float[4, 32, 32] w> { y = MatMul(x, w) }",
        {"w": normal(4, 32, 32)},
        Precision.DYNAMIC,
        "its weight has rank 3",
    ),
    Left(
        "odd sum",
        "g (float[n, 40] x) => (float[n, 32] y) <float[40, 32] w> { y = MatMul(x, w) }",
        {"w": normal(40, 32)},
        Precision.W4,
        "the sum of its product has 40 terms, not a multiple of 32",
    ),
    Left(
        "not finite",
        "g (float[2, n, 32] x) => (float[2, n, 32] y) <float[32, 32] w> { y = MatMul(x, w) }",
        {"w": np.full((32, 32), np.inf, np.float32)},
        Precision.W8,
        "its weight is not finite",
    ),
    Left(
        "columns",
        "g (int64[n] i) => (float[32, n] y) <float[32, 64] t> { y = Gather <axis = 1> (t, i) }",
        {"t": normal(32, 64)},
        Precision.W8,
        "it gathers columns, not rows",
    ),
    Left(
        "table of matrices",
        "g (int64[n] i) => (float[n, 64] y) <float[4, 8, 64] t, int64[1] k>"
        " { a = Gather(t, i) y = ReduceMax <keepdims = 0> (a, k) }",
        {"t": normal(4, 8, 64), "k": np.array([1], np.int64)},
        Precision.W8,
        "it gathers from something else than a constant float32 matrix",
    ),
    Left(
        "table not finite",
        "g (int64[n] i) => (float[n, 64] y) <float[32, 64] t> { y = Gather(t, i) }",
        {"t": np.full((32, 64), np.nan, np.float32)},
        Precision.W8,
        "its table is not finite",
    ),
]


@pytest.mark.parametrize("case", LEFT, ids=lambda case: case.id)
def test_nothing_eligible_is_an_error_with_the_reason(case: Left, build: Build) -> None:
    model = build(case.text, **case.arrays)
    with pytest.raises(NoEligibleWeightError) as caught:
        place_weights(model, ORT, case.precision)
    assert case.reason in caught.value.why
    assert "--precision fp32" in caught.value.remedy
    assert isinstance(caught.value, InputError)


def test_inside_a_branch_weights_stay_float(build: Build) -> None:
    model = build(
        """
        g (bool c, float[4, 64] x) => (float[4, 64] y) <float[64, 64] w>
        {
          a = MatMul(x, w)
          y = If (c) <
            then_branch = t () => (float[4, 64] p) { p = MatMul(a, w) },
            else_branch = e () => (float[4, 64] q) { q = Relu(a) }
          >
        }
        """,
        w=normal(64, 64),
    )
    plan = place_weights(model, ORT, Precision.W8)
    assert len(plan.operators) == 1
    assert [item.rule for item in plan.left_float] == ["control-flow"]
    assert not breaches(apply(model, plan), QDQ)


def test_a_gemm_with_factors_is_left(build: Build) -> None:
    model = build(
        """
        g (float[n, 64] x, float[n, 64] z) => (float[n, 64] y, float[n, 64] u)
        <float[64, 64] w, float[64, 64] v>
        { y = Gemm <transB = 1, beta = 0.5> (x, w, z) u = MatMul(x, v) }
        """,
        w=normal(64, 64),
        v=normal(64, 64),
    )
    (left,) = place_weights(model, ORT, Precision.W8).left_float
    assert left.rule in {"const-weight", "unscaled-gemm"}
