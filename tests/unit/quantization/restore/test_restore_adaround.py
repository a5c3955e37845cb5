"""adaround: never worse than nearest on its own measure, better on outputs, the same twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import quantize, quantize_as, rounding_of
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan, plan_from_json
from edgekit.quantization.restore import adaround, layer_moments
from edgekit.quantization.restore.restoration import Restoration, Rounding
from edgekit.spec import Array, BatchStream, QuantParams, Range, RunOptions, Session, from_json, to_json
from edgekit.target import load

Floats = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]
Stream = Callable[[Mapping[str, Array]], BatchStream]
Open = Callable[[ir.Model, RunOptions], Session]
Sqnr = Callable[[Floats, Floats], float]


def draw(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


# Neighbouring columns carry nearly the same values: one may be rounded up for another rounded down.
TEXT = """
g (float[n, 8, 10, 10] x) => (float[n, 6] y) <float[12, 4, 3, 3] w1, float[12] b1,
 float[6, 12] w2, float[6] b2>
{
  a = Conv <group = 2, strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1, b1)
  b = Relu(a)
  c = GlobalAveragePool(b)
  d = Flatten(c)
  y = Gemm <transB = 1> (d, w2, b2)
}
"""


@dataclass(frozen=True)
class Net:
    """A small CNN with smooth inputs."""

    model: ir.Model
    feeds: Mapping[str, Array]
    plan: QuantPlan


@pytest.fixture
def net(build: Build, exact_ranges: Ranges) -> Net:
    coarse = draw(12, 4, 3, 3) * np.float32(0.05)
    coarse[:, 0, 0, 0] = 1
    model = build(TEXT, w1=coarse, b1=draw(12), w2=draw(6, 12), b2=draw(6))
    smooth = np.repeat(np.repeat(draw(64, 8, 2, 2), 5, axis=2), 5, axis=3)
    feeds = {"x": smooth + np.float32(0.05) * draw(64, 8, 10, 10)}
    return Net(model, feeds, place(model, load("onnxruntime-cpu"), exact_ranges(model, feeds)))


@pytest.fixture
def learned(net: Net, stream: Stream, open_session: Open) -> dict[str, Rounding]:
    return adaround.roundings(
        net.model, net.plan, open_model=open_session, batches=stream(net.feeds), count=64
    )


def test_descent_finds_what_trying_all_finds_or_stops_below_nearest() -> None:
    """A1, against all 2**8 roundings of 20 rows; seed 0."""
    rng = np.random.default_rng(0)
    weight, mix = rng.normal(size=(20, 8)), rng.normal(size=(8, 3))
    moment = mix @ mix.T + 0.05 * np.eye(8)
    steps = np.full((20, 1), 0.3)
    floor = np.floor(weight / steps)
    nearest = np.rint(weight / steps)

    def cost(integers: Exact) -> Exact:
        error = integers * steps - weight
        return np.asarray(np.einsum("rk,kl,rl->r", error, moment, error))

    found = cost(adaround.descend(weight, moment, steps, floor=floor, start=nearest))
    best = np.min([cost(floor + np.array(up)) for up in itertools.product((0, 1), repeat=8)], axis=0)
    assert (found <= cost(nearest) + 1e-12).all()
    assert (found >= best - 1e-12).all()
    assert found.sum() < 0.75 * cost(nearest).sum()


def test_uncorrelated_inputs_keep_the_nearest_rounding() -> None:
    """What must not fire: with a diagonal moment the nearest is the best."""
    weight = np.random.default_rng(0).normal(size=(5, 7))
    steps = np.full((5, 1), 0.1)
    nearest = np.rint(weight / steps)
    floor = np.floor(weight / steps)
    found = adaround.descend(weight, np.diag(np.arange(1.0, 8)), steps, floor=floor, start=nearest)
    np.testing.assert_array_equal(found, nearest)


def test_integers_stay_in_symmetric_int8() -> None:
    """A2: rounding up would help, and has no room."""
    weight = np.array([[127.4, 1.4]])
    moment = np.ones((2, 2)) + 1e-3 * np.eye(2)
    floor = np.floor(weight)
    found = adaround.descend(weight, moment, np.ones((1, 1)), floor=floor, start=np.rint(weight))
    np.testing.assert_array_equal(found, [[127, 2]])


def test_the_convolution_is_closer_with_learned_rounding(
    net: Net, learned: dict[str, Rounding], evaluate: Evaluate
) -> None:
    """The variance of the error of Conv, weights alone; seen: to 0.51 of nearest."""
    conv = net.plan.operators[0]
    assert conv.name in learned
    assert conv.weight is not None
    source = next(node for node in net.model.graph if node.name == conv.name)
    weight = source.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    array = weight.const_value.numpy()
    shown = net.model.clone()
    shown.graph.outputs.append(next(n.outputs[0] for n in shown.graph if n.name == conv.name))
    scale = np.asarray(conv.weight.params.scale).reshape(-1, 1, 1, 1)

    def spread(integers: Array) -> float:
        other = shown.clone()
        initializer = other.graph.initializers[weight.name or ""]
        initializer.const_value = ir.tensor((integers * scale).astype(np.float32), name=weight.name)
        error = evaluate(other, net.feeds)[1] - evaluate(shown, net.feeds)[1]
        return float(error.astype(np.float64).var(axis=(0, 2, 3)).sum())

    plain = spread(quantize(array, conv.weight.params))
    better = spread(quantize_as(array, conv.weight.params, learned[conv.name].bits))
    assert better < 0.65 * plain


def test_apply_uses_the_rounding_and_the_digest_names_it(
    net: Net, learned: dict[str, Rounding], evaluate: Evaluate
) -> None:
    plan = adaround.rounded(net.plan, learned)
    assert plan.digest != net.plan.digest
    assert adaround.rounded(net.plan, {}).digest == net.plan.digest
    assert plan_from_json(plan.to_json()) == plan
    plain, other = (evaluate(apply(net.model, each), net.feeds)[0] for each in (net.plan, plan))
    assert not np.array_equal(plain, other)
    weight = plan.operators[0].weight
    assert weight is not None
    name = f"{weight.name}_quantized"
    first, second = (apply(net.model, each).graph.initializers[name] for each in (net.plan, plan))
    assert first.const_value is not None
    assert second.const_value is not None
    apart = first.const_value.numpy().astype(int) - second.const_value.numpy().astype(int)
    assert np.abs(apart).max() == 1


def test_the_same_data_gives_the_same_rounding(
    net: Net, learned: dict[str, Rounding], stream: Stream, open_session: Open
) -> None:
    again = adaround.roundings(
        net.model, net.plan, open_model=open_session, batches=stream(net.feeds), count=64
    )
    assert again == learned
    decided = Restoration(roundings=learned)
    assert from_json(Restoration, to_json(decided)) == decided


def test_what_a_cache_remembers_is_not_learned_again(
    net: Net, learned: dict[str, Rounding], stream: Stream, open_session: Open
) -> None:
    kept: dict[str, object] = {}
    opened: list[ir.Model] = []

    def remember(key: Mapping[str, object], make: Callable[[], object]) -> object:
        text = repr(sorted(key.items()))
        if text not in kept:
            kept[text] = make()
        return kept[text]

    def counting(model: ir.Model, options: RunOptions) -> Session:
        opened.append(model)
        return open_session(model, options)

    for _ in range(2):
        found = adaround.roundings(
            net.model,
            net.plan,
            open_model=counting,
            batches=stream(net.feeds),
            count=64,
            remember=remember,
        )
        assert found == learned
    assert len(opened) == 1
    assert len(kept) == 2


def test_other_scales_leave_the_rounding_out(net: Net, learned: dict[str, Rounding]) -> None:
    """A6."""
    first, *others = net.plan.operators
    assert first.weight is not None
    params = replace(first.weight.params, scale=tuple(2 * each for each in first.weight.params.scale))
    other = replace(
        net.plan, operators=(replace(first, weight=replace(first.weight, params=params)), *others)
    )
    weight = adaround.rounded(other, learned).operators[0].weight
    assert weight is not None
    assert not weight.rounding


def test_a_damaged_rounding_is_refused() -> None:
    params = QuantParams("int8", (0.5,), (0,))
    array = np.array([0.3, 0.7], np.float32)
    up = rounding_of(np.array([True, False]))
    np.testing.assert_array_equal(quantize_as(array, params, up), [1, 1])
    for text in ("nonsense!", up[:-4], ""):
        with pytest.raises(InputError, match="cannot be read"):
            quantize_as(array, params, text)
    with pytest.raises(InputError, match="cannot be read"):
        quantize_as(np.zeros(100, np.float32), params, up)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        (
            (
                "g (float[n, 4, 9, 9] x) => (float[n, 6, a, b] y) <float[6, 2, 3, 2] w>"
                " { y = Conv <group = 2, strides = [2, 1], dilations = [1, 2], pads = [1, 0, 2, 1]> (x, w) }"
            ),
            {"w": (6, 2, 3, 2), "x": (3, 4, 9, 9)},
        ),
        (
            "g (float[n, 5] x) => (float[n, 3] y) <float[5, 3] w> { y = Gemm(x, w) }",
            {"w": (5, 3), "x": (7, 5)},
        ),
        (
            "g (float[n, 2, 5] x) => (float[n, 2, 3] y) <float[5, 3] w> { y = MatMul(x, w) }",
            {"w": (5, 3), "x": (7, 2, 5)},
        ),
    ],
    ids=["conv", "gemm", "matmul"],
)
def test_patches_times_rows_are_the_outputs(
    text: str,
    shapes: Mapping[str, tuple[int, ...]],
    build: Build,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every position is taken: sums over patches are those over outputs, to 1e-4 of them."""
    monkeypatch.setattr(layer_moments, "POSITIONS", 10_000)
    model = build(text, w=draw(*shapes["w"]))
    layer = layer_moments.layer_of(next(iter(model.graph)))
    assert layer is not None
    value = draw(*shapes["x"])
    patches = layer_moments._patches(layer, value, np.random.default_rng(0))
    made = np.sort((patches @ layer.weight.transpose(0, 2, 1)).ravel())
    np.testing.assert_allclose(made, np.sort(evaluate(model, {"x": value})[0].ravel()), rtol=1e-4, atol=1e-5)
    constant = layer.node.inputs[1]
    assert constant is not None
    assert constant.const_value is not None
    back = layer_moments.weight_from_rows(layer, layer.weight.astype(np.float32))
    np.testing.assert_array_equal(back, constant.const_value.numpy())


def test_layers_of_unknown_patches_are_left_to_nearest(build: Build) -> None:
    """A5."""
    line = "g (float[n, 4, 9] x) => (float[n, 6, a] y) <float[6, 4, 3] w> { y = Conv(x, w) }"
    assert layer_moments.layer_of(next(iter(build(line, w=draw(6, 4, 3)).graph))) is None
    image = "g (float[n, 4, 9, 9] x) => (float[n, 6, a, b] y) <float[6, 4, 3, 3] w> { y = Conv(x, w) }"
    node = next(iter(build(image, w=draw(6, 4, 3, 3)).graph))
    assert layer_moments.layer_of(node) is not None
    node.attributes["auto_pad"] = ir.AttrString("auto_pad", "SAME_UPPER")
    assert layer_moments.layer_of(node) is None


def test_moments_that_do_not_fit_together_are_gathered_in_turns(net: Net) -> None:
    """M4."""
    layers = adaround.layers_of(net.model, net.plan)
    assert len(layers) == 2
    for bytes_, sizes in ((layer_moments.MEMORY_BYTES, [2]), (layers[0].moment_bytes, [1, 1])):
        assert [len(chunk) for chunk in layer_moments.chunks(layers, memory_bytes=bytes_)] == sizes
