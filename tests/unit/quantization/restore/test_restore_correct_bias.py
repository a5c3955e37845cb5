"""correct_bias: means of the integer outputs become those of the float graph, and the plan says how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import DataError
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan, plan_from_json
from edgekit.quantization.restore import correct_bias
from edgekit.spec import Array, BatchStream, Range, Rejection, RunOptions, Session
from edgekit.target import load

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]
Stream = Callable[[Mapping[str, Array]], BatchStream]
Open = Callable[[ir.Model, RunOptions], Session]
Sqnr = Callable[[Floats, Floats], float]


def draw(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


# One outlier in each row makes the steps of the weights coarse, and inputs that are all positive turn the
# rounding of the weights into a shift of the mean: what bias correction is for.
TEXT = """
g (float[n, 8, 10, 10] x) => (float[n, 12, 6, 6] y)
<float[16, 8, 3, 3] w1, float[16] b1, float[12, 16, 3, 3] w2>
{ a = Conv(x, w1, b1) b = Relu(a) y = Conv(b, w2) }
"""


def with_outliers(weight: Floats) -> Floats:
    spread: Floats = weight * np.float32(0.02)
    spread[:, 0, 0, 0] = 1.0
    return spread


@dataclass(frozen=True)
class Shifted:
    """A model whose plain integers are off in the mean."""

    model: ir.Model
    feeds: Mapping[str, Array]
    plan: QuantPlan


@pytest.fixture
def shifted(build: Build, exact_ranges: Ranges) -> Shifted:
    arrays = {
        "w1": with_outliers(draw(16, 8, 3, 3)),
        "b1": draw(16),
        "w2": with_outliers(draw(12, 16, 3, 3)),
    }
    model = build(TEXT, **arrays)
    feeds = {"x": np.abs(draw(64, 8, 10, 10)) + np.float32(2)}
    return Shifted(model, feeds, place(model, load("onnxruntime-cpu"), exact_ranges(model, feeds)))


@pytest.fixture
def found(shifted: Shifted, stream: Stream, open_session: Open) -> dict[str, tuple[float, ...]]:
    return correct_bias.corrections(
        shifted.model, shifted.plan, open_model=open_session, batches=stream(shifted.feeds), count=64
    )


def test_the_mean_error_is_gone_and_the_rest_smaller(
    shifted: Shifted, found: dict[str, tuple[float, ...]], evaluate: Evaluate, sqnr_db: Sqnr
) -> None:
    """Mean errors of every channel end within a quarter of a step; seen: 0.015 from 7, 27.1 dB to 38.3."""
    wanted = evaluate(shifted.model, shifted.feeds)[0]
    plain = evaluate(apply(shifted.model, shifted.plan), shifted.feeds)[0]
    better = evaluate(apply(shifted.model, correct_bias.corrected(shifted.plan, found)), shifted.feeds)[0]
    step = shifted.plan.activations["y"].scale[0]
    before = np.abs((wanted - plain).mean(axis=(0, 2, 3))).max() / step
    after = np.abs((wanted - better).mean(axis=(0, 2, 3))).max() / step
    assert before > 5
    assert after < 0.25
    assert sqnr_db(wanted, better) > sqnr_db(wanted, plain) + 9


def test_an_operator_without_bias_gets_one(shifted: Shifted, found: dict[str, tuple[float, ...]]) -> None:
    """B3: the second Conv."""
    plan = correct_bias.corrected(shifted.plan, found)
    first, second = plan.operators
    assert shifted.plan.operators[1].bias is None
    assert second.bias is not None
    node = next(node for node in apply(shifted.model, plan).graph if node.name == second.name)
    assert len(node.inputs) == 3
    assert len(first.correction) == 16
    assert len(second.correction) == 12


def test_the_digest_changes_with_a_correction_and_only_then(
    shifted: Shifted, found: dict[str, tuple[float, ...]]
) -> None:
    plan = correct_bias.corrected(shifted.plan, found)
    assert plan.digest != shifted.plan.digest
    assert correct_bias.corrected(shifted.plan, {}).digest == shifted.plan.digest
    assert plan_from_json(plan.to_json()) == plan
    name = shifted.plan.operators[0].name
    other = {**found, name: (found[name][0] + 1e-9, *found[name][1:])}
    assert correct_bias.corrected(shifted.plan, other).digest != plan.digest


def test_what_is_left_float_loses_its_correction(
    shifted: Shifted, found: dict[str, tuple[float, ...]], exact_ranges: Ranges, evaluate: Evaluate
) -> None:
    """B4."""
    first = shifted.plan.operators[0].name
    kept = {first: Rejection(first, "test", "wanted so", "none")}
    ranges = exact_ranges(shifted.model, shifted.feeds)
    plan = place(shifted.model, load("onnxruntime-cpu"), ranges, keep_float=kept)
    partial = correct_bias.corrected(plan, found)
    assert [operator.name for operator in partial.operators] == [shifted.plan.operators[1].name]
    assert np.isfinite(evaluate(apply(shifted.model, partial), shifted.feeds)[0]).all()


def test_operators_that_share_a_bias_keep_their_own_corrections(
    build: Build, exact_ranges: Ranges, evaluate: Evaluate
) -> None:
    text = (
        "g (float[n, 4, 6, 6] x) => (float[n, 4, 4, 4] y, float[n, 4, 4, 4] z)"
        " <float[4, 4, 3, 3] w, float[4] b>"
        " { y = Conv(x, w, b) z = Conv(x, w, b) }"
    )
    model = build(text, w=draw(4, 4, 3, 3), b=draw(4))
    feeds = {"x": draw(5, 4, 6, 6)}
    plan = place(model, load("onnxruntime-cpu"), exact_ranges(model, feeds))
    one, two = (operator.name for operator in plan.operators)
    plain = evaluate(apply(model, plan), feeds)
    moved = evaluate(apply(model, correct_bias.corrected(plan, {one: (1.0,) * 4, two: (-1.0,) * 4})), feeds)
    low, high = (plan.activations[name].scale[0] for name in ("y", "z"))
    inside = np.abs(plain[0]) < 2  # away from saturation
    np.testing.assert_allclose((moved[0] - plain[0])[inside], 1, atol=2 * low)
    np.testing.assert_allclose((moved[1] - plain[1])[inside], -1, atol=2 * high)


def test_the_wrong_sign_makes_it_worse(
    shifted: Shifted, found: dict[str, tuple[float, ...]], evaluate: Evaluate, sqnr_db: Sqnr
) -> None:
    """Sabotage."""
    wrong = {name: tuple(-each for each in values) for name, values in found.items()}
    wanted = evaluate(shifted.model, shifted.feeds)[0]
    plain, worse = (
        evaluate(apply(shifted.model, plan), shifted.feeds)[0]
        for plan in (shifted.plan, correct_bias.corrected(shifted.plan, wrong))
    )
    assert sqnr_db(wanted, worse) < sqnr_db(wanted, plain) - 1


def test_memory_does_not_grow_with_samples_and_all_are_seen(shifted: Shifted, open_session: Open) -> None:
    """Batches are asked for once, of the size of B2, and what is beyond ``count`` is not read."""
    sizes: list[int] = []

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for _ in range(1000):
            sizes.append(size)
            yield {"x": shifted.feeds["x"][:size]}

    correct_bias.corrections(shifted.model, shifted.plan, open_model=open_session, batches=batches, count=40)
    assert sizes == [correct_bias.BATCH] * 4  # three are used; the fourth says that it is enough


def test_a_plan_that_has_corrections_is_measured_without_them(
    shifted: Shifted, found: dict[str, tuple[float, ...]], stream: Stream, open_session: Open
) -> None:
    again = correct_bias.corrections(
        shifted.model,
        correct_bias.corrected(shifted.plan, found),
        open_model=open_session,
        batches=stream(shifted.feeds),
        count=64,
    )
    for name, values in found.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, atol=1e-7)


def test_no_samples_are_an_error(shifted: Shifted, stream: Stream, open_session: Open) -> None:
    empty = {"x": shifted.feeds["x"][:0]}
    with pytest.raises(DataError, match="no samples"):
        correct_bias.corrections(
            shifted.model, shifted.plan, open_model=open_session, batches=stream(empty), count=8
        )


def test_a_shift_that_no_bias_can_express_is_dropped(shifted: Shifted) -> None:
    """B5: seen in the plan's own units."""
    operator = shifted.plan.operators[0]
    assert operator.bias is not None
    half = min(operator.bias.params.scale) / 4
    assert not correct_bias._is_felt(np.full(16, half), operator, shifted.plan)
    assert correct_bias._is_felt(np.full(16, 8 * half * 100), operator, shifted.plan)
    assert not correct_bias._is_felt(np.full(16, np.nan), operator, shifted.plan)
    assert not correct_bias._is_felt(np.full(16, 1.0), replace(operator, weight=None), shifted.plan)


