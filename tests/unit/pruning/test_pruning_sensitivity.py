"""What each width of each group costs: read once for all, and equal to what each gives from the inputs.

Tolerance: 1e-3 of an error, as for weights that are solved from values of a graph that starts elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.pruning import reconstruct as reconstruct_
from edgekit.pruning import sensitivity as sensitivity_
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.importance import Order, order_channels
from edgekit.pruning.layers import Floats, Layer
from edgekit.pruning.least_squares import Seen, solution
from edgekit.pruning.reconstruct import carries
from edgekit.pruning.remove import is_branch
from edgekit.pruning.resume import Resumed
from edgekit.pruning.sensitivity import sensitivity
from edgekit.pruning.stream import values
from edgekit.spec import RunOptions
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream

COUNT = 96


class Counted(InProcess):
    """How many nodes ran in all sessions."""

    nodes = 0

    def __init__(self, model: ir.Model, options: RunOptions) -> None:
        super().__init__(model, options)
        type(self).nodes += len(list(model.graph))


def _blocks() -> Dependencies:
    """Two residual blocks behind a stem; the second has a convolution around it, as where widths change."""
    m = Model(seed=3)

    def conv(x: str, out: int, into: int, size: int) -> str:
        return m.add("Conv", x, m.weight(out, into, size, size), m.weight(out), pads=[size // 2] * 4)

    y = m.add("Relu", conv(m.input("x", ("N", 3, 6, 6)), 8, 3, 3))
    y = m.add("Relu", m.add("Add", y, conv(m.add("Relu", conv(y, 8, 8, 3)), 8, 8, 3)))
    around = conv(y, 12, 8, 1)
    y = m.add("Relu", m.add("Add", around, conv(m.add("Relu", conv(y, 8, 8, 3)), 12, 8, 3)))
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    return dependencies(as_ir(m.build(m.add("Gemm", y, m.weight(5, 12), m.weight(5), transB=1))))


def _cells(found: Dependencies) -> list[tuple[Order, tuple[int, ...]]]:
    """Of each group: one channel gone, half of them, and where it is a branch all."""
    orders = order_channels(
        found,
        method="magnitude",
        open_model=InProcess,
        batches=stream(io.specs(found.model)[0][0], count=COUNT),
        count=COUNT,
        labels=None,
        seed=0,
    )
    cells = []
    for order in orders:
        many = len(order.channels)
        parts = [1, many // 2] + ([many] if is_branch(found, order.group) else [])
        cells += [(order, order.channels[:part]) for part in parts]
    return cells


def _errors(found: Dependencies, original: Resumed | None) -> list[float]:
    return [
        sensitivity(
            found,
            order,
            gone,
            open_model=Counted,
            batches=stream(io.specs(found.model)[0][0], count=COUNT),
            count=COUNT,
            seed=0,
            original=original,
        )
        for order, gone in _cells(found)
    ]


def _straight(found: Dependencies, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    with monkeypatch.context() as patch:
        patch.setattr(Resumed, "values", lambda self, *args, **named: values(*args, **named))
        return _errors(found, None)


def test_cells_that_share_what_was_read_cost_what_each_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _blocks()
    assert {order.group.name for order, gone in _cells(found) if len(gone) == len(order.channels)}
    Counted.nodes = 0
    shared, cost = _errors(found, Resumed()), Counted.nodes
    Counted.nodes = 0
    np.testing.assert_allclose(shared, _straight(found, monkeypatch), rtol=1e-3)
    assert cost < 0.6 * Counted.nodes
    assert min(shared) > 0


def test_a_value_that_is_taken_for_unchanged_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of P1: solved layers keep what the float model gave behind them."""
    found = _blocks()
    straight = _straight(found, monkeypatch)
    every = [value.name or "" for node in found.model.graph for value in node.outputs]

    def careless(known: Dependencies, gone: Collection[int], _: object) -> frozenset[str]:
        lost = frozenset(gone)
        return frozenset(name for name in every if not carries(known.values.get(name, ()), lost))

    monkeypatch.setattr(sensitivity_, "_same", careless)
    wrong = _errors(found, Resumed())
    assert not np.allclose(wrong, straight, rtol=1e-3)


def test_wide_layers_are_ranked_with_one_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: fewer systems are solved, and the widths of a group keep their order."""
    found, solved = _blocks(), list[float]()
    solve = solution

    def counted(sums: Seen, start: Floats, ridge: float, layer: Layer) -> Floats:
        solved.append(ridge)
        return solve(sums, start, ridge, layer)

    monkeypatch.setattr(reconstruct_, "solution", counted)
    narrow, many = _errors(found, None), len(solved)
    solved.clear()
    monkeypatch.setattr(reconstruct_, "WIDE", 0)
    wide = _errors(found, None)
    assert len(solved) < 0.5 * many
    assert set(solved) == {reconstruct_.QUICK_RIDGE}
    np.testing.assert_allclose(wide, narrow, rtol=0.5)
