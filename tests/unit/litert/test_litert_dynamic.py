"""Several dynamic sizes at once: reshapes, slices and ranges whose sizes are computed in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.spec import Array
from tests.unit.litert.litert_models import Model, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # as in tests/parity


def _heads(m: Model, x: str) -> str:
    """(batch, time, 6) to (batch, 2, time, 3), attention over time, and back."""
    batch = m.add("Slice", m.add("Shape", x), m.ints(0), m.ints(2))
    split = m.add("Reshape", x, m.add("Concat", batch, m.ints(2, 3), axis=0))
    heads = m.add("Transpose", split, perm=[0, 2, 1, 3])
    scores = m.add("Softmax", m.add("MatMul", heads, m.add("Transpose", heads, perm=[0, 1, 3, 2])))
    mixed = m.add("Transpose", m.add("MatMul", scores, heads), perm=[0, 2, 1, 3])
    return m.add("Reshape", mixed, m.add("Concat", batch, m.ints(6), axis=0))


def _causal(m: Model, x: str) -> str:
    """A triangle of the sequence's length out of Range, as decoders make it."""
    length = m.add("Squeeze", m.add("Shape", x, start=1, end=2))
    places = m.add("Range", m.constant(np.asarray(0)), length, m.constant(np.asarray(1)))
    later = m.add("Greater", m.add("Unsqueeze", places, m.ints(0)), m.add("Unsqueeze", places, m.ints(1)))
    scores = m.add("MatMul", x, m.add("Transpose", x, perm=[0, 2, 1]))
    return m.add("Softmax", m.add("Where", later, m.scalar(-1e4), scores))


def _positions(m: Model, x: str) -> str:
    """A table of positions, cut to the sequence's length."""
    length = m.add("Shape", x, start=1, end=2)
    table = m.add("Slice", m.weight(9, 6), m.ints(0), length, m.ints(0))
    return m.add("Add", x, table)


def _last(m: Model, x: str) -> str:
    """What is behind the first half: a computed start."""
    half = m.add("Div", m.add("Shape", x, start=1, end=2), m.ints(2))
    return m.add("Slice", m.add("Relu", x), half, m.ints(2**40), m.ints(1), m.ints(1))


def _count(m: Model, x: str) -> str:
    """The mean by Size."""
    total = m.add("ReduceSum", x, keepdims=0)
    return m.add("Div", total, m.add("Cast", m.add("Size", x), to=1))


def _unsqueezed(m: Model, x: str) -> str:
    return m.add("Unsqueeze", m.add("Neg", x), m.ints(1))


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[Model, str], str]


CASES = (
    Case("heads", _heads),
    Case("causal", _causal),
    Case("positions", _positions),
    Case("computed-start", _last),
    Case("size", _count),
    Case("unsqueezed", _unsqueezed),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_two_dynamic_sizes(case: Case) -> None:
    model = Model()
    built = model.build(case.make(model, model.input("x", ("batch", "time", 6))))
    for batch, length in ((1, 1), (2, 5), (3, 4)):
        rng = np.random.default_rng(length)
        feeds: dict[str, Array] = {"x": rng.standard_normal((batch, length, 6)).astype(np.float32)}
        (expected,) = run_onnx(built, feeds).values()
        for kernels in ("xnnpack", "builtin"):
            (found,) = run_litert(built, feeds, kernels=kernels).values()
            assert relative_error(found, expected) <= TOLERANCE


def test_a_cache_that_is_still_empty() -> None:
    """A decoder's first step: its keys of the past have no rows."""
    model = Model()
    past, new = model.input("past", ("batch", "past", 3)), model.input("new", ("batch", "time", 3))
    keys = model.add("Concat", past, new, axis=1)
    built = model.build(model.add("MatMul", new, model.add("Transpose", keys, perm=[0, 2, 1])))
    for rows in (0, 4):
        rng = np.random.default_rng(rows)
        feeds: dict[str, Array] = {
            "past": rng.standard_normal((2, rows, 3)).astype(np.float32),
            "new": rng.standard_normal((2, 2, 3)).astype(np.float32),
        }
        (expected,) = run_onnx(built, feeds).values()
        (found,) = run_litert(built, feeds).values()
        assert relative_error(found, expected) <= TOLERANCE
