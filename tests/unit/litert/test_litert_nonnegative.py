"""N1, N2: where a MaxPool may be padded with zeros, and where it may not; values against ONNX Runtime.

Input standard normal, seed 0. Tolerance 1e-6 of the range: a maximum rounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgekit.backends.litert import nonnegative
from tests.unit.litert.litert_models import Model, codes, relative_error, run_litert, run_onnx

SHAPE = (1, 3, 8, 8)
POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[Model, str], str]


def conv(m: Model, x: str) -> str:
    return m.add("Conv", x, m.weight(3, 3, 1, 1))


ZEROS = (
    Case("relu", lambda m, x: m.add("Relu", x)),
    Case("fused-relu", lambda m, x: m.add("Relu", conv(m, x))),
    Case("fused-relu6", lambda m, x: m.add("Clip", conv(m, x), m.scalar(0), m.scalar(6))),
    Case("sum", lambda m, x: m.add("Add", m.add("Relu", x), m.add("Sigmoid", x))),
    Case("scaled", lambda m, x: m.add("Mul", m.add("Abs", x), m.scalar(0.5))),
    Case("unsigned", lambda m, x: m.quantized(m.add("Relu", x), 0.02, 0)),
)
LOWEST = (
    Case("input", lambda _, x: x),
    Case("convolution", conv),
    Case("clip-below-zero", lambda m, x: m.add("Clip", conv(m, x), m.scalar(-1), m.scalar(6))),
    Case("one-sided-sum", lambda m, x: m.add("Add", m.add("Relu", x), x)),
    Case("negative-factor", lambda m, x: m.add("Mul", m.add("Relu", x), m.scalar(-0.5))),
    Case("signed", lambda m, x: m.quantized(x, 0.02, 128)),
)


def build(case: Case) -> tuple[Model, str]:
    m = Model()
    y = m.add("MaxPool", case.make(m, m.input("x", SHAPE)), **POOL)
    if case.id in {"unsigned", "signed"}:
        y = m.quantized(y, 0.02, 0 if case.id == "unsigned" else 128)
    return m, y


def error(case: Case) -> float:
    m, y = build(case)
    model = m.build(y)
    feeds = {"x": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32) - 1}
    return relative_error(run_litert(model, feeds)[y], run_onnx(model, feeds)[y])


@pytest.mark.parametrize("case", ZEROS, ids=lambda c: c.id)
def test_zeros_pad_what_is_never_negative(case: Case) -> None:
    m, y = build(case)
    found = codes(m.build(y))
    assert "PAD" in found
    assert "PADV2" not in found
    assert error(case) <= 1e-6


@pytest.mark.parametrize("case", LOWEST, ids=lambda c: c.id)
def test_the_lowest_number_pads_the_rest(case: Case) -> None:
    m, y = build(case)
    assert "PADV2" in codes(m.build(y))
    assert error(case) <= 1e-6


def test_sabotage_zeros_around_negative_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonnegative, "MAKES", nonnegative.MAKES | {"Conv"})
    assert error(LOWEST[1]) > 0.01
