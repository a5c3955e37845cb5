"""Broadcasts of more axes than a kernel takes, and Einsum's diagonals: ONNX Runtime's values, seed 0."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.backends.litert.ops import terms
from edgekit.spec import Array
from tests.unit.litert.litert_models import Model, compiled, run_litert, run_onnx

LIMIT = 1e-5
# no two neighbours broadcast alike, so that none can be merged
LEFT, RIGHT = (2, 1, 3, 1, 2), (1, 3, 1, 2, 1)


def _of_two(operator: str) -> onnx.ModelProto:
    m = Model()
    x, y = m.input("x", LEFT), m.input("y", RIGHT)
    if operator in {"And", "Or"}:
        x, y = (m.add("Greater", each, m.scalar(0.0)) for each in (x, y))
    if operator == "Where":
        return m.build(m.add(operator, m.add("Greater", x, m.scalar(0.0)), y, m.weight(2, 1, 1, 2, 1)))
    if operator == "Pow":
        x = m.add("Abs", x)
    return m.build(m.add(operator, x, y))


def _feeds(model: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _agree(model: onnx.ModelProto) -> None:
    feeds = _feeds(model)
    (expected,), (found,) = run_onnx(model, feeds).values(), run_litert(model, feeds).values()
    assert np.allclose(found, expected, rtol=LIMIT, atol=LIMIT)


OPERATORS = (
    "Greater",
    "Less",
    "Equal",
    "Max",
    "Min",
    "Pow",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "And",
    "Or",
    "Where",
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_five_axes_that_cannot_be_merged(operator: str) -> None:
    _agree(_of_two(operator))


def test_sabotage_without_spreading_they_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms.Terms, "expand", lambda _self, x, _shape: x)
    (rejection,) = compiled(_of_two("Greater")).lowered.rejections
    assert rejection.rule == "kernel-rank"


@pytest.mark.parametrize("equation", ["ii->i", "ii", "iji->ji", "...ii->...i", "iijj->ij", "ii,ij->j"])
def test_a_diagonal(equation: str) -> None:
    m = Model()
    shapes: dict[str, list[tuple[int, ...]]] = {
        "iji->ji": [(3, 2, 3)],
        "...ii->...i": [(2, 3, 3)],
        "iijj->ij": [(3, 3, 2, 2)],
    }
    shapes["ii,ij->j"] = [(3, 3), (3, 4)]
    inputs = [m.input(f"x{n}", shape) for n, shape in enumerate(shapes.get(equation, [(3, 3)]))]
    _agree(m.build(m.add("Einsum", *inputs, equation=equation)))
