"""Channels that a normalization is computed over: what goes with them, what is fitted to those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pruning import reconstruct as module
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.reconstruct import Repair
from edgekit.pruning.remove import remove
from edgekit.pruning.scales import Fit, fit_scale
from edgekit.spec import Array, RunOptions
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream
from tests.unit.pruning.repaired import cut_and_repaired

WIDTH, HALF = 8, 4
Kind = Literal["LayerNormalization", "RMSNormalization"]
KINDS: tuple[Kind, ...] = ("LayerNormalization", "RMSNormalization")


def _transformer(kind: Kind = "LayerNormalization", *, twice: bool, biased: bool = True) -> ir.Model:
    """Values (N, 5, 4) -> width 8 -> two residual blocks with a normalization behind each -> scores.

    ``twice``: all that writes into the width says everything twice, so one half of it holds it all.
    """
    m = Model(seed=5)

    def written(*shape: int) -> Array:
        array = m.rng.standard_normal(shape).astype(np.float32)
        return np.concatenate([array[..., :HALF]] * 2, axis=-1) if twice else array

    def normalized(x: str, number: int) -> str:
        scale = m.constant(1 + np.float32(0.3) * np.abs(written(WIDTH)), f"scale{number}")
        bias = [m.constant(written(WIDTH), f"shift{number}")] if biased and kind == KINDS[0] else []
        return m.add(kind, x, scale, *bias, axis=-1, epsilon=1e-3)

    x = m.add("MatMul", m.input("x", ("N", 5, 4)), m.constant(written(4, WIDTH), "first"))
    x = normalized(m.add("Add", x, m.constant(written(WIDTH), "first_bias")), 0)
    for number in range(2):
        inner = m.add("Relu", m.add("MatMul", x, m.weight(WIDTH, 12)))
        y = m.add("MatMul", inner, m.constant(written(12, WIDTH), f"second{number}"))
        x = m.add("Add", x, m.add("Add", y, m.constant(written(WIDTH), f"bias{number}")))
        x = normalized(x, number + 1)
    pooled = m.add("ReduceMean", x, m.ints(1), keepdims=0)
    return as_ir(m.build(m.add("Gemm", pooled, m.weight(3, WIDTH), m.weight(3), transB=1), opset=23))


def _width(found: Dependencies) -> tuple[int, ...]:
    (group,) = (each for each in found.groups if ("first", 1) in each.places)
    return group.channels


def _repaired(model: ir.Model, places: Sequence[int]) -> tuple[ir.Model, ir.Model, tuple[Repair, ...]]:
    """(as cut out, repaired, repairs) without those places of the width."""
    found = dependencies(model, embedding_widths=True)
    return cut_and_repaired(found, [_width(found)[place] for place in places])


def _off(model: ir.Model, other: ir.Model) -> float:
    """Root mean square difference on samples that the repair did not see, as a part of the reference's."""
    (feeds,) = stream(io.specs(model)[0][0], count=64, seed=9)(64)
    found = [InProcess(each, RunOptions()).run(feeds).values() for each in (model, other)]
    (a,), (b,) = ([np.asarray(each, np.float64) for each in values] for values in found)
    return float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_bias_go_with_the_width(kind: Kind) -> None:
    found = dependencies(_transformer(kind, twice=False), embedding_widths=True)
    assert len(_width(found)) == WIDTH
    names = {part.initializer for part in found.parts[_width(found)[0]]}
    wanted = {"scale1", "shift1"} if kind == KINDS[0] else {"scale1"}
    assert names >= wanted | {"first", "first_bias", "second0", "second1", "bias0"}
    made = remove(found, _width(found)[:3])
    scales = [constant(made.graph.initializers[f"scale{number}"]) for number in range(3)]
    assert [None if each is None else each.shape for each in scales] == [(5,)] * 3
    InProcess(made, RunOptions())  # it opens


def test_it_stays_where_nobody_asks_for_it() -> None:
    found = dependencies(_transformer(twice=False))
    assert not [group for group in found.groups if ("first", 1) in group.places]
    assert any("takes mean and variance over all of them" in each.reason for each in found.kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_width_that_says_everything_twice_may_be_halved(kind: Kind) -> None:
    """Mean and variance of either half are those of the whole: what is left is the ridge of the solution."""
    model = _transformer(kind, twice=True)
    cut, repaired, _ = _repaired(model, range(HALF, WIDTH))
    assert _off(model, cut) > 0.3
    assert _off(model, repaired) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_bias_are_fitted(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each normalization is nearer to the float model's; without the fit, the whole is farther from it."""
    model = _transformer(kind, twice=False)
    cut, repaired, repairs = _repaired(model, [1, 6])
    names = {node.name for node in model.graph if node.op_type == kind}
    fits = [each for each in repairs if each.layer in names]
    assert len(fits) == 3
    assert all(each.after <= each.bias_only <= each.before for each in fits)
    assert fits[0].after < 0.95 * fits[0].before
    assert _off(model, repaired) < _off(model, cut)

    def left(made: ir.Model, node: ir.Node, seen: Iterable[tuple[Array, Array]]) -> Fit:
        other = made.clone()
        return fit_scale(other, next(each for each in other.graph if each.name == node.name), seen)

    monkeypatch.setattr(module, "fit_scale", left)
    assert _off(model, repaired) < _off(model, _repaired(model, [1, 6])[1])


def test_a_layer_normalization_without_a_bias_gets_one() -> None:
    model = _transformer(twice=False, biased=False)
    _, repaired, _ = _repaired(model, [1, 6])
    nodes = [node for node in repaired.graph if node.op_type == KINDS[0]]
    assert all(len(node.inputs) == 3 and constant(node.inputs[2]) is not None for node in nodes)
    assert all(len(node.inputs) == 2 for node in model.graph if node.op_type == KINDS[0])


def test_a_channel_that_never_changes_keeps_its_scale() -> None:
    """F2: its variance is zero, and no number divided by it goes anywhere."""
    m = Model()
    value = m.input("x", ("N", 3))
    old = m.constant(np.array([1, 2, 3], np.float32), "scale")
    made = as_ir(m.build(m.add("RMSNormalization", value, old, axis=-1), opset=23))
    (node,) = made.graph
    x = np.array([[0, 1, 2], [0, 3, 1]], np.float32)
    fit_scale(made, node, [(x, x)])
    scale = constant(made.graph.initializers["scale"])
    assert scale is not None
    assert scale[0] == 1
    assert np.isfinite(scale).all()
