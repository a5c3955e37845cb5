"""Zeros among weights: where they are, how little is lost, and that what is lost is the least."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pruning import zeros as module
from edgekit.pruning.layers import Floats
from edgekit.pruning.sparsify import Dense, Sparse, sparsify
from edgekit.pruning.zeros import Mask, Pattern, asked_pattern, choose, solve_on
from edgekit.spec import Array, BatchStream
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess

COUNT = 512
HALF, TWO_OF_FOUR = Pattern(0.5), Pattern(0.5, 4)


def _problem(*, rows: int = 12, columns: int = 48, seed: int = 0) -> tuple[Floats, Floats]:
    """(weight, sums of products of columns that say much the same)."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((400, columns)) @ (
        np.eye(columns) + 0.6 * rng.standard_normal((columns, columns))
    )
    return rng.standard_normal((rows, columns)), mixed.T @ mixed


def _loss(weight: Floats, other: Floats, square: Floats) -> float:
    off = weight - other
    return float(np.einsum("rc,cd,rd->", off, square, off))


def _by_size(weight: Floats, pattern: Pattern) -> Floats:
    """Magnitude pruning: what every framework's baseline does."""
    flat = np.abs(weight).reshape(-1, pattern.group or weight.size)
    kept = np.ones(flat.shape, bool)
    smallest = np.argsort(flat, axis=1)[:, : round(pattern.part * flat.shape[1])]
    np.put_along_axis(kept, smallest, values=False, axis=1)
    return np.where(kept.reshape(weight.shape), weight, 0.0)


def _zeroed(weight: Floats, square: Floats, pattern: Pattern) -> tuple[Mask, Floats]:
    """Chosen, and solved to the end."""
    choice = choose(square, weight @ square, weight, pattern, free=0)
    return choice.kept, solve_on(choice.kept, square, weight @ square, choice.solved)


@pytest.mark.parametrize(("pattern", "part"), [(HALF, 0.6), (TWO_OF_FOUR, 0.7), (Pattern(0.9), 0.8)])
def test_zeros_cost_less_than_those_of_the_smallest_weights(pattern: Pattern, part: float) -> None:
    """Both solved on their zeros: it is the choice that is compared."""
    weight, square = _problem(rows=32, columns=96)
    by_size = _by_size(weight, pattern) != 0
    other = solve_on(by_size, square, weight @ square, weight)
    kept, found = _zeroed(weight, square, pattern)
    assert _loss(weight, found, square) < part * _loss(weight, other, square)
    assert not found[~kept].any()
    assert int((~kept).sum()) == round(pattern.part * kept.size)


def test_a_column_that_is_free_has_no_zeros() -> None:
    weight, square = _problem()
    kept = choose(square, weight @ square, weight, Pattern(0.9), free=3).kept
    assert kept[:, -3:].all()
    assert int((~kept).sum()) == round(0.9 * 12 * 45)


def test_solving_on_a_mask_is_the_least_squares_of_each_row() -> None:
    """To 1e-5 of the largest weight: conjugate gradients end at a residual of 1e-6."""
    weight, square = _problem()
    kept = np.random.default_rng(3).random(weight.shape) < 0.5
    right = weight @ square
    found = solve_on(kept, square, right, np.zeros_like(weight))
    for row, mask in enumerate(kept):
        exact = np.linalg.solve(square[np.ix_(mask, mask)], right[row, mask])
        assert np.abs(found[row, mask] - exact).max() < 1e-5 * np.abs(exact).max()


def _zeros_per_group(kept: Mask, group: int) -> Array:
    return np.asarray((~kept).reshape(len(kept), -1, group).sum(axis=2))


def test_a_pattern_holds_in_every_group() -> None:
    weight, square = _problem()
    assert (_zeros_per_group(_zeroed(weight, square, TWO_OF_FOUR)[0], 4) == 2).all()
    assert (_zeros_per_group(_zeroed(weight, square, Pattern(2 / 3, 3))[0], 3) == 2).all()


# ---- whole models


