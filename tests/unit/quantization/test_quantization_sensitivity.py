"""Damage of each rounding: what is a source, that its measured noise is the real one, what breaks a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import target
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_lowering import lowered
from edgekit.errors import DataError
from edgekit.quantization.alone import NotRankedError, alone, sources
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import dequantize, quantize
from edgekit.quantization.mixed import EVALUATIONS, Mixed, Trial, keep_fewest, order
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan
from edgekit.quantization.sensitivity import Damage, Sensitivity, rank
from edgekit.spec import Array, Precision, Range, Rejection

CHANNELS, SIDE, CLASSES, SAMPLES = 8, 6, 5, 24
LAYERS = ("c1", "c2", "c3", "c4")
TEXT = """g (float[batch, 3, 6, 6] x) => (float[batch, 5] scores) {
  [c1] a1 = Conv <pads = [1, 1, 1, 1]> (x, w1)       [r1] b1 = Relu (a1)
  [c2] a2 = Conv <pads = [1, 1, 1, 1]> (b1, w2)      [r2] b2 = Relu (a2)
  [c3] a3 = Conv <pads = [1, 1, 1, 1]> (b2, w3)      [r3] b3 = Relu (a3)
  [p] m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b3)
  [c4] a4 = Conv <pads = [1, 1, 1, 1]> (m, w4)       [r4] b4 = Relu (a4)
  [f] flat = Flatten (b4)
  [head] scores = Gemm (flat, w5)
}"""

Build = Callable[..., ir.Model]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]
Floats = npt.NDArray[np.float32]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]


def _weights(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)

    def conv(inputs: int) -> Floats:
        scale = np.sqrt(2 / (inputs * 9))
        drawn: Floats = (rng.normal(size=(CHANNELS, inputs, 3, 3)) * scale).astype(np.float32)
        return drawn

    return {
        "w1": conv(3),
        "w2": conv(CHANNELS),
        "w3": conv(CHANNELS),
        "w4": conv(CHANNELS),
        "w5": (rng.normal(size=(CHANNELS * 9, CLASSES)) / 8).astype(np.float32),
    }


def _with_wide_weight(weights: dict[str, Floats]) -> dict[str, Floats]:
    """Input channel 0 of c3 is 1000 times smaller and its weights 1000 times larger: the rest rounds to 0.

    The channel of the activation in front holds no more than rounding, so float loses nothing.
    """
    wide = {name: array.copy() for name, array in weights.items()}
    wide["w2"][0] = 0.0
    wide["w3"][:, 0] = 1000.0
    return wide


def _with_outlier(weights: dict[str, Floats]) -> dict[str, Floats]:
    """Channel 0 behind c2 is 2000 times larger, and c3 takes it 2000 times smaller: float stays the same."""
    wide = {name: array.copy() for name, array in weights.items()}
    wide["w2"][0] *= 2000.0
    wide["w3"][:, 0] /= 2000.0
    return wide


@dataclass
class Subject:
    """A model with everything that ranking and searching need."""

    model: ir.Model
    images: Floats
    ranges: Mapping[str, Range]
    evaluate: Evaluate

    def plan(self, kept: Mapping[str, Rejection] | None = None) -> QuantPlan:
        return place(self.model, target.load("onnxruntime-cpu"), self.ranges, keep_float=kept)

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(self.images), size):
            yield {"x": self.images[start : start + size]}

    def rank(self) -> Sensitivity:
        return rank(self.model, self.plan(), open_model=open_model, batches=self.batches, count=SAMPLES)

    def noise(self, kept: frozenset[str]) -> float:
        """Of the whole model in integers but for ``kept``."""
        reasons = {name: Rejection(name, "accuracy", "", "") for name in kept}
        plan = self.plan(reasons)
        feeds, made = {"x": self.images}, lowered(apply(self.model, plan), Precision.W8A8)
        there, here = (self.evaluate(m, feeds)[0] for m in (self.model, made))
        return float(np.square(here - there).sum() / np.square(there).sum())


MakeSubject = Callable[[dict[str, Floats]], Subject]


@pytest.fixture
def subject(build: Build, exact_ranges: Ranges, evaluate: Evaluate) -> MakeSubject:
    def make(weights: dict[str, Floats]) -> Subject:
        model = build(TEXT, **weights)
        images = np.random.default_rng(1).normal(size=(SAMPLES, 3, SIDE, SIDE)).astype(np.float32)
        return Subject(model, images, exact_ranges(model, {"x": images}), evaluate)

    return make


def _search(found: Subject, damages: tuple[Damage, ...], *, limit: float, most: int = EVALUATIONS) -> Mixed:
    def measured(kept: frozenset[str]) -> Trial:
        drop = found.noise(kept) ** 0.5  # a drop goes with the amplitude
        return Trial(drop <= limit, drop)

    return keep_fewest(order(found.plan(), damages), evaluate=measured, limit=limit, evaluations=most)


def test_what_rounds(subject: MakeSubject) -> None:
    made = subject(_weights(0))
    found = {each.value: each for each in sources(made.model, made.plan())}
    assert found["w2"].operators == ("c2",)
    assert found["w2"].is_weight
    assert found["b1"].operators == ("c1", "c2")
    assert not found["b1"].is_weight
    # S3: the pool moves the values of b3, so c4 reads b3's rounding too, and m is none of its own
    assert found["b3"].operators == ("c3", "p", "c4")
    assert "m" not in found


def test_noise_alone_is_the_noise_of_a_plan_that_rounds_only_there(subject: MakeSubject) -> None:
    """Against ``apply`` on a plan with one weight: the same integers, so equal to float arithmetic."""
    found = subject(_weights(0))
    only = [operator for operator in found.plan().operators if operator.name == "c2"]
    measured = {each.value: each.noise for each in found.rank().damages}
    weights = found.model.graph.initializers["w2"].const_value
    assert weights is not None
    assert only[0].weight is not None
    rounded = dequantize(quantize(weights.numpy(), only[0].weight.params), only[0].weight.params)
    changed = found.model.clone()
    changed.graph.initializers["w2"].const_value = ir.tensor(rounded, name="w2")
    there, here = (found.evaluate(m, {"x": found.images})[0] for m in (found.model, changed))
    expected = np.square(here - there).sum() / np.square(there).sum()
    assert measured["w2"] == pytest.approx(expected, rel=1e-3)


def test_noise_adds_up(subject: MakeSubject) -> None:
    """The sum of the parts predicts the whole within a factor of 1.5 (1.8 dB), seed 0."""
    found = subject(_weights(0))
    total = sum(each.noise for each in found.rank().damages)
    assert 1 / 1.5 < total / found.noise(frozenset()) < 1.5


def test_ranking_is_sorted_counted_and_repeatable(subject: MakeSubject) -> None:
    found = subject(_weights(0))
    first, second = found.rank(), found.rank()
    noises = [each.noise for each in first.damages]
    assert first == second
    assert noises == sorted(noises, reverse=True)
    assert all(noise > 0 for noise in noises)
    assert first.samples == SAMPLES
    assert 1 < first.passes < len(first.damages)  # what stands in front of a source is not computed again


def test_one_wide_weight_is_found_and_nothing_else(subject: MakeSubject) -> None:
    found = subject(_with_wide_weight(_weights(0)))
    damages = found.rank().damages
    assert damages[0].value == "w3"
    assert damages[0].noise > 10 * damages[1].noise
    mixed = _search(found, damages, limit=0.1)
    assert mixed.reached
    assert [each.operator for each in mixed.kept] == ["c3"]
    assert "'w3'" in mixed.kept[0].reason
    assert "dB" in mixed.kept[0].reason
    assert mixed.keep_float["c3"].rule == "accuracy"
    assert set(mixed.keep_float) == {"c3", "r3"}


def test_an_outlier_channel_takes_both_of_its_neighbours(subject: MakeSubject) -> None:
    """Neither alone is a cure: the other would still round the activation between them."""
    found = subject(_with_outlier(_weights(0)))
    damages = found.rank().damages
    assert damages[0].value == "b2"
    assert damages[0].operators == ("c2", "c3")
    mixed = _search(found, damages, limit=0.1)
    assert mixed.reached
    assert [each.operator for each in mixed.kept] == ["c2", "c3"]
    for alone_ in ({"c2", "r2"}, {"c3", "r3"}):
        assert found.noise(frozenset(alone_)) > 0.01


def test_a_healthy_model_keeps_nothing(subject: MakeSubject) -> None:
    found = subject(_weights(0))
    mixed = _search(found, found.rank().damages, limit=0.1)
    assert mixed.reached
    assert mixed.kept == ()
    assert len(mixed.trials) == 1


def test_sabotage_a_reversed_ranking_misses_the_one(subject: MakeSubject) -> None:
    """Two measurements are enough with the right ranking, and not with the damages in reverse."""
    found = subject(_with_wide_weight(_weights(0)))
    damages = found.rank().damages
    noises = [each.noise for each in damages]
    swapped = [
        Damage(each.value, each.operators, each.is_weight, noise, each.flips)
        for each, noise in zip(damages, reversed(noises), strict=True)
    ]
    right, wrong = (_search(found, each, limit=0.1, most=2) for each in (damages, tuple(swapped)))
    assert [each.operator for each in right.kept] == ["c3"]
    assert [each.operator for each in wrong.kept] != ["c3"]


def test_many_sources_are_split_over_graphs(subject: MakeSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = subject(_weights(0))
    whole = found.rank()
    monkeypatch.setattr("edgekit.quantization.alone.MOST_NODES", 20)
    graphs = list(alone(found.model, found.plan(), sources(found.model, found.plan())))
    assert len(graphs) > 1
    parts = found.rank()
    assert [each.value for each in parts.damages] == [each.value for each in whole.damages]
    assert [each.noise for each in parts.damages] == pytest.approx([e.noise for e in whole.damages], rel=1e-3)


def test_a_fixed_batch_is_filled_up(build: Build, exact_ranges: Ranges, evaluate: Evaluate) -> None:
    model = build(TEXT.replace("batch", "5"), **_weights(0))
    images = np.random.default_rng(1).normal(size=(7, 3, SIDE, SIDE)).astype(np.float32)
    found = Subject(model, images, exact_ranges(model, {"x": images[:5]}), evaluate)
    ranked = rank(model, found.plan(), open_model=open_model, batches=found.batches, count=7)
    assert ranked.samples == 7
    assert ranked.damages[0].noise > 0


def test_no_samples_is_an_error(subject: MakeSubject) -> None:
    found = subject(_weights(0))
    with pytest.raises(DataError, match="no samples"):
        rank(found.model, found.plan(), open_model=open_model, batches=lambda _: iter(()))


def test_control_flow_behind_a_rounding_is_said(build: Build, exact_ranges: Ranges) -> None:
    """S4."""
    model = build(
        """g (float[1, 4] x, bool c) => (float[1, 4] y) {
  [fc] a = Gemm (x, w)
  [choice] y = If (c) <
    then_branch = t () => (float[1, 4] u) { u = Relu (a) },
    else_branch = e () => (float[1, 4] v) { v = Neg (a) }>
}""",
        w=np.eye(4, dtype=np.float32),
    )
    feeds = {"x": np.ones((1, 4), np.float32), "c": np.array(True)}
    plan = place(model, target.load("onnxruntime-cpu"), exact_ranges(model, feeds))
    if not plan.operators:
        pytest.skip("this target leaves the operator in front of the If float")
    with pytest.raises(NotRankedError, match="graph of its own"):
        list(alone(model, plan, sources(model, plan)))


def test_a_bias_behind_a_product_rounds_with_its_weight(build: Build, exact_ranges: Ranges) -> None:
    """S1: with a bias in steps of 300 the Add reads 9900 for 10000, which is all the damage there is."""
    rng = np.random.default_rng(0)
    model = build(
        "g (float[n, 5, 8] x) => (float[n, 5, 3] y) <float[8, 3] d, float[3] t> "
        "{ a = MatMul(x, d) y = Add(t, a) }",
        d=rng.normal(size=(8, 3)).astype(np.float32),
        t=np.array([1e4, -1e4, 3e3], np.float32),
    )
    images = rng.normal(size=(SAMPLES, 5, 8)).astype(np.float32)
    plan = place(model, target.load("onnxruntime-cpu"), exact_ranges(model, {"x": images}))
    (operator,) = plan.operators
    assert operator.bias is not None
    coarse = replace(operator.bias, params=replace(operator.bias.params, scale=(300.0,) * 3))
    noises = [
        {each.value: each.noise for each in rank(model, made, open_model=open_model, batches=batches).damages}
        for made in (plan, replace(plan, operators=(replace(operator, bias=coarse),)))
        for batches in [_batches_of(images)]
    ]
    assert noises[0]["d"] < 1e-8
    assert noises[1]["d"] == pytest.approx(2 * 100.0**2 / (2 * 1e4**2 + 3e3**2), rel=0.02)


def _batches_of(images: Floats) -> Callable[[int], Iterator[dict[str, Array]]]:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(images), size):
            yield {"x": images[start : start + size]}

    return batches
