"""Layouts and how they travel: through Transpose, reshape, removed axes; and what the search decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import pytest

from edgekit.backends.litert import layout, layout_rules, units
from edgekit.backends.litert.layouts import (
    Layout,
    before_transpose,
    channels_last,
    flat_order,
    flattened,
    identity,
    reshape_blocks,
    same_storage,
    through_reshape,
    through_transpose,
    without_axes,
)
from edgekit.backends.litert.tensors import Shape
from tests.unit.litert.litert_models import Model, as_ir, codes, compiled


@dataclass(frozen=True)
class Reshape:
    id: str
    before: Shape
    layout: Layout
    after: Shape
    expected: Layout | None


NHWC = channels_last(4)
RESHAPES = (
    Reshape("plain", (2, 6), identity(2), (3, 4), identity(2)),
    Reshape("flatten-channels-last", (2, 3, 4, 5), NHWC, (2, 60), Layout((0, 1), (3, 4, 5))),
    Reshape("flatten-one-pixel", ("n", 3, 1, 1), NHWC, ("n", 3), identity(2)),
    Reshape("flatten-one-channel", (2, 1, 4, 5), NHWC, (2, 20), identity(2)),
    Reshape("squeeze", (2, 3, 1, 5), NHWC, (2, 3, 5), Layout((0, 2, 1))),
    Reshape("split-channels", (2, 6, 4, 5), NHWC, (2, 2, 3, 4, 5), Layout((0, 3, 4, 1, 2))),
    Reshape("merge-height-width", (2, 3, 4, 5), NHWC, (2, 3, 20), Layout((0, 2, 1))),
    Reshape("across-blocks", (2, 3, 4, 5), NHWC, (2, 12, 5), None),
    Reshape("batch-into-channels", (2, 3, 4, 5), NHWC, (6, 4, 5), None),
    Reshape("dynamic-merged", ("n", "c", 4, 5), NHWC, ("n", "k"), None),
    Reshape("flat-stays", (2, 60), Layout((0, 1), (3, 4, 5)), (1, 2, 60), Layout((0, 1, 2), (3, 4, 5))),
    Reshape("flat-unflattened", (2, 60), Layout((0, 1), (3, 4, 5)), (2, 3, 20), None),
)


@pytest.mark.parametrize("case", RESHAPES, ids=lambda case: case.id)
def test_layout_after_a_reshape(case: Reshape) -> None:
    assert through_reshape(case.layout, case.before, case.after) == case.expected


@pytest.mark.parametrize("case", [c for c in RESHAPES if c.expected], ids=lambda case: case.id)
def test_a_layout_after_a_reshape_holds_the_same_bytes(case: Reshape) -> None:
    before = [2 if not isinstance(dim, int) else dim for dim in case.before]
    after = [2 if not isinstance(dim, int) else dim for dim in case.after]
    data = np.arange(prod(before)).reshape(before)
    assert case.expected is not None
    there = case.layout.store(data).reshape(-1)
    np.testing.assert_array_equal(there, case.expected.store(data.reshape(after)).reshape(-1))


def test_transpose_renames_axes_and_back() -> None:
    data = np.arange(24).reshape(2, 3, 4, 1)
    perm = (0, 3, 1, 2)
    after = through_transpose(Layout((2, 0, 1, 3)), perm)
    assert after is not None
    np.testing.assert_array_equal(Layout((2, 0, 1, 3)).store(data), after.store(data.transpose(perm)))
    assert before_transpose(after, perm) == Layout((2, 0, 1, 3))


def test_keras_transposes_cancel() -> None:
    assert through_transpose(identity(4), (0, 3, 1, 2)) == channels_last(4)


def test_removed_axes() -> None:
    assert without_axes(NHWC, (2, 3)) == identity(2)
    assert without_axes(NHWC, (1,)) == identity(3)
    assert without_axes(NHWC, (0,)) == Layout((1, 2, 0))
    assert without_axes(flattened(2, (3, 4, 5)), (0,)) is None


def test_flat_order_is_channels_last() -> None:
    assert flat_order((2, 1, 3)).tolist() == [0, 3, 1, 4, 2, 5]


@dataclass(frozen=True)
class Same:
    id: str
    shape: Shape
    a: Layout
    expected: bool


@pytest.mark.parametrize(
    "case",
    [
        Same("one-channel", ("n", 1, 28, 28), NHWC, True),
        Same("one-pixel", ("n", 8, 1, 1), NHWC, True),
        Same("dynamic-sizes-count", ("n", "c", 1, "w"), NHWC, False),
        Same("ordinary", (1, 3, 8, 8), NHWC, False),
    ],
    ids=lambda case: case.id,
)
def test_when_a_reshape_is_enough(case: Same) -> None:
    assert same_storage(case.shape, case.a, identity(4)) is case.expected


def test_blocks_of_a_reshape() -> None:
    assert reshape_blocks((2, 3, 4), (6, 4)) == [((0, 1), (0,)), ((2,), (1,))]
    assert reshape_blocks((1, 6), (2, 1, 3)) == [((1,), (0, 2))]
    assert reshape_blocks(("n", 4), (4, "n")) is None


def residual() -> onnx.ModelProto:
    """An elementwise diamond before the first convolution: only a group move brings it to channels-last."""
    m = Model()
    x = m.input("x", (1, 3, 8, 8))
    a = m.add("Sigmoid", x)
    y = m.add("Add", m.add("Tanh", a), m.add("Exp", a))
    return m.build(m.add("Conv", y, m.weight(4, 3, 3, 3)))


def test_a_diamond_moves_as_a_whole() -> None:
    assert compiled(residual()).transposes == ()
    assert "TRANSPOSE" not in codes(residual())


def test_sweeps_alone_leave_a_transpose_in_the_diamond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: without the group move, the search stays where it is, and the count shows it."""
    monkeypatch.setattr(layout._Search, "spread_all", lambda _self: False)
    assert len(compiled(residual()).transposes) == 1


