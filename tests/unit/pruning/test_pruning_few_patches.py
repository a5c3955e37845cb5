"""Least squares from patches themselves: what sums of products give. Seed 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import external_data, set_aside
from edgekit.pruning.few_patches import FewPatches, FewSquare
from edgekit.pruning.layers import Floats, Layer, layers
from edgekit.pruning.least_squares import (
    Sums,
    aside,
    bias_moved,
    diagonal,
    equations,
    last_row,
    seen_of,
    solution,
    sums_of,
    taken,
    together,
    with_bias,
)
from edgekit.pruning.zeros import Pattern, choose, solve_on
from tests.unit.ir.mapped import is_mapped
from tests.unit.litert.litert_models import Model, as_ir

COLUMNS, ROWS, FEW, MANY = 64, 5, 12, 40
EXACT = 1e-9
BIAS = 1e-5  # sums hold a bias by a part of 1e-9 of its power, patches leave it free


@dataclass(frozen=True)
class Case:
    """A layer with or without a place for a bias, of one group or of two."""

    name: str
    model: ir.Model
    groups: int = 1

    @property
    def layer(self) -> Layer:
        (found,) = layers(self.model)
        return found


def _gemm() -> ir.Model:
    m = Model(seed=3)
    return as_ir(
        m.build(
            m.add("Gemm", m.input("x", ("N", COLUMNS)), m.weight(ROWS, COLUMNS), m.weight(ROWS), transB=1)
        )
    )


def _matmul() -> ir.Model:
    m = Model(seed=3)
    return as_ir(m.build(m.add("MatMul", m.input("x", ("N", COLUMNS)), m.weight(COLUMNS, ROWS))))


def _grouped() -> ir.Model:
    m = Model(seed=3)
    x = m.input("x", ("N", 2 * COLUMNS, 3, 3))
    return as_ir(m.build(m.add("Conv", x, m.weight(2 * ROWS, COLUMNS, 1, 1), m.weight(2 * ROWS), group=2)))


CASES = [Case("a bias", _gemm()), Case("none", _matmul()), Case("two groups", _grouped(), 2)]


def _few(groups: int, count: int) -> FewPatches:
    """Values that are not around zero: a mean that is forgotten shows."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((groups, count, COLUMNS)) + 2).astype(np.float32)
    y = (rng.standard_normal((groups, count, ROWS)) - 5).astype(np.float32)
    seen = seen_of(x, y)
    assert isinstance(seen, FewPatches)
    return seen


def _exact(few: FewPatches) -> Sums:
    """Sums in float64, which ``sums_of`` makes in float32."""
    return sums_of(FewPatches(few.x.astype(np.float64), few.y.astype(np.float64)))


def _off(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_minimum_is_the_same_as_that_of_sums(case: Case, ridge: float) -> None:
    layer, few = case.layer, _few(case.groups, FEW)
    start = with_bias(layer)
    sums = _exact(few)
    most = BIAS if layer.takes_bias else EXACT
    assert _off(solution(few, start, ridge, layer), solution(sums, start, ridge, layer)) < most
    assert _off(bias_moved(start, few), bias_moved(start, sums)) < 1e-6  # means of float32
    assert few.error(start) == pytest.approx(sums.error(start), rel=EXACT)


def test_a_square_of_few_patches_is_the_square() -> None:
    """Products to 1e-9; its inverse, in float32, to 1e-4 of the largest."""
    few, rows = _few(1, FEW), np.random.default_rng(4).standard_normal((7, COLUMNS + 1))
    start = np.zeros((1, ROWS, COLUMNS + 1))
    ((square, right),), ((dense, wanted),) = (equations(each, start, 0.1) for each in (few, _exact(few)))
    assert isinstance(square, FewSquare)
    assert isinstance(dense, np.ndarray)
    assert _off(rows @ square, rows @ dense) < EXACT
    assert _off(right, wanted) < 1e-6
    assert _off(diagonal(square), diagonal(dense)) < EXACT
    assert _off(last_row(square), last_row(dense)) < BIAS
    some = np.array([3, 1, 40])
    assert _off(rows[:, :3] @ taken(square, some), rows[:, :3] @ taken(dense, some)) < EXACT
    scale = np.sqrt(diagonal(dense))
    inverse = np.linalg.inv(dense / np.outer(scale, scale) + 0.3 * np.eye(COLUMNS + 1))
    eased = square.scaled(scale, more=0.3).inverse()(rows.astype(np.float32))
    assert _off(eased.astype(np.float64), rows @ inverse) < 1e-4


@pytest.mark.parametrize("pattern", [Pattern(0.5), Pattern(0.5, 4)], ids=str)
def test_zeros_cost_as_little_as_with_sums(pattern: Pattern) -> None:
    """To 1 % of the loss: at a tie one or the other of two weights is zero."""
    few = _few(1, FEW)
    weight = np.random.default_rng(4).standard_normal((ROWS, COLUMNS + 1))
    ((square, _),), ((dense, _),) = (equations(each, weight[None], 0.1) for each in (few, _exact(few)))
    assert isinstance(dense, np.ndarray)
    losses = []
    for left in (square, dense):
        choice = choose(left, weight @ dense, weight, pattern, free=1)
        found = solve_on(choice.kept, left, weight @ dense, choice.solved)
        assert int((~choice.kept).sum()) == ROWS * COLUMNS // 2
        off = found - weight
        losses.append(float(((off @ dense) * off).sum()))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_sabotage_a_bias_that_is_not_free_gives_another_minimum() -> None:
    layer, few = CASES[0].layer, _few(1, FEW)
    start = with_bias(layer)
    assert _off(few.solution(start, 1e-2, free=False), solution(_exact(few), start, 1e-2, layer)) > 0.1


def test_many_patches_are_sums_also_when_they_come_in_parts() -> None:
    few = _few(1, FEW)
    assert isinstance(together(few, FewPatches(few.x[:, :2], few.y[:, :2])), FewPatches)
    both = together(few, few)
    assert isinstance(both, Sums)
    assert both.seen == 2 * FEW
    assert _off(both.square, 2 * sums_of(few).square) < 1e-6  # float32
    x = np.zeros((1, MANY, COLUMNS), np.float32)
    assert isinstance(seen_of(x, np.zeros((1, MANY, ROWS), np.float32)), Sums)


@pytest.mark.parametrize("large", [True, False])
def test_beside_a_large_model_squares_that_wait_lie_in_files(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And can be added to. Sabotage: those of a small model stay where they are, as patches do."""
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8 if large else 2**40)
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", 0)
    model, few = CASES[0].model, _few(1, FEW)
    sums = sums_of(few)
    waiting = aside(sums, of=model)
    assert isinstance(waiting, Sums)
    assert is_mapped(waiting.square) == large
    assert large or waiting is sums
    both = together(waiting, few)
    assert both is waiting
    assert np.array_equal(both.square, 2 * sums_of(few).square)
    assert aside(few, of=model) is few
