"""equalize: the same function bit for bit, less noise in integers, and silence where it is not exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import external_data, set_aside
from edgekit.ir.digest import digest
from edgekit.quantization.restore import equalize
from edgekit.quantization.restore.channels import scalable
from edgekit.quantization.restore.restoration import Restoration
from edgekit.quantization.restore.stream import channel_peaks
from edgekit.spec import Array, BatchStream, RunOptions, Session, from_json, to_json
from tests.unit.ir.mapped import is_mapped

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Stream = Callable[[Mapping[str, Array]], BatchStream]
Open = Callable[[ir.Model, RunOptions], Session]
Measure = Callable[[ir.Model], float]


def draw(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.fixture
def peaks(
    uneven: ir.Model, images: Mapping[str, Array], stream: Stream, open_session: Open
) -> Mapping[str, Array]:
    values = equalize.watched_channels(uneven)
    return channel_peaks(uneven, values, open_model=open_session, batches=stream(images), count=32)


def test_the_float_graph_computes_the_same_bits(
    uneven: ir.Model, images: Mapping[str, Array], peaks: Mapping[str, Array], evaluate: Evaluate
) -> None:
    before = digest(uneven)
    found = equalize.exponents(uneven, peaks)
    assert {"a", "c"} <= set(found)
    scaled = equalize.rescaled(uneven, found)
    np.testing.assert_array_equal(evaluate(scaled, images)[0], evaluate(uneven, images)[0])
    assert digest(uneven) == before != digest(scaled)


def test_integers_gain_what_uneven_channels_cost(
    uneven: ir.Model,
    peaks: Mapping[str, Array],
    plain_sqnr: Measure,
) -> None:
    """Seen: 23.9 dB plain, 42.5 with peaks, 31.4 from the weights alone; floors have 2 dB to spare."""

    plain = plain_sqnr(uneven)
    with_peaks = plain_sqnr(equalize.rescaled(uneven, equalize.exponents(uneven, peaks)))
    from_weights = plain_sqnr(equalize.rescaled(uneven, equalize.exponents(uneven)))
    assert plain < 26
    assert with_peaks > plain + 16
    assert from_weights > plain + 5


def test_peaks_are_those_of_the_values(
    uneven: ir.Model, images: Mapping[str, Array], peaks: Mapping[str, Array], evaluate: Evaluate
) -> None:
    shown = uneven.clone()
    shown.graph.outputs.append(next(n.outputs[0] for n in shown.graph if n.outputs[0].name == "d"))
    values = evaluate(shown, {"image": images["image"][:32]})[1]
    np.testing.assert_array_equal(peaks["d"], np.abs(values).max(axis=(0, 2, 3)))


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    scaled: tuple[str, ...]


W = "<float[6, 4, 3, 3] w1, float[6] b1, float[5, 6, 1, 1] w2>"
HEAD = f"g (float[n, 4, 8, 8] x) => (float[n, 5, p, q] y) {W}"
CASES = (
    Case("C1-relu", f"{HEAD} {{ a = Conv(x, w1, b1) b = Relu(a) y = Conv(b, w2) }}", ("a",)),
    Case("C1-none", f"{HEAD} {{ a = Conv(x, w1, b1) y = Conv(a, w2) }}", ("a",)),
    Case(
        "C1-leaky-pools",
        f"{HEAD} {{ a = Conv(x, w1, b1) b = LeakyRelu <alpha = 0.3>(a) c = MaxPool <kernel_shape = [2, 2]>(b)"
        " d = AveragePool <kernel_shape = [3, 3]>(c) y = Conv(d, w2) }",
        ("a",),
    ),
    Case(
        "C1-clip",
        f"{HEAD} {{ a = Conv(x, w1, b1) l = Constant <value_float = 0.0>() h = Constant <value_float = 6.0>()"
        " b = Clip(a, l, h) y = Conv(b, w2) }",
        (),
    ),
    Case("C1-sigmoid", f"{HEAD} {{ a = Conv(x, w1, b1) b = Sigmoid(a) y = Conv(b, w2) }}", ()),
    Case("C1-tanh", f"{HEAD} {{ a = Conv(x, w1, b1) b = Tanh(a) y = Conv(b, w2) }}", ()),
    Case(
        "C2-residual",
        f"{HEAD} {{ a = Conv(x, w1, b1) b = Relu(a) c = Conv(b, w2) d = Conv(b, w2)"
        " e = ReduceMax <keepdims = 1>(b) f = Add(c, e) y = Add(f, d) }",
        (),
    ),
    Case(
        "C2-two-that-undo",
        f"{HEAD} {{ a = Conv(x, w1, b1) b = Relu(a) c = Conv(b, w2) d = Conv <dilations = [2, 2]>(b, w2)"
        " y = Add(c, d) }",
        ("a",),
    ),
    Case(
        "C2-output",
        f"{HEAD[:-1].replace('=> (', '=> (float[n, 6, r, s2] a, ')}>"
        " { a = Conv(x, w1, b1) y = Conv(a, w2) }",
        (),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_may_be_scaled(case: Case, build: Build, evaluate: Evaluate) -> None:
    arrays = {"w1": draw(6, 4, 3, 3), "b1": draw(6), "w2": draw(5, 6, 1, 1)}
    model = build(case.text, **arrays)
    assert tuple(each.value.name for each in scalable(model)) == case.scaled
    feeds = {"x": draw(3, 4, 8, 8)}
    scaled = equalize.rescaled(model, dict.fromkeys(case.scaled, (3, -2, 0, 5, 1, -7)))
    for wanted, found in zip(evaluate(model, feeds), evaluate(scaled, feeds), strict=True):
        np.testing.assert_array_equal(found, wanted)


FORMS: Mapping[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "depthwise": (
        (
            "g (float[n, 4, 8, 8] x) => (float[n, 6, 4, 4] y) <float[6, 4, 3, 3] w1, float[6, 1, 3, 3] w2>"
            " { a = Conv(x, w1) b = Relu(a) y = Conv <group = 6>(b, w2) }"
        ),
        {"w1": (6, 4, 3, 3), "w2": (6, 1, 3, 3)},
    ),
    "grouped": (
        (
            "g (float[n, 4, 8, 8] x) => (float[n, 4, 4, 4] y) <float[6, 4, 3, 3] w1, float[4, 3, 3, 3] w2>"
            " { a = Conv(x, w1) b = Relu(a) y = Conv <group = 2>(b, w2) }"
        ),
        {"w1": (6, 4, 3, 3), "w2": (4, 3, 3, 3)},
    ),
    "C4-flattened": (
        (
            "g (float[n, 4, 8, 8] x) => (float[n, 3] y) <float[6, 4, 3, 3] w1, float[3, 216] w2>"
            " { a = Conv(x, w1) b = Relu(a) c = Flatten(b) y = Gemm <transB = 1>(c, w2) }"
        ),
        {"w1": (6, 4, 3, 3), "w2": (3, 216)},
    ),
    "gemm": (
        (
            "g (float[n, 4] x) => (float[n, 3] y) <float[4, 6] w1, float[6] b1, float[6, 3] w2>"
            " { a = Gemm(x, w1, b1) b = Relu(a) y = Gemm(b, w2) }"
        ),
        {"w1": (4, 6), "b1": (6,), "w2": (6, 3)},
    ),
    "matmul": (
        (
            "g (float[n, 5, 4] x) => (float[n, 5, 3] y) <float[4, 6] w1, float[6, 3] w2>"
            " { a = MatMul(x, w1) b = Relu(a) y = MatMul(b, w2) }"
        ),
        {"w1": (4, 6), "w2": (6, 3)},
    ),
    "C3-layer-norm": (
        (
            "g (float[n, 5, 6] x) => (float[n, 5, 3] y, float[n, 5, 2] z)"
            " <float[6] w1, float[6] b1, float[6, 3] w2, float[6, 2] w3>"
            " { a = LayerNormalization(x, w1, b1) y = MatMul(a, w2) z = MatMul(a, w3) }"
        ),
        {"w1": (6,), "b1": (6,), "w2": (6, 3), "w3": (6, 2)},
    ),
    "C3-mul": (
        (
            "g (float[n, 5, 6] x) => (float[n, 5, 3] y) <float[6] w1, float[6, 3] w2>"
            " { a = Mul(w1, x) y = MatMul(a, w2) }"
        ),
        {"w1": (6,), "w2": (6, 3)},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_weight_is_scaled_exactly(form: str, build: Build, evaluate: Evaluate) -> None:
    text, shapes = FORMS[form]
    model = build(text, **{name: draw(*shape) for name, shape in shapes.items()})
    assert [each.value.name for each in scalable(model)] == ["a"]
    feeds = {
        value.name or "": draw(*[s if isinstance(s, int) else 3 for s in value.shape or ()])
        for value in model.graph.inputs
    }
    scaled = equalize.rescaled(model, {"a": (3, -2, 0, 5, 1, -7)})
    assert digest(scaled) != digest(model)
    for wanted, found in zip(evaluate(model, feeds), evaluate(scaled, feeds), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_scaled_column_that_is_forgotten_shows(
    uneven: ir.Model, images: Mapping[str, Array], peaks: Mapping[str, Array], evaluate: Evaluate
) -> None:
    """Sabotage: the reader's weight is put back."""
    scaled = equalize.rescaled(uneven, equalize.exponents(uneven, peaks))
    scaled.graph.initializers["w2"].const_value = uneven.graph.initializers["w2"].const_value
    assert not np.allclose(evaluate(scaled, images)[0], evaluate(uneven, images)[0], rtol=0.01)


