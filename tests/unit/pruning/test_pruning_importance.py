"""Which channel goes first: on layers where the right answer is known. Seeds are in the models."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import external_data, io, set_aside
from edgekit.pruning import importance
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.importance import Method, Order, Reader, order_channels
from edgekit.pruning.layers import layers
from edgekit.pruning.stream import OpenModel
from edgekit.spec import RunOptions, Session
from tests.unit.litert.litert_models import Floats, Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream


def _dense(first: Floats, second: Floats, bias: Floats | None = None) -> ir.Model:
    """x (N, in) -> ReLU(x first^T + bias) second^T, the first weight (channels, in)."""
    m = Model()
    x = m.input("x", ("N", first.shape[1]))
    more = [] if bias is None else [m.constant(bias)]
    y = m.add("Relu", m.add("Gemm", x, m.constant(first, "first"), *more, transB=1))
    return as_ir(m.build(m.add("Gemm", y, m.constant(second, "second"), transB=1)))


def _order(model: ir.Model, method: Method, *, count: int = 512) -> Order:
    (found,) = order_channels(
        dependencies(model),
        method=method,
        open_model=InProcess,
        batches=stream(io.specs(model)[0][0], count=count),
        count=count,
        seed=0,
    )
    return found


def _places(order: Order) -> list[int]:
    """Channels as indices of the first layer's rows."""
    return [order.group.channels.index(channel) for channel in order.channels]


def test_of_two_channels_that_say_the_same_one_goes_first_and_the_other_stays() -> None:
    rng = np.random.default_rng(1)
    first = rng.standard_normal((6, 8)).astype(np.float32)
    first[4] = first[1]
    second = rng.standard_normal((3, 6)).astype(np.float32)
    second[:, [1, 4]] *= 3  # large: magnitude and activation keep both
    places = _places(_order(_dense(first, second), "obs"))
    assert places[0] in {1, 4}
    assert ({1, 4} - {places[0]}).pop() in places[-2:]
    others: tuple[Method, ...] = ("magnitude", "activation")
    for method in others:
        assert not set(_places(_order(_dense(first, second), method))[:2]) & {1, 4}


def test_a_channel_that_never_changes_costs_nothing_whatever_its_size() -> None:
    rng = np.random.default_rng(2)
    first = rng.standard_normal((5, 8)).astype(np.float32)
    first[3] = 0
    bias = np.zeros(5, np.float32)
    bias[3] = 50.0
    second = rng.standard_normal((3, 5)).astype(np.float32)
    order = _order(_dense(first, second, bias), "obs")
    assert _places(order)[0] == 3
    assert order.errors[0] < 1e-3  # the ridge
    assert _places(_order(_dense(first, second, bias), "activation"))[-1] == 3  # it does not know of biases


def test_activation_weighs_by_what_arrives() -> None:
    first = np.eye(4, dtype=np.float32) * np.array([[3.0], [1.0], [2.0], [0.5]], np.float32)
    second = np.ones((2, 4), np.float32)
    assert _places(_order(_dense(first, second), "activation")) == [3, 1, 2, 0]


def test_magnitude_looks_at_no_data() -> None:
    def never(model: ir.Model, options: RunOptions) -> Session:
        raise AssertionError("magnitude opened a model")

    rng = np.random.default_rng(3)
    model = _dense(
        rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((2, 4)).astype(np.float32)
    )
    (order,) = order_channels(
        dependencies(model),
        method="magnitude",
        open_model=never,
        batches=stream(io.specs(model)[0][0], count=4),
        count=4,
        seed=0,
    )
    assert order.readers == ()
    assert list(order.errors) == sorted(order.errors)


