"""A pass that leaves onnxscript out has nothing to do: held against onnxscript, over ONNX's node tests."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases

from edgekit.errors import EdgekitError
from edgekit.ir.graph import walk
from edgekit.ir.infer import fill_in_shapes
from edgekit.ir.quiet import quiet
from edgekit.passes import (
    CANONICAL_PASSES,
    eliminate_identity,
    fold_constants,
    fuse_activation,
    fuse_padding,
    infer_shapes,
)
from edgekit.passes.base import Pass
from edgekit.passes.eliminate_identity import EliminateIdentity
from edgekit.passes.find_foldable import EVALUATED, foldable
from edgekit.passes.fold_constants import FoldConstants, take_elements
from edgekit.passes.fuse_activation import FuseActivation
from edgekit.passes.fuse_padding import FusePadding
from edgekit.passes.infer_shapes import InferShapes
from edgekit.spec import Array

EVERY = 13  # of the 1,900 cases; all of them take two minutes, and were tried once


def models() -> list[ir.Model]:
    """Node tests as they are, and with all inputs but the first as constants."""
    found = []
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cases' own casts
        for case in collect_testcases(None)[::EVERY]:
            proto = onnx.ModelProto()
            proto.CopyFrom(case.model)
            found.append(ir.from_proto(proto))
            arrays = case.data_sets[0][0]
            pairs = list(zip(proto.graph.input, arrays, strict=False))[1:]
            if not all(isinstance(array, np.ndarray) for _, array in pairs):
                continue
            for value, array in pairs:
                proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
            del proto.graph.input[1:]
            found.append(ir.from_proto(proto))
    return found


def before(model: ir.Model, wanted: type[Pass]) -> ir.Model | None:
    """``model`` as it reaches the first pass of this type; None where it does not get there."""
    current = model.clone()
    try:
        with quiet():
            for each in CANONICAL_PASSES:
                if isinstance(each, wanted):
                    return current
                current = each.apply(current)
    except (EdgekitError, ValueError, TypeError):
        return None
    return None


@dataclass(frozen=True)
class Case:
    """A pass, and the name in its module of what says that onnxscript has nothing to do."""

    id: str
    kind: type[Pass]
    module: Any
    guard: str
    seen: bool  # whether the node tests have what it looks for


def always(*_: object) -> bool:
    return True


def never(*_: object) -> bool:
    return False


CASES = (
    Case("fold", FoldConstants, fold_constants, "foldable", seen=True),
    Case("identity", EliminateIdentity, eliminate_identity, "_has_a_pair", seen=True),
    Case("padding", FusePadding, fuse_padding, "_may_match", seen=False),
    Case("activation", FuseActivation, fuse_activation, "follows", seen=False),
)


def form(model: ir.Model) -> list[object]:
    """Operators, names, attributes and shapes."""
    return [
        (node.op_type, [v and v.name for v in node.inputs], [(v.name, str(v.shape)) for v in node.outputs])
        for node in walk(model)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_left_out_would_have_changed_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, changed = 0, 0
    for model in models():
        ready = before(model, case.kind)
        if ready is None:
            continue
        with quiet():
            short = case.kind().apply(ready.clone())
            with monkeypatch.context() as patch:
                patch.setattr(case.module, case.guard, always)
                whole = case.kind().apply(ready.clone())
            with monkeypatch.context() as patch:
                patch.setattr(case.module, case.guard, never)
                changed += form(case.kind().apply(ready.clone())) != form(whole)
        assert form(short) == form(whole), ready.graph.name
        compared += 1
    assert compared > 200
    assert bool(changed) == case.seen, "a guard that always says no would not be noticed"


def test_the_table_of_evaluators_is_onnxscripts() -> None:
    """A new version that does more must be seen: its operators belong into F1, or get a case of their own."""
    from onnxscript.optimizer._constant_folding import registry

    assert {name for domain, name in registry.op_evaluators if not domain} == EVALUATED - {"Constant"}


@dataclass(frozen=True)
class Graph:
    id: str
    text: str
    foldable: bool
    constants: tuple[str, ...] = ()


GRAPHS = (
    Graph("F1-shape", "(float[n, 3] x) => (int64[2] y) { y = Shape(x) }", foldable=True),
    Graph("F1-identity", "(float[n] x) => (float[n] y) { y = Identity(x) }", foldable=True),
    Graph(
        "F2-constants", "(float[n] x) => (float[n] y) <float c> { a = Add(c, c) y = Add(x, a) }", True, ("c",)
    ),
    Graph("F2-one-is-not", "(float[n] x) => (float[n] y) <float c> { y = Add(x, c) }", False, ("c",)),
    Graph("F3-same-type", "(float[n] x) => (float[n] y) { y = Cast<to=1>(x) }", foldable=True),
    Graph("F3-other-type", "(float[n] x) => (int64[n] y) { y = Cast<to=7>(x) }", foldable=False),
    Graph("F4-computed", "(float[2] x, int64[1] s) => (float[k] y) { y = Reshape(x, s) }", foldable=True),
    Graph("F5-one-input", "(float[n] x) => (float[n] y) { y = Concat<axis=0>(x) }", foldable=True),
    Graph(
        "F5-nothing", "(float[0] x, float[2] z) => (float[2] y) { y = Concat<axis=0>(x, z) }", foldable=True
    ),
    Graph("F5-two", "(float[1] x, float[2] z) => (float[3] y) { y = Concat<axis=0>(x, z) }", foldable=False),
    Graph("nothing", "(float[n] x) => (float[n] y) { a = Relu(x) y = Exp(a) }", foldable=False),
)


@pytest.mark.parametrize("case", GRAPHS, ids=lambda case: case.id)
def test_each_case_counts_and_its_neighbour_does_not(case: Graph, build: Any) -> None:
    model = build(f"g {case.text}", **{name: np.float32(2) for name in case.constants})
    assert foldable(model) == case.foldable


@pytest.mark.parametrize(("to", "folds"), [((3, 2), False), ((2, 3), True)], ids=["another-shape", "its-own"])
def test_a_reshape_counts_where_it_does_nothing(to: tuple[int, int], folds: bool, build: Any) -> None:
    text = "g (float[2, 3] x) => (float[a, b] y) <int64[2] s> { y = Reshape(x, s) }"
    assert foldable(build(text, s=np.array(to))) == folds


@pytest.mark.parametrize(("rows", "columns", "axis"), [(3, 128, 1), (3, 128, -2), (2, 40, 1)])
def test_gathered_elements_are_right_beyond_32(rows: int, columns: int, axis: int) -> None:
    """``out[i, j] = data[i, index[i, j]]``, negative indices from the end; numpy.choose ends at 32."""
    rng = np.random.default_rng(0)
    data: Array = rng.standard_normal((rows, columns)).astype(np.float32)
    limit = data.shape[axis]
    index = rng.integers(-limit, limit, (rows - 1, columns - 5))
    expected = np.array(
        [
            [data[i, index[i, j]] if axis == 1 else data[index[i, j], j] for j in range(columns - 5)]
            for i in range(rows - 1)
        ]
    )
    assert np.array_equal(take_elements(data, index, axis), expected)


def test_gathered_constants_are_a_constant(build: Any) -> None:
    text = "g (float[1, 128] x) => (float[1, 128] y) <float[1, 128] d, int64[1, 128] i> "
    text += "{ a = GatherElements<axis=1>(d, i) y = Add(x, a) }"
    data = np.arange(128, dtype=np.float32)[None]
    model = FoldConstants().apply(build(text, d=data, i=127 - np.arange(128)[None]))
    assert [node.op_type for node in model.graph] == ["Add"]
    folded = model.graph[0].inputs[1]
    assert folded is not None
    assert folded.const_value is not None
    assert np.array_equal(folded.const_value.numpy(), data[:, ::-1])


def test_gathered_elements_of_what_was_folded_are_folded(build: Any) -> None:
    """BERT's token types: an export that kept them was no fixed point, so that compiling proved it anew."""
    text = "g (float[2, 128] x) => (float[2, 128] y) "
    text += "<float[1, 128] d, int64[2] s, float[2, 128] o, int64[2, 128] i> "
    text += "{ e = Expand(d, s) f = Add(e, o) a = GatherElements<axis=1>(f, i) b = Neg(a) y = Add(x, b) }"
    data, offset = np.arange(128, dtype=np.float32)[None], np.full((2, 128), 0.5, np.float32)
    index = np.stack([127 - np.arange(128), np.arange(128)])
    model = FoldConstants().apply(build(text, d=data, s=np.array([2, 128]), o=offset, i=index))
    assert [node.op_type for node in model.graph] == ["Add"]
    folded = model.graph[0].inputs[1]
    assert folded is not None
    assert folded.const_value is not None
    assert np.array_equal(folded.const_value.numpy(), -(index + 0.5).astype(np.float32))


def test_inference_runs_again_only_where_a_size_is_not_a_number(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def counted(model: ir.Model) -> ir.Model:
        ran.append(1)
        return fill_in_shapes(model)

    monkeypatch.setattr(infer_shapes, "fill_in_shapes", counted)
    for sizes, again, times in (("[2, 3]", True, 0), ("[2, 3]", False, 1), ("[n, 3]", True, 1)):
        ran.clear()
        InferShapes(again=again).apply(
            build(f"g (float{sizes} x) => (float{sizes} y) {{ a = Exp(x) y = Exp(a) }}")
        )
        assert len(ran) == times, (sizes, again)


def test_the_first_inference_is_a_whole_one() -> None:
    kinds = [each for each in CANONICAL_PASSES if isinstance(each, InferShapes)]
    assert [each.again for each in kinds] == [False, *[True] * (len(kinds) - 1)]
