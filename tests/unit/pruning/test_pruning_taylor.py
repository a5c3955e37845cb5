"""Importance by gradients: on models where the right answer is known. Seeds are in the models."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.pruning import taylor
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.importance import Method, Order, order_channels
from edgekit.pruning.layers import layers
from edgekit.spec import Array
from tests.unit.litert.litert_models import Floats, Model, as_ir, run_onnx
from tests.unit.pruning.in_process import InProcess, stream

torch = pytest.importorskip("torch")

COUNT = 256


def _dense(first: Floats, second: Floats, *, softmax: bool = False) -> ir.Model:
    """x (N, in) -> ReLU(x first^T) second^T: class scores, or chances."""
    m = Model()
    y = m.add("Relu", m.add("Gemm", m.input("x", ("N", first.shape[1])), m.constant(first), transB=1))
    y = m.add("Gemm", y, m.constant(second, "second"), transB=1)
    return as_ir(m.build(m.add("Softmax", y, axis=-1) if softmax else y))


def _weights(seed: int, *, channels: int = 6, classes: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((channels, 8)).astype(np.float32)
    return first, rng.standard_normal((classes, channels)).astype(np.float32)


def _order(model: ir.Model, method: Method = "taylor", *, labels: Array | None = None) -> Order:
    (found,) = order_channels(
        dependencies(model),
        method=method,
        open_model=InProcess,
        batches=stream(io.specs(model)[0][0], count=COUNT),
        count=COUNT,
        labels=labels,
        seed=0,
    )
    return found


def _places(order: Order) -> list[int]:
    return [order.group.channels.index(channel) for channel in order.channels]


@pytest.mark.parametrize("softmax", [False, True], ids=["scores", "chances"])
def test_what_moves_all_classes_alike_goes_first(softmax: bool) -> None:
    """A planted channel that changes every score by the same: no class gains. Others keep it for its size."""
    first, second = _weights(1)
    second[:, 2] = 5.0
    model = _dense(first, second, softmax=softmax)
    order = _order(model)
    assert _places(order)[0] == 2
    assert order.errors[0] < 1e-6 * order.errors[1]
    methods: tuple[Method, ...] = ("activation", "magnitude", "obs")
    for method in methods:
        assert _places(_order(model, method))[-1] == 2


def test_a_channel_that_nobody_reads_goes_first() -> None:
    first, second = _weights(2)
    second[:, 4] = 0
    order = _order(_dense(first, second))
    assert _places(order)[0] == 4
    assert order.errors[0] == 0


def test_labels_decide_where_there_are_any() -> None:
    """Each channel speaks for its own class: the loss needs most what speaks for the class of the labels."""
    model = _dense(np.eye(4, 8, dtype=np.float32), 0.1 * np.eye(4, dtype=np.float32))
    for label in (1, 2):
        order = _order(model, labels=np.full(COUNT, label))
        assert _places(order)[-1] == label
        assert order.errors[-1] > 2 * order.errors[-2]
    errors = _order(model).errors  # without labels no class is worth more than another
    assert errors[-1] < 3 * errors[0]


def test_a_label_that_is_no_class_is_refused() -> None:
    model = _dense(*_weights(3))
    with pytest.raises(InputError, match="label 9 of the calibration data is no class"):
        _order(model, labels=np.full(COUNT, 9))


def test_the_change_is_the_derivative_that_differences_give() -> None:
    """Two layers of convolutions and a residual: every reader's columns times 1 + eps and 1 - eps.

    Tolerance: 1 % of the largest change; differences of float32 losses are known to no more.
    """
    m = Model(seed=4)
    x = m.input("x", ("N", 3, 6, 6))
    y = m.add("Relu", m.add("Conv", x, m.weight(6, 3, 3, 3, scale=0.5), pads=[1] * 4))
    y = m.add("Add", y, m.add("Tanh", m.add("Conv", y, m.weight(6, 6, 3, 3, scale=0.3), pads=[1] * 4)))
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    proto = m.build(m.add("Gemm", y, m.weight(3, 6, scale=2.0), transB=1, out="scores"))
    found = dependencies(as_ir(proto))
    readers = [layer for layer in layers(found.model) if layer.index > 0]
    image = np.random.default_rng(5).standard_normal((1, 3, 6, 6)).astype(np.float32)
    label = np.array([1])
    squares = taylor.worth(
        found, readers, batches=lambda size: iter([{"x": image}]), count=1, labels=label, seed=0
    )
    by_name = {each.name: each for each in proto.graph.initializer}

    def loss(channel: int, factor: float) -> float:
        changed = type(proto)()
        changed.CopyFrom(proto)
        for name, axis, indices in taylor._columns(found, readers)[channel]:
            from onnx import numpy_helper

            array = numpy_helper.to_array(by_name[name]).copy()
            array[(slice(None),) * axis + (list(indices),)] *= factor
            place = next(i for i, each in enumerate(changed.graph.initializer) if each.name == name)
            changed.graph.initializer[place].CopyFrom(numpy_helper.from_array(array, name))
        row = run_onnx(changed, {"x": image})["scores"][0].astype(np.float64)
        return float(np.log(np.exp(row).sum()) - row[1])

    wanted = {c: ((loss(c, 1.01) - loss(c, 0.99)) / 0.02) ** 2 for c in squares}
    largest = max(wanted.values())
    assert largest > 1e-4
    for channel, square in squares.items():
        assert abs(square**0.5 - wanted[channel] ** 0.5) < 0.01 * largest**0.5


def test_outputs_that_are_no_classes_have_an_order_too() -> None:
    """T3: an image as the output; a channel whose columns are a tenth costs a hundredth."""
    m = Model(seed=6)
    y = m.add("Relu", m.add("Conv", m.input("x", ("N", 2, 5, 5)), m.weight(5, 2, 3, 3), m.weight(5)))
    last = m.rng.standard_normal((2, 5, 1, 1)).astype(np.float32)
    last[:, 3] = last[:, 1] * 0.01
    order = _order(as_ir(m.build(m.add("Conv", y, m.constant(last)))))
    assert _places(order)[0] == 3


def test_one_seed_gives_one_order() -> None:
    model = _dense(*_weights(7))
    assert _order(model).errors == _order(model).errors


def test_an_operator_without_gradients_is_named() -> None:
    m = Model(seed=8)
    y = m.add("Selu", m.add("Gemm", m.input("x", ("N", 8)), m.weight(6, 8), transB=1))
    model = as_ir(m.build(m.add("Gemm", y, m.weight(3, 6), transB=1)))
    with pytest.raises(InputError, match=r"taylor\) do not know Selu") as caught:
        _order(model)
    assert "obs" in caught.value.remedy


def test_sabotage_a_loss_without_labels_of_its_own_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: the divergence itself is flat where nothing has changed; drawn labels are what makes it seen."""

    def flat(outputs: dict[str, object], labels: object, rng: object) -> object:
        del labels, rng
        (scores,) = outputs.values()
        logs = torch.log_softmax(scores, dim=1)
        return (logs.detach().exp() * (logs.detach() - logs)).sum()

    honest = _order(_dense(*_weights(9))).errors
    monkeypatch.setattr(taylor, "_loss", flat)
    assert max(_order(_dense(*_weights(9))).errors) < 1e-6 * max(honest)
