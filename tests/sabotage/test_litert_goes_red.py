"""Checks of the TFLite compiler, seen to fail: wrong orders, padding and zero points must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends.litert import probing, units
from edgekit.backends.litert.ops import conv, matrix, recurrent, resize_weights, scatter, windows
from edgekit.backends.litert.ops.terms import Terms
from edgekit.spec import QuantParams
from tests.unit.litert.litert_models import Model, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # as in tests/parity


def _float() -> onnx.ModelProto:
    m = Model()
    x = m.input("x", (1, 3, 8, 8))
    y = m.add("Conv", x, m.weight(4, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    return m.build(m.add("Gemm", m.add("Flatten", m.add("Relu", y)), m.weight(64, 5)))


def _int8() -> onnx.ModelProto:
    m = Model()
    x = m.quantized(m.input("x", (1, 3, 8, 8)), 0.03, 128)
    weight, _ = m.quantized_weight((m.rng.standard_normal((4, 3, 3, 3)) * 0.3).astype(np.float32), axis=0)
    return m.build(m.quantized(m.add("Conv", x, weight), 0.05, 100))


def _gru() -> onnx.ModelProto:
    m = Model()
    x = m.add("Reshape", m.input("x", (1, 3, 8, 8)), m.ints(8, 3, 8))
    return m.build(m.add("GRU", x, m.weight(1, 15, 8), m.weight(1, 15, 5), hidden_size=5, outputs=2))


def _scattered() -> onnx.ModelProto:
    m = Model()
    x = m.input("x", (1, 3, 8, 8))
    places = m.constant(np.asarray([[0, 2], [0, 0]]))
    return m.build(m.add("ScatterND", x, places, m.weight(2, 8, 8)))


def _alone() -> onnx.ModelProto:
    m = Model()
    x = m.input("x", ("batch", 3, 8, 8))
    one = m.add("Equal", m.add("Shape", x, end=1), m.ints(1))
    return m.build(m.add("Where", one, m.add("Neg", x), x))


def _enlarged() -> onnx.ModelProto:
    m = Model()
    return m.build(m.add("Resize", m.input("x", (1, 3, 8, 8)), "", m.floats(1, 1, 2, 2), mode="cubic"))


def _error(model: onnx.ModelProto) -> float:
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    (expected,) = run_onnx(model, feeds).values()
    (found,) = run_litert(model, feeds).values()
    return relative_error(found, expected)


def _next_gate(t: Terms, x: int, index: int, hidden: int) -> int:
    place = (index + 1) % (t.sizes(x)[1] // hidden)
    return t.slice(x, 1, place * hidden, (place + 1) * hidden)


def _all_written(_step: Any, t: Terms, _positions: int, sizes: tuple[int, ...]) -> int:
    return t.const(np.ones((sizes[0], 1)), "bool")


@dataclass(frozen=True)
class Damage:
    id: str
    model: Callable[[], onnx.ModelProto]
    place: Any
    name: str
    instead: Any


DAMAGES = (
    Damage("gates-in-another-order", _gru, recurrent, "_gate", _next_gate),
    Damage("everything-counts-as-written", _scattered, scatter, "_written", _all_written),
    Damage("a-size-of-1-is-forgotten", _alone, probing, "CHOICES", (*probing.CHOICES[:2], (37,) * 5)),
    Damage("another-cubic-kernel", _enlarged, resize_weights, "_keys", lambda d, a: np.maximum(1 - d, 0)),
    Damage("padding-of-even-sizes", _float, windows.Axis, "is_same", property(lambda _axis: True)),
    Damage("flattened-order", _float, matrix, "flat_order", lambda flat: np.arange(int(np.prod(flat)))),
    Damage("lost-bias", _float, conv, "bias_of", lambda step, n: step.constant("b", np.ones(n, np.float32))),
    Damage(
        "zero-points-moved-too-far", _int8, units, "as_signed", lambda q: QuantParams("int8", q.scale, (120,))
    ),
)


@pytest.mark.parametrize("make", [_gru, _scattered, _alone, _enlarged])
def test_the_others_pass_unharmed(make: Callable[[], onnx.ModelProto]) -> None:
    assert _error(make()) <= TOLERANCE


def test_both_models_pass_unharmed() -> None:
    assert _error(_float()) <= TOLERANCE
    assert _error(_int8()) <= 0.05 / 2  # half a step of 0.05 over a range above 1


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.id)
def test_the_comparison_goes_red(damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage.place, damage.name, damage.instead)
    assert _error(damage.model()) > TOLERANCE
