"""Values that are read from where the last reading ended: equal to those from the inputs, and less is run.

Tolerance: 1e-6 of the value's range; a graph that starts elsewhere is fused otherwise.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import external_data, set_aside
from edgekit.ir.graph import constant
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.remove import remove
from edgekit.pruning.resume import Resumed
from edgekit.pruning.sparsify import sparsify
from edgekit.pruning.stream import values
from edgekit.pruning.zeros import Pattern
from edgekit.spec import Array, RunOptions, TensorSpec
from tests.unit.ir.mapped import is_mapped
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream

COUNT = 96
DATA = stream(TensorSpec("x", "float32", ("N", 40)), count=COUNT)


class Counted(InProcess):
    """How many nodes each session has."""

    nodes: list[int]

    def __init__(self, model: ir.Model, options: RunOptions) -> None:
        super().__init__(model, options)
        type(self).nodes.append(len(list(model.graph)))


@pytest.fixture(autouse=True)
def fresh() -> None:
    Counted.nodes = []


def _model() -> ir.Model:
    """Three dense layers with a shortcut around the second: a -> b (+ a) -> c."""
    m = Model(seed=5)
    a = m.add("Relu", m.add("Gemm", m.input("x", ("N", 40)), m.weight(64, 40), m.weight(64), transB=1))
    b = m.add("Add", m.add("Gemm", a, m.weight(64, 64), m.weight(64), transB=1), a)
    return as_ir(m.build(m.add("Gemm", m.add("Tanh", b), m.weight(40, 64), m.weight(40), transB=1, out="c")))


def _read(resumed: Resumed, model: ir.Model, name: str) -> Array:
    parts = resumed.values(model, [name], open_model=Counted, batches=DATA, count=COUNT, size=32)
    return np.concatenate([part[name] for part in parts])


def _straight(model: ir.Model, name: str) -> Array:
    parts = values(model, [name], open_model=InProcess, batches=DATA, count=COUNT, size=32)
    return np.concatenate([part[name] for part in parts])


def _off(one: Array, other: Array) -> float:
    """Of the other's range."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.abs(a - b).max() / np.ptp(b))


def _owner(array: Array) -> object:
    """Whose memory it is."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base


def _names(model: ir.Model) -> list[str]:
    return [node.outputs[0].name or "" for node in model.graph]


@pytest.mark.parametrize("limit", [2**30, 1])
def test_each_value_is_what_the_whole_graph_gives(limit: int) -> None:
    """With room for all that was read, and with room for one."""
    model, resumed = _model(), Resumed(limit)
    for name in _names(model):
        assert _off(_read(resumed, model, name), _straight(model, name)) <= 1e-6


def test_a_reading_starts_where_the_last_one_ended() -> None:
    model, resumed = _model(), Resumed()
    for name in _names(model):
        _read(resumed, model, name)
    assert Counted.nodes == [1] * len(_names(model))
    again = _read(resumed, model, _names(model)[-1])
    assert len(Counted.nodes) == len(_names(model))  # W3: nothing is run for it
    assert np.array_equal(again, _read(resumed, model, _names(model)[-1]))


def test_what_is_dropped_is_computed_again() -> None:
    model, resumed = _model(), Resumed(1)
    for name in _names(model):
        _read(resumed, model, name)
    assert len(resumed.held) == 1
    assert max(Counted.nodes) > 1


def test_beside_a_large_model_what_is_held_lies_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """W2; sabotage: beside a small one it is in memory."""
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", 0)
    for large_from, mapped in ((8, True), (2**40, False)):
        monkeypatch.setattr(external_data, "LARGE_BYTES", large_from)
        model, resumed = _model(), Resumed()
        for name in _names(model):
            assert _off(_read(resumed, model, name), _straight(model, name)) <= 1e-6
        assert {is_mapped(part) for parts in resumed.held.values() for part in parts} == {mapped}


def test_beside_a_large_model_small_batches_lie_in_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: of many samples they are large, and of each value they are one file."""
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    model, resumed = _model(), Resumed()
    first = _read(resumed, model, _names(model)[0])
    (parts,) = resumed.held.values()
    assert len(parts) == 3
    assert all(map(is_mapped, parts))
    assert len({id(_owner(part)) for part in parts}) == 1
    assert np.array_equal(first, np.concatenate(parts))


def _chain(blocks: int) -> ir.Model:
    """x -> x + Gemm(Tanh(x)), several times: layers read behind ``tanh``, and the sum goes around them."""
    m = Model(seed=5)
    x = m.input("x", ("N", 40))
    for number in range(blocks):
        tanh = m.add("Tanh", x, out=f"tanh{number}")
        x = m.add("Add", x, m.add("Gemm", tanh, m.weight(40, 40), m.weight(40), transB=1))
    return as_ir(m.build(m.add("Relu", x, out="y")))


@pytest.mark.parametrize("large", [True, False])
def test_of_a_large_model_shortcuts_are_held_too(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: a reading runs one block. Sabotage: of a small model, whose digits are to stay, all of them."""
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8 if large else 2**40)
    model = _chain(5)
    resumed = Resumed.beside(model)
    for number in range(5):
        assert _off(_read(resumed, model, f"tanh{number}"), _straight(model, f"tanh{number}")) <= 1e-6
    assert Counted.nodes == ([1, 3, 3, 3, 3] if large else [1, 3, 5, 7, 9])


def test_a_weight_in_front_of_what_is_held_is_not_seen() -> None:
    """Sabotage of W1: whoever changes it gets what the old weights gave."""
    model, resumed = _model(), Resumed()
    first, last = _names(model)[0], _names(model)[-1]
    _read(resumed, model, first)
    weight = next(value for value in model.graph.initializers.values() if list(value.shape or ()) == [64, 40])
    weight.const_value = ir.tensor(np.zeros((64, 40), np.float32), name=weight.name)
    assert _off(_read(resumed, model, last), _straight(model, last)) > 0.1


def test_zeros_are_the_same_as_when_everything_is_run_from_the_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def solved() -> list[Array]:
        made, _, _ = sparsify(_model(), Pattern(0.5), open_model=Counted, batches=DATA, count=COUNT, seed=0)
        return [array for value in made.graph.initializers.values() if (array := constant(value)) is not None]

    resumed, cost = solved(), sum(Counted.nodes)
    Counted.nodes.clear()
    monkeypatch.setattr(Resumed, "values", lambda self, *args, **named: values(*args, **named))
    straight = solved()
    assert cost < sum(Counted.nodes)
    for one, other in zip(resumed, straight, strict=True):
        assert _off(one, other) <= 1e-3


def test_layers_are_solved_from_where_the_last_reading_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dependencies(_model())
    gone = found.groups[0].channels[:16]

    def solved() -> list[float]:
        _, repairs = reconstruct(
            found, remove(found, gone), gone, open_model=Counted, batches=DATA, count=COUNT, seed=0
        )
        return [repair.after for repair in repairs]

    resumed, cost = solved(), sum(Counted.nodes)
    Counted.nodes.clear()
    monkeypatch.setattr(Resumed, "values", lambda self, *args, **named: values(*args, **named))
    straight = solved()
    assert len(straight) == 2
    assert cost < sum(Counted.nodes)
    assert resumed == pytest.approx(straight, rel=1e-3)