@pytest.fixture
def product(build: Build, exact_ranges: Ranges) -> Callable[[str], Shifted]:
    """MatMul with coarse weights and ``body`` behind it; its channels are on the last axis."""

    def make(body: str) -> Shifted:
        weight = draw(16, 12) * np.float32(0.02)
        weight[0] = 1.0
        text = "g (float[n, 9, 16] x) => (float[n, 9, 12] y) <float[16, 12] d, float[12] t>"
        model = build(f"{text} {{ a = MatMul(x, d) {body} }}", d=weight, t=draw(12))
        feeds = {"x": np.abs(draw(64, 9, 16)) + np.float32(2)}
        return Shifted(model, feeds, place(model, load("onnxruntime-cpu"), exact_ranges(model, feeds)))

    return make


def test_a_product_is_corrected_where_a_bias_stands_behind_it(
    product: Callable[[str], Shifted], stream: Stream, open_session: Open, evaluate: Evaluate
) -> None:
    """B3: its mean error goes into the constant of the Add."""
    made = product("y = Add(a, t)")
    found = correct_bias.corrections(
        made.model, made.plan, open_model=open_session, batches=stream(made.feeds), count=64
    )
    wanted = evaluate(made.model, made.feeds)[0]
    plans = (made.plan, correct_bias.corrected(made.plan, found))
    step = made.plan.activations["y"].scale[0]
    before, after = (
        np.abs((wanted - evaluate(apply(made.model, plan), made.feeds)[0]).mean(axis=(0, 1))).max() / step
        for plan in plans
    )
    assert before > 1
    assert after < 0.25


def test_a_product_without_a_bias_has_no_place_for_one(
    product: Callable[[str], Shifted], stream: Stream, open_session: Open
) -> None:
    made = product("y = Mul(a, t)")
    assert not correct_bias.corrections(
        made.model, made.plan, open_model=open_session, batches=stream(made.feeds), count=64
    )
