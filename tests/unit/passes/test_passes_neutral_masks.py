"""M1 to M4: masks that decide nothing go where nothing that follows has another shape; bit for bit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgekit.passes import canonicalize
from edgekit.passes.drop_neutral_masks import DropNeutralMasks
from edgekit.spec import Array

HEAD = "g (bool[1, 1, 1, 4] x, float[1, 2, 3, 4] s) => "
WHERE = "w = Where(m, zero, low) "


@dataclass(frozen=True)
class Case:
    id: str
    outputs: str
    body: str
    left: int  # And, Or
    mask: bool = True
    but_one: bool = False


CASES = (
    Case("attention", "(float[1, 2, 3, 4] y)", f"m = And(t, x) {WHERE} y = Add(s, w)", 0),
    Case("two-readers", "(float[1, 2, 3, 4] y)", f"m = And(x, t) {WHERE} u = Add(s, w) y = Mul(u, w)", 0),
    Case("or-with-false", "(float[1, 2, 3, 4] y)", f"m = Or(t, x) {WHERE} y = Add(s, w)", 0, mask=False),
    Case("same-shape", "(bool[1, 1, 1, 4] y)", "m = And(x, o) y = Not(m)", 0),
    Case("through-not", "(float[1, 2, 3, 4] y)", f"n = And(t, x) m = Not(n) {WHERE} y = Add(s, w)", 0),
    Case("M1-or-with-true", "(float[1, 2, 3, 4] y)", f"m = Or(t, x) {WHERE} y = Add(s, w)", 1),
    Case("M1-one-is-false", "(float[1, 2, 3, 4] y)", f"m = And(t, x) {WHERE} y = Add(s, w)", 1, but_one=True),
    Case("M2-an-output", "(bool[1, 1, 1, 4] y)", "y = And(x, o)", 1),
    Case("M4-an-output", "(bool[1, 1, 3, 4] y)", "y = And(t, x)", 1),
    Case("M4-behind-it-an-output", "(bool[1, 1, 3, 4] y)", "m = And(t, x) y = Not(m)", 1),
    Case("M4-a-sum", "(float[1, 1, 1, 4] y)", f"m = And(t, x) {WHERE} y = ReduceSum(w, axes)", 1),
    Case(
        "M4-nothing-spreads-it-later",
        "(float[1, 1, 3, 3] y)",
        f"m = And(t, x) {WHERE} v = Exp(w) y = MatMul(v, k)",
        1,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_mask_that_decides_nothing(case: Case, build: Any, evaluate: Any) -> None:
    mask = np.full((1, 1, 3, 1), case.mask)
    if case.but_one:
        mask[0, 0, 1, 0] = not case.mask
    constants: dict[str, Array] = {
        "t": mask,
        "o": np.ones((1, 4), np.bool_),
        "zero": np.asarray(0.0, np.float32),
        "low": np.asarray(-3e38, np.float32),
        "axes": np.array([2]),
        "k": np.arange(12, dtype=np.float32).reshape(4, 3),
    }
    used = {name: value for name, value in constants.items() if re.search(rf"\b{name}\b", case.body)}
    types = {"t": "bool[1, 1, 3, 1]", "o": "bool[1, 4]", "zero": "float", "low": "float"}
    types |= {"axes": "int64[1]", "k": "float[4, 3]"}
    declared = ", ".join(f"{types[name]} {name}" for name in used)
    text = f"{HEAD}{case.outputs} <{declared}> {{ {case.body} }}"
    before = build(text, **used)
    after = DropNeutralMasks().apply(build(text, **used))
    assert len([node for node in after.graph if node.op_type in {"And", "Or"}]) == case.left
    rng = np.random.default_rng(0)
    feeds = {"x": rng.random((1, 1, 1, 4)) < 0.5, "s": rng.standard_normal((1, 2, 3, 4)).astype(np.float32)}
    for expected, found in zip(evaluate(before, feeds), evaluate(after, feeds), strict=True):
        assert np.array_equal(expected, found)
        assert expected.shape == found.shape


def test_it_is_part_of_the_canonical_form(build: Any) -> None:
    text = f"{HEAD}(float[1, 2, 3, 4] y) <bool[1, 1, 3, 1] t, float zero, float low> "
    text += f"{{ m = And(t, x) {WHERE} y = Add(s, w) }}"
    constants = {"t": np.ones((1, 1, 3, 1), np.bool_), "zero": np.float32(0.0), "low": np.float32(-3e38)}
    model = canonicalize(build(text, **constants))
    assert [node.op_type for node in model.graph] == ["Where", "Add"]
