"""The loop of a GRU becomes the operator, and no other loop does (R1 to R3 of passes/recognize_gru.py).

Tolerance: 1e-6 of values in -1 .. 1: sums of a few float32 products in another order. Seed 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.passes import canonicalize
from edgekit.spec import Array

Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Array]]

STEPS, BATCH, INPUTS, UNITS = 5, 3, 2, 4
AFTER = """
    xs = MatMul (x_t, w)
    a = Add (xs, wb)
    az, ar, ac = Split <axis = -1, num_outputs = 3> (a)
    hs = MatMul (h, u)
    b = Add (hs, ub)
    bz, br, bc = Split <axis = -1, num_outputs = 3> (b)
    zs = Add (az, bz)
    z = Sigmoid (zs)
    rs = Add (ar, br)
    r = Sigmoid (rs)
    rc = Mul (r, bc)
    cs = Add (ac, rc)
    c = Tanh (cs)
"""
BEFORE = """
    xs = MatMul (x_t, w)
    a = Add (xs, wb)
    az, ar, ac = Split <axis = -1, num_outputs = 3> (a)
    uzr = Slice (u, i0, i8, i1)
    uc = Slice (u, i8, i12, i1)
    hs = MatMul (h, uzr)
    bz, br = Split <axis = -1, num_outputs = 2> (hs)
    zs = Add (az, bz)
    z = Sigmoid (zs)
    rs = Add (ar, br)
    r = Sigmoid (rs)
    rh = Mul (r, h)
    bc = MatMul (rh, uc)
    cs = Add (ac, bc)
    c = Tanh (cs)
"""
LOOP = """g (float[5, 3, 2] x) => (float[3, 4] last, float[5, 3, 4] steps)
{
  n, last, k1, k2, k3, k4, steps = Loop (trip, yes, zero, h0, kernel, bias, recurrent, recurrent_bias)
  <body = body
   (int64 i, bool go, int64 t, float[3, 4] h, float[2, 12] w, float[12] wb, float[4, 12] u, float[12] ub)
   => (bool more, int64 next, float[3, 4] new, float[2, 12] w, float[12] wb, float[4, 12] u, float[12] ub,
       float[3, 4] scan)
   <int64 one = {1}, int64 limit = {5}, float unit = {1.0}, int64[1] i0 = {0}, int64[1] i8 = {8},
    int64[1] i12 = {12}, int64[1] i1 = {1}>
  {
    next = Add (t, one)
    more = Less (next, limit)
    x_t = Gather (x, t)
    CELL
    rest = Sub (unit, z)
    old = Mul (z, h)
    drawn = Mul (rest, c)
    new = Add (old, drawn)
    scan = Identity (new)
  }>
}"""


def _model(build: Build, cell: str, changes: Mapping[str, str], *, trip: int = STEPS) -> ir.Model:
    text = LOOP.replace("CELL", cell)
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Array:
        values: Array = rng.uniform(-1, 1, shape).astype(np.float32)
        return values

    return build(
        text,
        kernel=drawn(INPUTS, 3 * UNITS),
        bias=drawn(3 * UNITS),
        recurrent=drawn(UNITS, 3 * UNITS),
        recurrent_bias=drawn(3 * UNITS),
        h0=drawn(BATCH, UNITS),
        zero=np.array(0, np.int64),
        trip=np.array(trip, np.int64),
        yes=np.array(True),
    )


@pytest.mark.parametrize(("cell", "after"), [(AFTER, 1), (BEFORE, 0)], ids=["reset after", "reset before"])
def test_it_computes_the_same(build: Build, evaluate: Evaluate, cell: str, after: int) -> None:
    model = _model(build, cell, {})
    found = canonicalize(model)
    (gru,) = [node for node in found.graph if node.op_type == "GRU"]
    assert gru.attributes["linear_before_reset"].as_int() == after
    assert all(node.op_type != "Loop" for node in found.graph)
    x = np.random.default_rng(1).uniform(-1, 1, (STEPS, BATCH, INPUTS)).astype(np.float32)
    for want, have in zip(evaluate(model, {"x": x}), evaluate(found, {"x": x}), strict=True):
        np.testing.assert_allclose(np.asarray(have, np.float32), np.asarray(want, np.float32), atol=1e-6)


@dataclass(frozen=True)
class Other:
    """A loop that is no GRU over the whole sequence, by one change."""

    id: str
    changes: Mapping[str, str] = field(default_factory=dict)
    trip: int = STEPS


OTHERS = [
    Other("gates the other way round", {"rest = Sub (unit, z)": "rest = Sub (z, unit)"}),
    Other("the reset gate keeps", {"old = Mul (z, h)": "old = Mul (r, h)"}),
    Other("two is not one", {"float unit = {1.0}": "float unit = {2.0}"}),
    Other("another activation of the candidate", {"c = Tanh (cs)": "c = Softplus (cs)"}),
    Other("gates of different kinds", {"r = Sigmoid (rs)": "r = Tanh (rs)"}),
    Other("columns in another order", {"az, ar, ac = Split": "ar, az, ac = Split"}),
    Other("a state that is not handed on", {"scan = Identity (new)": "scan = Identity (h)"}),
    Other("every second step", {"int64 one = {1}": "int64 one = {2}"}),
    Other("one step less by its condition", {"int64 limit = {5}": "int64 limit = {4}"}),
    Other("one step less by its count", trip=STEPS - 1),
    Other("a residual", {"new = Add (old, drawn)": "sum = Add (old, drawn)\n new = Add (sum, h)"}),
]


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.id)
def test_another_loop_stays(build: Build, case: Other) -> None:
    found = canonicalize(_model(build, AFTER, case.changes, trip=case.trip))
    assert [node.op_type for node in found.graph].count("Loop") == 1
    assert all(node.op_type != "GRU" for node in found.graph)


def test_a_count_that_is_read_keeps_the_loop(build: Build) -> None:
    """R3."""
    model = _model(build, AFTER, {"float[5, 3, 4] steps)": "float[5, 3, 4] steps, int64 n)"})
    assert any(node.op_type == "Loop" for node in canonicalize(model).graph)
