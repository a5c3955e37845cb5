"""Checks of the TFLite compiler, seen to fail: wrong orders, padding and zero points must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.backends.litert import units
from edgekit.backends.litert.ops import conv, matrix, windows
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


def _error(model: onnx.ModelProto) -> float:
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    (expected,) = run_onnx(model, feeds).values()
    (found,) = run_litert(model, feeds).values()
    return relative_error(found, expected)


@dataclass(frozen=True)
class Damage:
    id: str
    model: Callable[[], onnx.ModelProto]
    place: Any
    name: str
    instead: Any


DAMAGES = (
    Damage("padding-of-even-sizes", _float, windows.Axis, "is_same", property(lambda _axis: True)),
    Damage("flattened-order", _float, matrix, "flat_order", lambda flat: np.arange(int(np.prod(flat)))),
    Damage("lost-bias", _float, conv, "bias_of", lambda step, n: step.constant("b", np.ones(n, np.float32))),
    Damage(
        "zero-points-moved-too-far", _int8, units, "as_signed", lambda q: QuantParams("int8", q.scale, (120,))
    ),
)


def test_both_models_pass_unharmed() -> None:
    assert _error(_float()) <= TOLERANCE
    assert _error(_int8()) <= 0.05 / 2  # half a step of 0.05 over a range above 1


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.id)
def test_the_comparison_goes_red(damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage.place, damage.name, damage.instead)
    assert _error(damage.model()) > TOLERANCE
