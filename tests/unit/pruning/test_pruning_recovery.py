"""Distillation: the pruned model comes closer to the float model; what it cannot train is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.pruning import class_scores, torch_graph
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.recover import recover
from edgekit.pruning.remove import remove
from edgekit.pruning.sensitivity import output_error
from edgekit.spec import Array, RunOptions
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream

torch = pytest.importorskip("torch")
COUNT = 128


def _network() -> ir.Model:
    m = Model(seed=1)
    x = m.input("x", ("N", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(8, 3, 3, 3), m.weight(8), pads=[1] * 4))
    z = m.add("Conv", y, m.weight(8, 8, 3, 3, scale=0.2), m.weight(8), pads=[1] * 4)
    y = m.add("Relu", m.add("Add", y, z))
    y = m.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    return as_ir(m.build(m.add("Gemm", y, m.weight(4, 8), m.weight(4), transB=1)))


def test_training_brings_the_pruned_model_closer() -> None:
    model = _network()
    found = dependencies(model)
    (group,) = found.groups
    pruned = remove(found, group.channels[:3])
    batches = stream(io.specs(model)[0][0], count=COUNT)
    trained, said = recover(model, pruned, batches=batches, count=COUNT, epochs=80, seed=0, threads=1)
    fresh = stream(io.specs(model)[0][0], count=COUNT, seed=9)  # not those that it saw
    errors = [
        output_error(model, each, open_model=InProcess, batches=fresh, count=COUNT)
        for each in (pruned, trained)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert said.last < said.first
    assert [list(value.shape or ()) for value in trained.graph.initializers.values()] == [
        list(value.shape or ()) for value in pruned.graph.initializers.values()
    ]


def test_a_model_that_is_the_teacher_stays_it() -> None:
    model = _network()
    batches = stream(io.specs(model)[0][0], count=64)
    trained, said = recover(model, model, batches=batches, count=64, epochs=1, seed=0, threads=1)
    assert said.first < 1e-9
    error = output_error(model, trained, open_model=InProcess, batches=batches, count=64)
    assert error < 1e-9


def test_every_row_computes_what_onnx_runtime_computes() -> None:
    """One graph with the operators that are not in the network above; 1e-5 of the largest value."""
    m = Model(seed=2)
    x = m.input("x", ("N", 4, 6, 6))
    first = m.add("Split", x, axis=1, num_outputs=2, outputs=2)
    y = m.add("Concat", m.add("Sigmoid", first), m.add("HardSwish", f"{first}_1"), axis=1)
    y = m.add("PRelu", m.add("Sub", y, m.weight(1, 4, 1, 1)), m.weight(4, 1, 1))
    y = m.add("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = m.add("Pad", y, m.ints(0, 1, 0, 0, 0, 1, 1, 0))
    moments = (*(m.weight(6) for _ in range(3)), m.floats(0.5, 1, 2, 3, 0.1, 4))
    y = m.add("BatchNormalization", m.add("Log", m.add("Exp", y)), *moments, epsilon=1e-3)
    y = m.add("Slice", y, m.ints(0, 4), m.ints(6, -100), m.ints(1, 2), m.ints(1, -1))
    y = m.add("Clip", m.add("Mul", y, m.scalar(1.5)), m.scalar(-2.0), m.scalar(2.0))
    y = m.add("Transpose", y, perm=[0, 2, 3, 1])
    y = m.add("Reshape", y, m.ints(0, -1, 6))
    y = m.add("LayerNormalization", y, m.weight(6), m.weight(6), axis=-1)
    y = m.add("Softmax", m.add("MatMul", m.add("Gelu", y), m.weight(6, 5)), axis=-1)
    y = m.add("Div", m.add("Exp", m.add("Tanh", y)), m.add("Sqrt", m.scalar(2.0)))
    y = m.add(
        "Squeeze", m.add("Unsqueeze", m.add("Erf", m.add("LeakyRelu", y, alpha=0.2)), m.ints(1)), m.ints(1)
    )
    model = as_ir(m.build(m.add("HardSigmoid", m.add("ReduceMean", y, m.ints(1), keepdims=0))))
    torch_graph.check(model)
    (feeds,) = stream(io.specs(model)[0][0], count=3)(3)
    expected = InProcess(model, RunOptions()).run(feeds)
    constants = {
        name: torch.from_numpy(np.array(value.const_value.numpy()))
        for name, value in model.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }
    found = torch_graph.function(model)(constants, {"x": torch.from_numpy(np.array(feeds["x"]))})
    for name, value in expected.items():
        off = np.abs(found[name].detach().numpy() - value.astype(np.float64)).max()
        assert off <= 1e-5 * np.abs(value.astype(np.float64)).max()


def _sentences() -> ir.Model:
    """An embedding, a mask that is computed from ids as frameworks export it, a mean over what it leaves."""
    m = Model(seed=3)
    ids = m.input("ids", ("N", 6), "int64")
    words = m.add("Gather", m.weight(9, 8), ids)
    count = m.add("Squeeze", m.add("Shape", ids, start=1, end=2), m.ints(0))
    places = m.add(
        "Range", m.add("Abs", m.add("Neg", m.constant(np.array(0)))), count, m.constant(np.array(1))
    )
    near = m.add("Not", m.add("Or", m.add("Equal", places, m.ints(1)), m.add("Less", places, m.ints(-1))))
    seen = m.add("And", m.add("Greater", ids, m.ints(0)), m.add("GreaterOrEqual", m.ints(4), places))
    seen = m.add("And", seen, m.add("And", near, m.add("LessOrEqual", places, m.ints(5))))
    seen = m.add("Expand", m.add("Unsqueeze", seen, m.ints(-1)), m.ints(1, 6, 8))
    words = m.add("Where", seen, words, m.scalar(0.0))
    left = m.add("ReduceSum", m.add("Cast", seen, to=1), m.ints(1), keepdims=0)
    mean = m.add("Mul", m.add("ReduceSum", words, m.ints(1), keepdims=0), m.add("Reciprocal", left))
    mean = m.add("Max", m.add("Min", mean, m.weight(8)), m.add("Pow", m.weight(8), m.scalar(2.0)))
    picked = m.add("GatherND", mean, m.constant(np.array([[0, 1], [1, 7], [2, 3]])))
    return as_ir(m.build(m.add("Add", m.add("Gemm", mean, m.weight(8, 5)), m.add("ReduceSum", picked))))


def test_rows_of_what_computes_masks_and_looks_up_words() -> None:
    model = _sentences()
    torch_graph.check(model)
    feeds = {"ids": np.array([[1, 2, 0, 8, 3, 4], [5, 0, 6, 7, 0, 1], [2, 2, 2, 0, 0, 1]])}
    (expected,) = InProcess(model, RunOptions()).run(feeds).values()
    constants = {
        name: torch.from_numpy(np.array(value.const_value.numpy()))
        for name, value in model.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }
    table = next(node for node in model.graph if node.op_type == "Gather").inputs[0]
    assert table is not None
    assert table.name not in constants  # O3
    (found,) = torch_graph.function(model)(constants, {"ids": torch.from_numpy(feeds["ids"])}).values()
    assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_d7_zeros_stay_where_they_are_and_without_it_they_are_filled() -> None:
    model = _network()
    sparse = model.clone()
    name = next(node for node in sparse.graph if node.op_type == "Gemm").inputs[1].name or ""  # type: ignore[union-attr]
    array = np.array(sparse.graph.initializers[name].const_value.numpy())  # type: ignore[union-attr]
    array[:, ::2] = 0
    sparse.graph.initializers[name].const_value = ir.tensor(array, name=name)
    batches = stream(io.specs(model)[0][0], count=COUNT)
    zeros = []
    for kept in ((name,), ()):
        trained, said = recover(
            model, sparse, batches=batches, count=COUNT, epochs=20, seed=0, threads=1, zeros=kept
        )
        weight = trained.graph.initializers[name].const_value
        assert weight is not None
        zeros.append(int((weight.numpy()[:, ::2] == 0).sum()))
        assert (weight.numpy()[:, 1::2] != array[:, 1::2]).all()
        assert said.last < said.first
    assert zeros == [array[:, ::2].size, 0]


def test_an_operator_that_cannot_be_trained_is_named() -> None:
    m = Model()
    y = m.add("LRN", m.input("x", ("N", 4, 6, 6)), size=3)
    model = as_ir(m.build(m.add("Conv", y, m.weight(2, 4, 1, 1))))
    with pytest.raises(InputError, match="recovery does not know LRN"):
        torch_graph.check(model)


def test_what_lies_in_front_of_a_logarithm_stays() -> None:
    """O3: filters and a scale before it; behind it, and without it, weights are trained."""
    m = Model(seed=3)
    y = m.add("MatMul", m.input("x", ("N", 4, 6, 6)), m.weight(6, 5))
    y = m.add("Log", m.add("Add", m.add("Mul", y, m.weight(5)), m.scalar(9.0)))
    y = m.add("Conv", y, m.weight(2, 4, 1, 1))
    moments = (m.weight(2), m.weight(2), m.weight(2), m.weight(2))
    model = as_ir(m.build(m.add("BatchNormalization", y, *moments)))
    sizes = [
        list(value.shape or ())
        for value in model.graph.initializers.values()
        if torch_graph.is_trainable(value)
    ]
    assert sizes == [[2, 4, 1, 1], [2], [2]]


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    """Sabotage: data that overflows."""
    model = _network()
    found = dependencies(model)
    pruned = remove(found, found.groups[0].channels[:3])

    def batches(size: int) -> Iterator[dict[str, Array]]:
        yield {"x": np.full((size, 3, 8, 8), 3e38, np.float32)}

    with pytest.raises(InputError, match="not finite"):
        recover(model, pruned, batches=batches, count=64, epochs=1, seed=0, threads=1)


def _first_class(labels: Array | None, *, softmax: bool = False) -> float:
    """The mean chance of the first class, by a model that was recovered from itself and ``labels``."""
    m = Model(seed=1)
    scores = m.add("Gemm", m.input("x", ("N", 8)), m.weight(4, 8), m.weight(4), transB=1)
    model = as_ir(m.build(m.add("Softmax", scores) if softmax else scores))
    batches = stream(io.specs(model)[0][0], count=COUNT)
    trained, _ = recover(
        model, model, batches=batches, count=COUNT, epochs=40, seed=0, threads=1, labels=labels
    )
    with InProcess(trained, RunOptions()) as session:
        found = np.concatenate([next(iter(session.run(feeds).values())) for feeds in batches(COUNT)])
    chances = found if softmax else np.exp(found) / np.exp(found).sum(1, keepdims=True)
    return float(chances[:, 0].mean())


@pytest.mark.parametrize("softmax", [False, True])
def test_d5_labels_say_where_the_float_model_is_wrong(softmax: bool) -> None:
    """By labels of the first class it gets likelier, by labels of another less likely."""
    without = _first_class(None, softmax=softmax)
    assert _first_class(np.zeros(COUNT, np.int64), softmax=softmax) > without + 0.01
    assert _first_class(np.ones(COUNT, np.int64), softmax=softmax) < without - 0.002


def test_d6_without_labels_the_float_models_own_class_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is sure, recovered from itself, gets surer; without D6 it stays as it is."""
    m = Model(seed=1)
    scores = m.add("Gemm", m.input("x", ("N", 8)), m.weight(6, 8, scale=0.8), m.weight(6), transB=1)
    model = as_ir(m.build(scores))
    batches = stream(io.specs(model)[0][0], count=COUNT)

    def own_class() -> float:
        trained, _ = recover(model, model, batches=batches, count=COUNT, epochs=40, seed=0, threads=1)
        with InProcess(model, RunOptions()) as first, InProcess(trained, RunOptions()) as second:
            (said,), (found,) = (session.run(next(batches(COUNT))).values() for session in (first, second))
        chances = np.exp(found) / np.exp(found).sum(1, keepdims=True)
        return float(chances[np.arange(COUNT), said.argmax(1)].mean())

    learned = own_class()
    monkeypatch.setattr("edgekit.pruning.recover.choices", lambda scores: None)
    assert learned > own_class() + 0.005


def test_d6_what_names_classes_and_what_may_be_something_else() -> None:
    rng = np.random.default_rng(0)
    sure = torch.from_numpy(rng.normal(0, 6, (256, 10)).astype(np.float32))
    assert torch.equal(class_scores.choices(sure), sure.argmax(1))
    chances = torch.softmax(sure / 20, 1)  # not sure, but chances
    assert torch.equal(class_scores.choices(chances), chances.argmax(1))
    box = sure[:, :4].abs() + torch.tensor([0, 0, 30, 0])
    others = {
        "an embedding": sure / sure.norm(dim=1, keepdim=True),
        "a place": sure[:, :2],
        "a box": box,
        "an image": sure.reshape(256, 1, 2, 5),
        "one number": sure[:, :1],
        "always the same": torch.tensor([[0.0, 1.0]]).repeat(256, 1),
        "not finite": torch.where(sure > 12, torch.inf, sure),
    }
    assert [name for name, scores in others.items() if class_scores.choices(scores) is not None] == []


def test_d5_a_label_that_no_score_belongs_to() -> None:
    with pytest.raises(InputError, match="label 4 of the calibration data is no class of the model"):
        _first_class(np.full(COUNT, 4, np.int64))