def test_the_error_that_is_foretold_is_the_one_that_is_left() -> None:
    """Least squares over the same samples: foretold and found agree to 5 % (ridge of 1e-3)."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4000, 6)) @ rng.standard_normal((6, 6))
    weight = rng.standard_normal((3, 6)).astype(np.float32)
    m = Model()
    y = m.add("Gemm", m.input("x", ("N", 6)), m.constant(weight, "second"), transB=1)
    (layer,) = layers(as_ir(m.build(y)))
    reader = Reader.of(layer, x.T @ x / len(x), x.mean(axis=0))
    centred, wanted = x - x.mean(axis=0), (x - x.mean(axis=0)) @ weight.T
    for gone in range(6):
        kept = [each for each in range(6) if each != gone]
        solved = np.linalg.lstsq(centred[:, kept], wanted, rcond=None)[0]
        left = ((wanted - centred[:, kept] @ solved) ** 2).sum() / (wanted**2).sum()
        assert reader.error([gone]) == pytest.approx(left, rel=0.05, abs=1e-3)


def test_dropping_one_after_the_other_is_dropping_both() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((500, 5)) @ rng.standard_normal((5, 5))
    m = Model()
    weight = rng.standard_normal((2, 5)).astype(np.float32)
    (layer,) = layers(as_ir(m.build(m.add("Gemm", m.input("x", ("N", 5)), m.constant(weight), transB=1))))
    reader = Reader.of(layer, x.T @ x / len(x), x.mean(axis=0))
    both = reader.error([1, 3])
    one = reader.error([1])
    reader.drop([1])
    assert one + reader.error([3]) == pytest.approx(both, rel=1e-6)


def test_moments_of_few_readers_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: with no memory, as of a large model, every reader has a pass of its own; orders are the same."""
    m = Model(seed=6)
    x = m.input("x", ("N", 3, 6, 6))
    y = m.add("Relu", m.add("Conv", x, m.weight(6, 3, 3, 3)))
    y = m.add("Relu", m.add("Conv", y, m.weight(8, 6, 3, 3)))
    y = m.add("Flatten", m.add("GlobalAveragePool", m.add("Conv", y, m.weight(4, 8, 1, 1))))
    model = as_ir(m.build(m.add("Gemm", y, m.weight(2, 4), transB=1)))
    orders = []
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", 0)
    for limit, large_from, passes in ((importance.MEMORY_BYTES, 2**40, 1), (0, 2**40, 3), (2**40, 8, 3)):
        monkeypatch.setattr(importance, "MEMORY_BYTES", limit)
        monkeypatch.setattr(external_data, "LARGE_BYTES", large_from)
        InProcess.opened = 0
        orders.append(
            [
                order.channels
                for order in order_channels(
                    dependencies(model),
                    method="obs",
                    open_model=_typed(InProcess),
                    batches=stream(io.specs(model)[0][0], count=32),
                    count=32,
                    seed=0,
                )
            ]
        )
        assert InProcess.opened == passes
    assert orders[0] == orders[1] == orders[2]


def _typed(opener: OpenModel) -> OpenModel:
    return opener


def test_all_channels_at_once_cost_what_each_alone_does() -> None:
    """To 1e-9 of it, of channels of one column and of nine."""
    rng = np.random.default_rng(8)
    m = Model()
    y = m.add("Relu", m.add("Conv", m.input("x", ("N", 3, 8, 8)), m.weight(6, 3, 1, 1)))
    conv = as_ir(m.build(m.add("Conv", y, m.weight(5, 6, 3, 3))))
    for layer in (layers(conv)[1], layers(_dense(*(rng.standard_normal((6, 6)).astype("f4"),) * 2))[1]):
        x = rng.standard_normal((200, layer.shape[2]))
        reader = Reader.of(layer, x.T @ x / 200, x.mean(axis=0))
        columns = [reader.columns([channel]) for channel in range(6)]
        alone = [reader.error(each) for each in columns]
        assert reader.errors(columns) == pytest.approx(alone, rel=1e-9)
        ragged = [[*columns[0], *columns[1]], columns[2]]
        assert reader.errors(ragged) == [reader.error(each) for each in ragged]


def test_a_layer_holds_no_copy_of_its_weight() -> None:
    model = _dense(np.eye(4, dtype=np.float32), np.ones((2, 4), np.float32))
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    for layer in layers(model):
        stored = model.graph.initializers[layer.weight_name].const_value
        assert stored is not None
        assert np.shares_memory(layer.stored, stored.numpy())