def test_scaled_weights_of_a_large_model_lie_in_files(
    uneven: ir.Model, peaks: Mapping[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E7: several forms of the model are looked at side by side, and each would be a copy of it."""
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", 0)
    found = equalize.exponents(uneven, peaks)
    plain = equalize.rescaled(uneven, found)
    assert not any(is_mapped(array) for array in changed(plain, uneven))  # a small one stays in memory
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    scaled = equalize.rescaled(uneven, found)
    assert changed(scaled, uneven)
    assert all(is_mapped(array) for array in changed(scaled, uneven))
    assert digest(scaled) == digest(plain)


def changed(model: ir.Model, before: ir.Model) -> list[Array]:
    """The initializers that ``model`` does not share with ``before``."""
    shared = {id(value.const_value) for value in before.graph.initializers.values()}
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return [each.numpy() for each in tensors if each is not None and id(each) not in shared]


def test_even_channels_and_dead_ones_are_left_alone(uneven: ir.Model, peaks: Mapping[str, Array]) -> None:
    """E2, E3."""
    even = {name: np.ones_like(each) for name, each in peaks.items()}
    assert "a" not in equalize.exponents(uneven, even)  # its reader is depthwise: columns do not matter
    assert equalize.exponents(uneven, {name: np.zeros_like(each) for name, each in peaks.items()}) == {}
    assert equalize.exponents(uneven, {}) == {}


def test_factors_that_cannot_be_undone_are_not_used(build: Build) -> None:
    """E4: the columns of w2 are the smallest normal numbers; halving them loses a bit."""
    text, _ = FORMS["depthwise"]
    even = build(text, w1=draw(6, 4, 3, 3), w2=np.ones((6, 1, 3, 3), np.float32))
    tiny = build(text, w1=draw(6, 4, 3, 3), w2=np.full((6, 1, 3, 3), 1.3e-38, np.float32))
    peaks = {"b": np.array([64.0, 1, 1, 1, 1, 1])}
    assert equalize.exponents(even, peaks) == {"a": (0, 6, 6, 6, 6, 6)}
    assert equalize.exponents(tiny, peaks) == {}


def test_exponents_of_another_model_are_refused(uneven: ir.Model) -> None:
    with pytest.raises(InputError, match="cannot be scaled"):
        equalize.rescaled(uneven, {"e": (1,)})
    with pytest.raises(InputError, match="cannot be scaled"):
        equalize.rescaled(uneven, {"nobody": (1,)})


def test_a_lock_brings_back_the_same_bytes(uneven: ir.Model, peaks: Mapping[str, Array]) -> None:
    decided = Restoration(exponents=equalize.exponents(uneven, peaks), corrections={"n": (0.1, -3.0e-7)})
    read = from_json(Restoration, to_json(decided))
    assert read == decided
    assert digest(equalize.rescaled(uneven, read.exponents)) == digest(
        equalize.rescaled(uneven, decided.exponents)
    )


def test_norms_and_layers_are_told_apart(build: Build) -> None:
    text, shapes = FORMS["C3-layer-norm"]
    model = build(text, **{name: draw(*shape) for name, shape in shapes.items()})
    peaks = {"a": np.array([100.0, 1, 1, 1, 1, 1])}
    assert equalize.exponents(model, peaks, behind="layers") == {}
    assert set(equalize.exponents(model, peaks, behind="norms")) == {"a"}
