"""What is cut out is made good where it can be: on models for which the exact answer is known."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pruning import reconstruct as module
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.reconstruct import Repair, reconstruct
from edgekit.pruning.remove import remove
from edgekit.spec import Array, RunOptions
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream
from tests.unit.pruning.repaired import cut_and_repaired


def _repaired(model: ir.Model, places: dict[str, list[int]]) -> tuple[ir.Model, ir.Model, tuple[Repair, ...]]:
    """(as cut out, repaired, repairs); ``places``: weight -> rows that go."""
    found = dependencies(model)
    gone = {
        number
        for number, parts in found.parts.items()
        for part in parts
        if part.axis == 0 and set(part.indices) & set(places.get(part.initializer, []))
    }
    assert gone
    return cut_and_repaired(found, gone)


def _outputs(model: ir.Model, *, seed: int = 9) -> Array:
    """On samples that the repair did not see."""
    (feeds,) = stream(io.specs(model)[0][0], count=64, seed=seed)(64)
    (found,) = InProcess(model, RunOptions()).run(feeds).values()
    return found


def _off(model: ir.Model, other: ir.Model) -> float:
    """Root mean square difference as a part of the reference's."""
    a, b = _outputs(model).astype(np.float64), _outputs(other).astype(np.float64)
    return float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))


def _image(*, dependent: bool) -> ir.Model:
    """Two convolutions; with ``dependent`` channel 2 of the first is 0.5 * channel 0 - 2 * channel 1 + 1."""
    m = Model(seed=1)
    x = m.input("x", ("N", 3, 6, 6))
    weight = m.rng.standard_normal((6, 3, 3, 3)).astype(np.float32)
    bias = m.rng.standard_normal(6).astype(np.float32)
    if dependent:
        weight[2] = 0.5 * weight[0] - 2 * weight[1]
        bias[2] = 0.5 * bias[0] - 2 * bias[1] + 1
    y = m.add("Conv", x, m.constant(weight, "first"), m.constant(bias))
    second = m.constant(m.rng.standard_normal((4, 6, 1, 1)).astype(np.float32), "second")
    return as_ir(m.build(m.add("Relu", m.add("Conv", y, second, m.weight(4)))))


def test_a_channel_that_others_can_say_leaves_no_trace() -> None:
    """The rest is ridge (1e-4 of a second moment): 1 % of the output; as cut out it is most of it."""
    model = _image(dependent=True)
    cut, repaired, repairs = _repaired(model, {"first": [2]})
    assert _off(model, cut) > 0.3
    assert _off(model, repaired) < 0.01
    (repair,) = repairs
    assert repair.after < 1e-3 < repair.bias_only


def test_a_channel_of_its_own_is_made_good_in_part() -> None:
    model = _image(dependent=False)
    cut, repaired, (repair,) = _repaired(model, {"first": [2]})
    assert _off(model, repaired) < _off(model, cut)
    assert repair.after <= repair.bias_only <= repair.before


def test_a_constant_channel_becomes_a_bias() -> None:
    m = Model(seed=2)
    weight, bias = m.rng.standard_normal((5, 4)).astype(np.float32), np.zeros(5, np.float32)
    weight[1], bias[1] = 0, 7.0
    y = m.add(
        "Relu", m.add("Gemm", m.input("x", ("N", 4)), m.constant(weight, "first"), m.constant(bias), transB=1)
    )
    model = as_ir(m.build(m.add("Gemm", y, m.weight(3, 5), transB=1)))  # without a bias: it gets one (C4)
    cut, repaired, _ = _repaired(model, {"first": [1]})
    assert _off(model, cut) > 0.3
    assert _off(model, repaired) < 1e-3


def test_a_depthwise_layer_in_between_is_solved_group_by_group() -> None:
    m = Model(seed=3)
    x = m.input("x", ("N", 3, 6, 6))
    y = m.add("Conv", x, m.constant(m.rng.standard_normal((6, 3, 1, 1)).astype(np.float32), "first"))
    y = m.add("Relu", m.add("Conv", y, m.weight(6, 1, 3, 3), m.weight(6), group=6, pads=[1] * 4))
    model = as_ir(m.build(m.add("Conv", y, m.weight(4, 6, 1, 1), m.weight(4))))
    cut, repaired, _ = _repaired(model, {"first": [0, 3]})
    assert _off(model, repaired) < _off(model, cut)


def _residual() -> ir.Model:
    """Two branches that are added; the one that loses channels comes first."""
    m = Model(seed=4)
    x = m.input("x", ("N", 4, 6, 6))
    inner = m.add("Conv", x, m.constant(m.rng.standard_normal((6, 4, 1, 1)).astype(np.float32), "first"))
    lossy = m.add("Conv", m.add("Relu", inner), m.weight(4, 6, 1, 1), m.weight(4), out="lossy")
    other = m.add("Conv", m.add("Sigmoid", x), m.weight(4, 4, 1, 1), m.weight(4), out="other")
    return as_ir(m.build(m.add("Tanh", m.add("Add", lossy, other))))


def test_a_residual_makes_good_what_its_other_side_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """C2, seen to matter: without it the second branch, which lost nothing, stays as it is."""
    model = _residual()
    _, with_sum, _ = _repaired(model, {"first": [0, 1, 2]})
    monkeypatch.setattr(module, "_addition", lambda *_: None)
    _, without, _ = _repaired(model, {"first": [0, 1, 2]})
    assert _off(model, with_sum) < _off(model, without)


def test_layers_in_front_of_the_cut_keep_their_weights() -> None:
    m = Model(seed=5)
    x = m.input("x", ("N", 3, 6, 6))
    early = m.constant(m.rng.standard_normal((5, 3, 1, 1)).astype(np.float32), "early")
    first = m.constant(m.rng.standard_normal((6, 5, 1, 1)).astype(np.float32), "first")
    y = m.add("Relu", m.add("Conv", m.add("Relu", m.add("Conv", x, early)), first))
    model = as_ir(m.build(m.add("Conv", y, m.constant(np.ones((2, 6, 1, 1), np.float32), "late"))))
    _, repaired, repairs = _repaired(model, {"first": [1]})
    assert len(repairs) == 1
    for name, same in (("early", True), ("late", False)):
        new, old = constant(repaired.graph.initializers[name]), constant(model.graph.initializers[name])
        assert new is not None
        assert old is not None
        assert (new.shape == old.shape and np.array_equal(new, old)) is same


def test_sabotage_weights_of_other_channels_are_seen() -> None:
    """A repaired weight whose columns are turned around computes something else: the comparison sees it."""
    model = _image(dependent=True)
    _, repaired, _ = _repaired(model, {"first": [2]})
    weight = repaired.graph.initializers["second"]
    array = constant(weight)
    assert array is not None
    weight.const_value = ir.tensor(np.ascontiguousarray(array[:, ::-1]), name="second")
    assert _off(model, repaired) > 0.3


def test_the_pruned_model_that_was_handed_in_is_untouched() -> None:
    model = _image(dependent=False)
    found = dependencies(model)
    gone = found.groups[0].channels[:2]
    cut = remove(found, gone)
    before = io.to_bytes(cut)
    reconstruct(
        found,
        cut,
        gone,
        open_model=InProcess,
        batches=stream(io.specs(model)[0][0], count=32),
        count=32,
        seed=0,
    )
    assert io.to_bytes(cut) == before