def _vision_head(m: Model, x: str) -> str:
    y = m.add("Conv", x, m.weight(4, 3, 3, 3))
    z = m.add("Reshape", y, m.ints(1, 4, 36))
    return m.add("MatMul", m.add("Transpose", z, perm=[0, 2, 1]), m.weight(4, 5))


@dataclass(frozen=True)
class Graph:
    id: str
    make: Callable[[Model, str], str]
    transposes: int


@pytest.mark.parametrize(
    "case",
    [
        Graph("tokens-from-pixels", _vision_head, 0),
        Graph("elementwise-only", lambda m, x: m.add("Relu", m.add("Exp", x)), 0),
        Graph("softmax-over-channels", lambda m, x: m.add("Softmax", m.add("Relu", x), axis=1), 0),
        Graph("softmax-over-height", lambda m, x: m.add("Softmax", x, axis=2), 2),
        Graph(
            "matmul-over-width",
            lambda m, x: m.add("MatMul", m.add("Conv", x, m.weight(3, 3, 1, 1)), m.weight(8, 2)),
            1,
        ),
    ],
    ids=lambda case: case.id,
)
def test_number_of_transposes(case: Graph) -> None:
    m = Model()
    found = compiled(m.build(case.make(m, m.input("x", (1, 3, 8, 8)))))
    assert len(found.transposes) == case.transposes
    written = sum(op.code == "TRANSPOSE" for op in found.lowered.graph.operators)
    assert written == case.transposes


def test_a_graph_without_spatial_operators_keeps_its_layout() -> None:
    m = Model()
    found = compiled(m.build(m.add("Add", m.input("x", (1, 3, 8, 8)), m.weight(8))))
    assert found.inputs[0].permutation == ()
    assert found.outputs[0].permutation == ()


def test_what_reads_a_mean_says_nothing_about_its_input() -> None:
    """Random graph 125: the scalar's layout, which has no axes, was tried on the LogSoftmax before it."""
    m = Model()
    x = m.add("LogSoftmax", m.input("x", (1, 4)), axis=0)
    above = m.add("Greater", m.add("ReduceMean", x, keepdims=0), m.scalar(0.0))
    model = m.build(m.add("Where", above, x, m.weight(4)))
    assert compiled(model).lowered.rejections == ()
    mean = next(unit for unit in units.read(as_ir(model)).units if unit.op == "ReduceMean")
    assert layout_rules.ports(mean, Layout(())) is None
    assert layout_rules.ports(mean, identity(2)) is not None


def test_deciding_twice_gives_the_same() -> None:
    program = units.read(as_ir(residual()))
    assert layout.decide(program).units == layout.decide(program).units
