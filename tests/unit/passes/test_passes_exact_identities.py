"""An addition of almost nothing is not nothing: the logarithm behind it may need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgekit.passes.eliminate_identity import EliminateIdentity


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    constant: float
    left: int


CASES = (
    Case("add-zero", "Add(x, c)", 0.0, 0),
    Case("zero-add", "Add(c, x)", 0.0, 0),
    Case("one-times", "Mul(c, x)", 1.0, 0),
    Case("sub-zero", "Sub(x, c)", 0.0, 0),
    Case("over-one", "Div(x, c)", 1.0, 0),
    Case("add-almost-zero", "Add(x, c)", 1e-10, 1),
    Case("almost-one", "Mul(x, c)", 1.0 + 2**-23, 1),
    Case("sub-almost-zero", "Sub(x, c)", 1e-30, 1),
    Case("zero-minus", "Sub(c, x)", 0.0, 1),
    Case("one-over", "Div(c, x)", 1.0, 1),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_only_the_neutral_element_itself_goes(case: Case, build: Any) -> None:
    text = f"g (float[n, 3] x) => (float[n, 3] y) <float c> {{ a = {case.text} y = Log(a) }}"
    model = EliminateIdentity().apply(build(text, c=np.float32(case.constant)))
    assert len([node for node in model.graph if node.op_type != "Log"]) == case.left


def test_a_constant_that_adds_an_axis_stays(build: Any) -> None:
    text = "g (float[n] x) => (float[1, n] y) <float[1, 1] c> { a = Mul(x, c) y = Log(a) }"
    model = EliminateIdentity().apply(build(text, c=np.ones((1, 1), np.float32)))
    assert [node.op_type for node in model.graph] == ["Mul", "Log"]