def _stream(shape: tuple[int, ...]) -> BatchStream:
    """Samples whose channels say much the same: what activations are like."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((shape[0], 3 * shape[0] // 4))
    data = np.einsum("cm,nm...->nc...", mix, rng.standard_normal((COUNT, mix.shape[1], *shape[1:])))
    samples = data.astype(np.float32)
    return lambda size: ({"x": samples[start : start + size]} for start in range(0, COUNT, size))


def _image() -> ir.Model:
    m = Model(seed=1)
    x = m.input("x", ("N", 16, 6, 6))
    y = m.add("Relu", m.add("Conv", x, m.weight(24, 16, 3, 3, scale=0.1), m.weight(24), pads=[1] * 4))
    y = m.add("Conv", y, m.weight(24, 1, 3, 3), m.weight(24), group=24)
    y = m.add("Conv", y, m.weight(32, 24, 1, 1), m.weight(32))
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    return as_ir(m.build(m.add("Gemm", y, m.weight(48, 32), m.weight(48), transB=1)))


def _sparse(
    model: ir.Model, pattern: Pattern, shape: tuple[int, ...]
) -> tuple[ir.Model, tuple[Sparse, ...], tuple[Dense, ...]]:
    return sparsify(model, pattern, open_model=InProcess, batches=_stream(shape), count=COUNT, seed=0)


def test_layers_get_zeros_and_small_ones_stay_dense_with_the_reason() -> None:
    made, done, dense = _sparse(_image(), TWO_OF_FOUR, (16, 6, 6))
    assert [row.zeros * 2 for row in done] == [row.weights for row in done] == [3456, 1536]
    assert [row.reason for row in dense] == ["it sums over 9 terms", "it sums over 24 terms"] or len(
        dense
    ) == 2
    assert all(row.after < row.before for row in done)
    conv = constant(next(node for node in made.graph if node.op_type == "Conv").inputs[1])
    assert conv is not None
    # TensorRT's order: two of four input channels, at each place of the kernel apart
    groups = (conv == 0).reshape(24, 4, 4, 3, 3).sum(axis=2)
    assert (groups == 2).all()


def test_layers_that_are_too_wide_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first convolution sums over 144 terms; the Gemm, over 32, still gets its zeros."""
    monkeypatch.setattr("edgekit.pruning.sparsify.LARGEST_COLUMNS", 100)
    _, done, dense = _sparse(_image(), HALF, (16, 6, 6))
    assert [row.weights for row in done] == [1536]
    assert "it sums over 144 terms, of which all products" in dense[0].reason


def test_without_solving_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: the zeros of the same choice, the other weights as they were."""
    good = _sparse(_image(), Pattern(0.8), (16, 6, 6))[1]
    monkeypatch.setattr(module, "solve_on", _unsolved)
    bad = _sparse(_image(), Pattern(0.8), (16, 6, 6))[1]
    assert sum(row.after for row in bad) > 1.5 * sum(row.after for row in good)


def _unsolved(kept: Mask, left: Floats, right: Floats, start: Floats, *, steps: int = 0) -> Floats:
    del left, right, steps
    return np.where(kept, start, 0.0)


def test_the_float_model_is_left_alone() -> None:
    model = _image()
    before = io.to_bytes(model)
    _sparse(model, HALF, (16, 6, 6))
    assert io.to_bytes(model) == before


def test_a_weight_that_two_layers_share_is_solved_once() -> None:
    m = Model(seed=2)
    weight = m.weight(40, 40)
    y = m.add("Relu", m.add("MatMul", m.input("x", ("N", 40)), weight))
    model = as_ir(m.build(m.add("MatMul", y, weight)))
    _, done, dense = _sparse(model, HALF, (40,))
    assert len(done) == 1
    assert [row.reason for row in dense] == ["its weight has zeros already"]


# ---- what is asked for


def test_what_is_asked_for_is_read() -> None:
    assert asked_pattern(None, None) is None
    assert asked_pattern(0.7, None) == Pattern(0.7)
    assert asked_pattern(None, "2:4") == TWO_OF_FOUR
    assert (str(TWO_OF_FOUR), str(Pattern(0.7))) == ("2:4", "70%")


@pytest.mark.parametrize(
    ("sparsity", "pattern", "said"),
    [
        (0.5, "2:4", "both given"),
        (None, "4:2", "--pattern 4:2 is no pattern"),
        (None, "0:4", "--pattern 0:4 is no pattern"),
        (None, "half", "--pattern half is no pattern"),
    ],
)
def test_what_makes_no_sense_is_refused(sparsity: float | None, pattern: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked_pattern(sparsity, pattern)
