"""What is found out about dynamic sizes by computing them twice, and how units and files use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from edgekit.backends.litert.probing import Probed, probe
from edgekit.spec import Dim
from tests.unit.litert.litert_models import (
    Model,
    as_ir,
    codes,
    compiled,
    relative_error,
    run_litert,
    run_onnx,
)

TOLERANCE = 1e-4  # as in tests/parity


def _shape_of(m: Model, x: str, *, rest: tuple[int, ...]) -> str:
    """(batch, *rest) as exporters write it."""
    batch = m.add("Slice", m.add("Shape", x), m.ints(0), m.ints(1))
    return m.add("Concat", batch, m.ints(*rest), axis=0)


def _masked(m: Model) -> str:
    """A mask of ones, spread over the batch, between the scores of an attention."""
    x = m.input("x", ("batch", 4, 6))
    ones = m.add("Expand", m.constant(np.tril(np.ones((1, 4, 4), np.float32))), _shape_of(m, x, rest=(4, 4)))
    scores = m.add("MatMul", x, m.add("Transpose", x, perm=[0, 2, 1]))
    return m.add("Softmax", m.add("Mul", scores, ones))


def _state(m: Model) -> str:
    """Zeros of (1, batch, 3) that a Concat reads: they must be made at run time."""
    x = m.input("x", ("batch", 3))
    batch = m.add("Slice", m.add("Shape", x), m.ints(0), m.ints(1))
    shape = m.add("Concat", m.ints(1), batch, m.ints(3), axis=0)
    zeros = m.add("Expand", m.floats(0.5), shape)
    return m.add("Concat", zeros, m.add("Unsqueeze", x, m.ints(0)), axis=0)


def _grid(m: Model) -> str:
    """GatherND by (b, i): what torch makes of an indexed mask."""
    x = m.input("x", ("batch", 5))
    batch = m.add("Squeeze", m.add("Slice", m.add("Shape", x), m.ints(0), m.ints(1)))
    rows = m.add("Range", m.constant(np.asarray(0)), batch, m.constant(np.asarray(1)))
    rows = m.add("Unsqueeze", rows, m.ints(1, 2))
    spread = m.add("Concat", m.add("Shape", rows, end=1), m.ints(4, 1), axis=0)
    columns = m.add("Expand", m.constant(np.asarray([[[4], [0], [2], [2]]])), spread)
    pairs = m.add("Concat", m.add("Expand", rows, spread), columns, axis=-1)
    return m.add("GatherND", m.add("Relu", x), pairs)


def _heads(m: Model) -> str:
    """A reshape to (4 * batch, 3, 2) and back."""
    x = m.input("x", ("batch", 4, 3, 2))
    merged = m.add("Reshape", x, m.ints(-1, 3, 2))
    product = m.add("MatMul", merged, m.add("Transpose", merged, perm=[0, 2, 1]))
    return m.add("Reshape", product, _shape_of(m, x, rest=(4, 3, 3)))


def _bools(m: Model) -> str:
    x = m.input("x", ("batch", 3))
    keep = m.add("Expand", m.constant(np.asarray([[True, False, True]])), _shape_of(m, x, rest=(3,)))
    both = m.add("Concat", keep, m.add("Greater", x, m.floats(0)), axis=1)
    return m.add("Cast", both, to=1)


def _exception(m: Model) -> str:
    """A batch of 1 is negated: what two larger sizes would not show."""
    x = m.input("x", ("batch", 3))
    alone = m.add("Equal", m.add("Shape", x, end=1), m.ints(1))
    return m.add("Where", alone, m.add("Neg", x), x)


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[Model], str]
    operators: tuple[str, ...]


CASES = (
    Case("mask", _masked, ("BATCH_MATMUL", "MUL", "SOFTMAX")),
    Case("state", _state, ("RESHAPE", "SLICE", "LESS", "RESHAPE", "CAST", "ADD", "CONCATENATION")),
    Case("grid", _grid, ("RELU", "GATHER")),
    Case("heads", _heads, ("RESHAPE", "BATCH_MATMUL", "RESHAPE")),
    Case("exception", _exception, ("SHAPE", "GATHER", "EQUAL", "NEG", "SELECT_V2")),
    Case(
        "bools",
        _bools,
        ("GREATER", "SLICE", "LESS", "LOGICAL_OR", "CONCATENATION", "CAST"),
    ),
)


def _built(case: Case) -> onnx.ModelProto:
    model = Model()
    return model.build(case.make(model))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_dynamic_batch_survives(case: Case) -> None:
    built = _built(case)
    assert codes(built) == list(case.operators)
    shape = compiled(built).inputs[0].shape
    for batch in (1, 2, 5):
        rng = np.random.default_rng(batch)
        feeds = {
            "x": rng.standard_normal([d if isinstance(d, int) else batch for d in shape]).astype(np.float32)
        }
        (expected,) = run_onnx(built, feeds).values()
        for kernels in ("xnnpack", "builtin"):
            (found,) = run_litert(built, feeds, kernels=kernels).values()
            assert relative_error(found, expected) <= TOLERANCE


def test_a_spread_constant_is_the_same_for_inputs_that_are_no_numbers() -> None:
    built = _built(CASES[1])
    feeds = {"x": np.asarray([[np.nan, np.inf, -np.inf]], np.float32)}
    (found,) = run_litert(built, feeds, kernels="builtin").values()
    np.testing.assert_array_equal(found[0], np.full((1, 3), 0.5, np.float32))


def test_a_spread_constant_is_carried_by_bytes_too() -> None:
    model = Model()
    x = model.input("x", ("batch", 3), "uint8")
    ones = model.add("Expand", model.floats(2), _shape_of(model, x, rest=(3,)))
    built = model.build(model.add("Concat", ones, model.add("Cast", x, to=1), axis=1))
    feeds = {"x": np.arange(6, dtype=np.uint8).reshape(2, 3)}
    (expected,) = run_onnx(built, feeds).values()
    (found,) = run_litert(built, feeds).values()
    np.testing.assert_array_equal(found, expected)


def _probe(*inputs: tuple[str, tuple[Dim, ...]], make: Callable[[Model], str]) -> tuple[Probed, str]:
    model = Model()
    for name, shape in inputs:
        model.input(name, shape)
    result = make(model)
    return probe(as_ir(model.build(result))), result


def test_sizes_are_named_by_what_they_depend_on() -> None:
    found, result = _probe(
        ("x", ("batch", "time", 4)),
        make=lambda m: m.add("Expand", m.add("Reshape", "x", m.ints(-1, 2)), m.ints(3, 1, 2)),
    )
    merged = found.shapes[result]
    assert merged[0] == 3
    assert merged[2] == 2
    assert isinstance(merged[1], str)
    assert merged[1] not in {"batch", "time"}


def test_a_multiple_of_the_batch_says_so() -> None:
    found, result = _probe(
        ("x", ("batch", 4)),
        make=lambda m: m.add("Expand", m.add("Reshape", "x", m.ints(-1, 1)), m.ints(1, 3)),
    )
    assert found.shapes[result] == ("4*batch", 3)


def test_what_depends_on_the_batch_is_no_constant() -> None:
    """The counterpart: Size(x) differs between the two choices."""
    found, result = _probe(("x", ("batch", 4)), make=lambda m: m.add("Mul", m.add("Shape", "x"), m.ints(2)))
    assert result not in found.constants
    assert [int(array[0]) for array in found.known[result]] == [6, 34]


def test_nothing_is_computed_for_a_model_without_shape_arithmetic() -> None:
    found, _ = _probe(("x", ("batch", 4)), make=lambda m: m.add("Relu", "x"))
    assert found == Probed()


def test_nothing_is_computed_for_fixed_sizes() -> None:
    found, _ = _probe(("x", (2, 4)), make=lambda m: m.add("Shape", "x"))
    assert found == Probed()


def test_the_model_stays_as_it_was() -> None:
    model = as_ir(_built(CASES[0]))
    before = [(node.op_type, [str(out.shape) for out in node.outputs]) for node in model.graph]
    probe(model)
    assert [(node.op_type, [str(out.shape) for out in node.outputs]) for node in model.graph] == before
