"""Each pass: what must fire, what must not, and that the numbers stay the same.

Tolerance: 2e-6 of the output's range (float32 rounds at 6e-8; folding re-associates a few operations).
Inputs: standard normal, seed 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.ir.verify import CANONICAL, breaches
from edgekit.passes import canonicalize
from edgekit.passes.merge_constants import MergeConstants
from edgekit.spec import Array


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(normal(*shape)) + np.float32(0.5)


BN = {"g": positive(4), "b": normal(4), "m": normal(4), "v": positive(4)}
BN_TEXT = "float[4] g, float[4] b, float[4] m, float[4] v"


@dataclass(frozen=True)
class Case:
    """One graph: its text, its constants, and which operators are left of it (None = only the numbers)."""

    id: str
    text: str
    left: Mapping[str, int]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    batch: int = 3


CASES = (
    Case(
        "equal constants are one",
        "g (float[n, 9] x) => (float[n, 9] y) <float[9, 9] a, float[9, 9] b, float[9, 9] c>"
        "{ p = MatMul(x, a) q = MatMul(p, b) y = MatMul(q, c) }",
        {"Gemm": 3},
        {"a": normal(9, 9), "b": normal(9, 9), "c": positive(9, 9)},
    ),
    Case(  # the result is (n, 4), and the source has one row: nothing but a size differs, and it repeats
        "expand of one row to the batch stays",
        "g (float[n, 4] x) => (float[n, 8] y) <float[1, 4] r, int64[1] zero, int64[1] one, int64[1] four>"
        "{ s = Shape(x) f = Slice(s, zero, one) t = Concat <axis = 0> (f, four)"
        " e = Expand(r, t) y = Concat <axis = 1> (x, e) }",
        {"Expand": 1, "Concat": 2, "Shape": 1, "Slice": 1},
        {"r": normal(1, 4), "zero": np.array([0]), "one": np.array([1]), "four": np.array([4])},
    ),
    Case(
        "batchnorm into conv",
        f"g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 2, 3, 3] w, {BN_TEXT}>"
        "{ a = Conv(x, w) y = BatchNormalization(a, g, b, m, v) }",
        {"Conv": 1},
        {"w": normal(4, 2, 3, 3), **BN},
    ),
    Case(
        "batchnorm into conv with bias",
        f"g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 2, 3, 3] w, float[4] c, {BN_TEXT}>"
        "{ a = Conv(x, w, c) y = BatchNormalization <epsilon = 0.01> (a, g, b, m, v) }",
        {"Conv": 1},
        {"w": normal(4, 2, 3, 3), "c": normal(4), **BN},
    ),
    Case(
        "batchnorm into a depthwise conv",
        f"g (float[n, 4, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 1, 3, 3] w, {BN_TEXT}>"
        "{ a = Conv <group = 4> (x, w) y = BatchNormalization(a, g, b, m, v) }",
        {"Conv": 1},
        {"w": normal(4, 1, 3, 3), **BN},
    ),
    Case(
        "batchnorm into a grouped transposed conv",
        f"g (float[n, 6, 5, 5] x) => (float[n, 4, 7, 7] y) <float[6, 2, 3, 3] w, {BN_TEXT}>"
        "{ a = ConvTranspose <group = 2> (x, w) y = BatchNormalization(a, g, b, m, v) }",
        {"ConvTranspose": 1},
        {"w": normal(6, 2, 3, 3), **BN},
    ),
    Case(
        "batchnorm into gemm with alpha, beta and transB",
        f"g (float[n, 3] x) => (float[n, 4] y) <float[4, 3] w, float[4] c, {BN_TEXT}>"
        "{ a = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w, c) y = BatchNormalization(a, g, b, m, v) }",
        {"Gemm": 1},
        {"w": normal(4, 3), "c": normal(4), **BN},
    ),
    Case(
        "batchnorm behind a dense layer of matmul and add",
        f"g (float[n, 3] x) => (float[n, 4] y) <float[3, 4] w, float[4] c, {BN_TEXT}>"
        "{ p = MatMul(x, w) a = Add(p, c) y = BatchNormalization(a, g, b, m, v) }",
        {"Gemm": 1},
        {"w": normal(3, 4), "c": normal(4), **BN},
    ),
    Case(
        "C1 batchnorm whose conv is read by another: stays",
        f"g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y, float[n, 4, 3, 3] z) <float[4, 2, 3, 3] w, "
        f"{BN_TEXT}>"
        "{ a = Conv(x, w) y = BatchNormalization(a, g, b, m, v) z = Relu(a) }",
        {"Conv": 1, "BatchNormalization": 1, "Relu": 1},
        {"w": normal(4, 2, 3, 3), **BN},
    ),
    Case(
        "C2 batchnorm behind weights that are computed: stays",
        f"g (float[n, 2, 5, 5] x, float[4, 2, 3, 3] w) => (float[n, 4, 3, 3] y) <{BN_TEXT}>"
        "{ a = Conv(x, w) y = BatchNormalization(a, g, b, m, v) }",
        {"Conv": 1, "BatchNormalization": 1},
        BN,
    ),
    Case(
        "C4 two convs with shared weights, one with batchnorm: only that one changes",
        f"g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y, float[n, 4, 3, 3] z) <float[4, 2, 3, 3] w, "
        f"{BN_TEXT}>"
        "{ a = Conv(x, w) y = BatchNormalization(a, g, b, m, v) z = Conv(x, w) }",
        {"Conv": 2},
        {"w": normal(4, 2, 3, 3), **BN},
    ),
    Case(
        "mul, add, sub, div of one value per channel into conv",
        "g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y)"
        "<float[4, 2, 3, 3] w, float[1, 4, 1, 1] s, float[4, 1, 1] t, float u = {0.75}, float[1, 4, 1, 1] d>"
        "{ a = Conv(x, w) b = Mul(s, a) c = Add(b, t) e = Sub(u, c) y = Div(e, d) }",
        {"Conv": 1},
        {"w": normal(4, 2, 3, 3), "s": normal(1, 4, 1, 1), "t": normal(4, 1, 1), "d": positive(1, 4, 1, 1)},
    ),
    Case(
        "an add of one value per column behind conv stays",
        "g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 2, 3, 3] w, float[3] t>"
        "{ a = Conv(x, w) y = Add(a, t) }",
        {"Conv": 1, "Add": 1},
        {"w": normal(4, 2, 3, 3), "t": normal(3)},
    ),
    Case(
        "a constant divided by conv stays",
        "g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 2, 3, 3] w, float u = {0.75}>"
        "{ a = Conv(x, w) b = Abs(a) c = Add(b, u) y = Div(u, c) }",
        {"Conv": 1, "Abs": 1, "Add": 1, "Div": 1},
        {"w": normal(4, 2, 3, 3)},
    ),
    Case(
        "a division by a constant with a zero stays",
        "g (float[n, 1, 3, 3] x) => (float[n, 2, 1, 1] y) <float[2, 1, 3, 3] w, float[2, 1, 1] d = {1, 0}>"
        "{ a = Conv(x, w) b = Div(a, d) y = Clip(b) }",
        {"Conv": 1, "Div": 1, "Clip": 1},
        {"w": normal(2, 1, 3, 3)},
    ),
    Case(
        "matmul alone becomes gemm",
        "g (float[n, 3] x) => (float[n, 4] y) <float[3, 4] w> { y = MatMul(x, w) }",
        {"Gemm": 1},
        {"w": normal(3, 4)},
    ),
    Case(
        "matmul of two activations stays",
        "g (float[n, 3] x, float[3, 4] w) => (float[n, 4] y) { y = MatMul(x, w) }",
        {"MatMul": 1},
    ),
    Case(
        "C1 matmul on rank 3 stays, with its add",
        "g (float[n, 2, 3] x) => (float[n, 2, 4] y) <float[3, 4] w, float[4] c> { a = MatMul(x, w) y "
        "= Add(a, c) }",
        {"MatMul": 1, "Add": 1},
        {"w": normal(3, 4), "c": normal(4)},
    ),
    Case(
        "bias of one value for all columns",
        "g (float[n, 3] x) => (float[n, 4] y) <float[3, 4] w, float c = {0.5}> { a = MatMul(x, w) y "
        "= Add(c, a) }",
        {"Gemm": 1},
        {"w": normal(3, 4)},
    ),
    Case(
        "C2 bias of one value per row stays an add",
        "g (float[4, 3] x) => (float[4, 4] y) <float[3, 4] w, float[4, 1] c> { a = MatMul(x, w) y = "
        "Add(a, c) }",
        {"Gemm": 1, "Add": 1},
        {"w": normal(3, 4), "c": normal(4, 1)},
        4,
    ),
    Case(
        "gemm with a bias of one row and transA",
        "g (float[3, 5] x) => (float[5, 4] y) <float[3, 4] w, float[1, 4] c> "
        "{ y = Gemm <alpha = 2.0, beta = 0.5, transA = 1> (x, w, c) }",
        {"Gemm": 1},
        {"w": normal(3, 4), "c": normal(1, 4)},
    ),
    Case(
        "gemm with a bias matrix keeps it, beta folded",
        "g (float[5, 3] x) => (float[5, 4] y) <float[3, 4] w, float[5, 4] c> { y = Gemm <beta = 0.5> "
        "(x, w, c) }",
        {"Gemm": 1},
        {"w": normal(3, 4), "c": normal(5, 4)},
        5,
    ),
    Case(
        "C3 gemm with beta on a computed bias stays as it is",
        "g (float[n, 3] x, float[4] c) => (float[n, 4] y) <float[3, 4] w> { y = Gemm <beta = 0.5> "
        "(x, w, c) }",
        {"Gemm": 1},
        {"w": normal(3, 4)},
    ),
    Case(
        "clamps become one clip",
        "g (float[n, 3] x) => (float[n, 3] y) <float low = {0}, float high = {0.5}> "
        "{ a = Max(x, low) b = Min(a, high) c = Relu(b) y = Clip(c, low, high) }",
        {"Clip": 1},
    ),
    Case(
        "a clip from 0 to infinity is a relu",
        "g (float[n, 3] x) => (float[n, 3] y) <float low = {0}, float high> { y = Clip(x, low, high) }",
        {"Relu": 1},
        {"high": np.array(np.inf, np.float32)},
    ),
    Case(
        "a clip from 0.1 is no relu",
        "g (float[n, 3] x) => (float[n, 3] y) <float low = {0.1}> { y = Clip(x, low) }",
        {"Clip": 1},
    ),
    Case(
        "a clip with computed bounds stays",
        "g (float[n, 3] x, float low) => (float[n, 3] y) { y = Clip(x, low) }",
        {"Clip": 1},
    ),
    Case(
        "padding goes into the convolution",
        "g (float[n, 1, 4, 4] x) => (float[n, 2, 4, 4] y) <float[2, 1, 3, 3] w, int64[8] p> "
        "{ a = Pad(x, p) y = Conv(a, w) }",
        {"Conv": 1},
        {"w": normal(2, 1, 3, 3), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    Case(
        "padding with ones stays",
        "g (float[n, 1, 4, 4] x) => (float[n, 2, 4, 4] y) <float[2, 1, 3, 3] w, int64[8] p, float one = {1}> "
        "{ a = Pad(x, p, one) y = Conv(a, w) }",
        {"Pad": 1, "Conv": 1},
        {"w": normal(2, 1, 3, 3), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    Case(
        "mean over space is global pooling",
        "g (float[n, 2, 4, 4] x) => (float[n, 2, 1, 1] y) <int64[2] axes = {2, 3}> { y = "
        "ReduceMean(x, axes) }",
        {"GlobalAveragePool": 1},
    ),
    Case(
        "mean over space behind a transpose, without the axes",
        "g (float[n, 2, 4, 4] x) => (float[n, 2] z) <int64[2] axes = {1, 2}> "
        "{ t = Transpose <perm = [0, 2, 3, 1]> (x) y = ReduceMean <keepdims = 0> (t, axes) z = Relu(y) }",
        {"GlobalAveragePool": 1, "Squeeze": 1, "Relu": 1},
    ),
    Case(
        "C2 mean behind a transpose that keeps the axes stays",
        "g (float[n, 2, 4, 4] x) => (float[n, 1, 1, 2] y) <int64[2] axes = {1, 2}> "
        "{ t = Transpose <perm = [0, 2, 3, 1]> (x) y = ReduceMean(t, axes) }",
        {"Transpose": 1, "ReduceMean": 1},
    ),
    Case(
        "C2 mean behind a transpose that changes the order of the rest stays",
        "g (float[n, 2, 4, 4] x) => (float[2, n] y) <int64[2] axes = {2, 3}> "
        "{ t = Transpose <perm = [1, 0, 2, 3]> (x) y = ReduceMean <keepdims = 0> (t, axes) }",
        {"Transpose": 1, "GlobalAveragePool": 1, "Squeeze": 1},
    ),
    Case(
        "C1 mean over channels stays",
        "g (float[n, 2, 4, 4] x) => (float[n, 1, 4, 4] y) <int64[1] axes = {1}> { y = ReduceMean(x, axes) }",
        {"ReduceMean": 1},
    ),
    Case(
        "identities of all kinds",
        "g (float[n, 3, 2] x) => (float[n, 3, 2] y)"
        "<float one = {1}, float zero = {0}, int64[3] same = {-1, 3, 2}, int64[6] none = {0, 0, 0, 0, 0, 0}>"
        "{ a = Identity(x) b = Dropout(a) c = Cast <to = 1> (b) d = Mul(c, one) e = Add(zero, d)"
        "  f = Reshape(e, same) h = Transpose <perm = [0, 1, 2]> (f) i = Concat <axis = 0> (h)"
        "  j = Pad(i, none) k = Transpose <perm = [0, 2, 1]> (j) l = Transpose <perm = [0, 2, 1]> "
        "(k) y = Neg(l) }",
        {"Neg": 1},
    ),
    Case(
        "C4 a cast that changes the type stays",
        "g (float[n, 3] x) => (int64[n, 3] y) { a = Relu(x) y = Cast <to = 7> (a) }",
        {"Relu": 1, "Cast": 1},
    ),
    Case(
        "C5 an identity between input and output stays",
        "g (float[n, 3] x) => (float[n, 3] y) { y = Identity(x) }",
        {"Identity": 1},
    ),
    Case(
        "a reshape of two unknown sizes stays",
        "g (float[n, 3, m] x) => (float[p, 3, q] y) <int64[3] s = {-1, 3, 6}> { a = Relu(x) y = "
        "Reshape(a, s) }",
        {"Relu": 1, "Reshape": 1},
        batch=6,
    ),
    Case(
        "constants fold, random numbers do not",
        "g (float[n, 3] x) => (float[n, 3] y) <float[3] w = {1, 2, 3}> "
        "{ a = Exp(w) b = Neg(a) y = Mul(x, b) }",
        {"Mul": 1},
    ),
    Case(
        "shape arithmetic on a dynamic batch",
        "g (float[n, 2, 3] x) => (float[n, 6] y) <int64 i = {0}, int64[1] u = {0}, int64[1] six = {6}> "
        "{ s = Shape(x) b = Gather(s, i) c = Unsqueeze(b, u) t = Concat <axis = 0> (c, six) y = "
        "Reshape(x, t) }",
        {"Reshape": 1},
    ),
    Case(
        "control flow keeps its branches",
        """g (float[n, 3] x, bool c) => (float[n, 3] y) {
            y = If (c) <then_branch = t () => (float[n, 3] a) { i = Identity(x) a = Relu(i) },
                        else_branch = e () => (float[n, 3] b) { b = Neg(x) }>
        }""",
        {"If": 1},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_canonical_form(
    case: Case,
    build: Callable[..., ir.Model],
    evaluate: Callable[[ir.Model, Mapping[str, Array]], list[Array]],
) -> None:
    model = build(case.text, **case.arrays)
    before = io.to_bytes(model)
    result = canonicalize(model)
    assert io.to_bytes(model) == before, "the model that was handed in is untouched"
    assert Counter(node.op_type for node in result.graph) == Counter(case.left)
    assert breaches(result, CANONICAL) == ()
    io.check(result)
    assert digest(canonicalize(result)) == digest(result), "canonical form is a fixed point"
    assert [value.name for value in result.graph.outputs] == [value.name for value in model.graph.outputs]
    feeds = {}
    for spec in io.specs(model)[0]:
        shape = [dim if isinstance(dim, int) else case.batch for dim in spec.shape]
        feeds[spec.name] = normal(*shape).astype(spec.dtype) if shape else np.ones((), spec.dtype)
    wanted, got = evaluate(model, feeds), evaluate(result, feeds)
    for expected, actual in zip(wanted, got, strict=True):
        finite = np.nan_to_num(np.asarray(expected, np.float64), posinf=1e30, neginf=-1e30)
        scale = max(float(np.ptp(finite)) if finite.size else 0.0, 1.0)
        other = np.nan_to_num(np.asarray(actual, np.float64), posinf=1e30, neginf=-1e30)
        np.testing.assert_allclose(other, finite, atol=2e-6 * min(scale, 1e6), rtol=0)


def test_equal_constants_are_merged_and_others_are_not(build: Callable[..., ir.Model]) -> None:
    text = (
        "g (float[n, 9] x) => (float[n, 9] y)"
        "<float[9, 9] a, float[9, 9] b, float[9, 9] c, float[2] s, float[2] t>"
        "{ p = MatMul(x, a) q = MatMul(p, b) r = MatMul(q, c) u = Concat <axis = 0> (s, t) y = Add(r, x) }"
    )
    other = normal(9, 9).copy()
    other[0, 0] += 1
    model = build(text, a=normal(9, 9), b=normal(9, 9), c=other, s=normal(2), t=normal(2))
    merged = MergeConstants().apply(model.clone())
    assert sorted(merged.graph.initializers) == ["a", "c", "s", "t"]
    read = [node.inputs[1] for node in merged.graph if node.op_type == "MatMul"]
    assert [value.name for value in read if value is not None] == ["a", "a", "c"]


def test_functions_are_inlined(evaluate: Callable[[ir.Model, Mapping[str, Array]], list[Array]]) -> None:
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
g (float[n, 3] x) => (float[n, 3] y) { a = local.twice(x) y = local.twice(a) }
<domain: "local", opset_import: ["" : 21]>
twice (p) => (q) { q = Add(p, p) }
""")
    result = canonicalize(model)
    assert Counter(node.op_type for node in result.graph) == Counter({"Add": 2})
    assert result.opset_imports == {"": 21}
    feeds = {"x": normal(2, 3)}
    np.testing.assert_array_equal(evaluate(result, feeds)[0], 4 * feeds["x"])


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20, 21, 22, 24])
def test_every_opset_arrives_at_21(
    opset: int,
    build: Callable[..., ir.Model],
    evaluate: Callable[[ir.Model, Mapping[str, Array]], list[Array]],
) -> None:
    model = build(
        "g (float[2, 1, 6, 6] x) => (float[2, 2, 2, 2] y) <float[2, 1, 3, 3] w> "
        "{ a = Conv(x, w) b = Relu(a) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b) }",
        opset=opset,
        w=normal(2, 1, 3, 3),
    )
    result = canonicalize(model)
    assert (result.opset_imports[""], result.ir_version) == (21, 10)
    feeds = {"x": normal(2, 1, 6, 6)}
    wanted, got = evaluate(model, feeds)[0], evaluate(result, feeds)[0]
    np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(wanted, np.float64), rtol=0, atol=1e-6)


def test_the_result_does_not_depend_on_the_order_of_initializers(build: Callable[..., ir.Model]) -> None:
    case = CASES[1]
    model, other = build(case.text, **case.arrays), build(case.text, **case.arrays)
    values = list(other.graph.initializers.items())[::-1]
    other.graph.initializers.clear()
    for _, value in values:
        other.graph.register_initializer(value)
    assert io.to_bytes(canonicalize(model)) == io.to_bytes(canonicalize(other))


def test_metadata_and_producer_leave_no_trace(build: Callable[..., ir.Model]) -> None:
    case = CASES[0]
    model, other = build(case.text, **case.arrays), build(case.text, **case.arrays)
    other.producer_name, other.doc_string = "torch", "exported today"
    for node in other.graph:
        node.metadata_props["trace"] = "somebody/model.py:1"
        node.outputs[0].metadata_props["trace"] = "somebody/model.py:1"
    assert io.to_bytes(canonicalize(model)) == io.to_bytes(canonicalize(other))


def test_overridable_initializers_become_weights(build: Callable[..., ir.Model]) -> None:
    case = next(case for case in CASES if case.id == "matmul alone becomes gemm")
    model = build(case.text, **case.arrays)
    model.graph.inputs.append(model.graph.initializers["w"])
    assert [value.name for value in canonicalize(model).graph.inputs] == ["x"]


def test_batchnorm_in_training_mode_stays(build: Callable[..., ir.Model]) -> None:
    model = build(
        f"g (float[n, 2, 5, 5] x) => (float[n, 4, 3, 3] y) <float[4, 2, 3, 3] w, {BN_TEXT}>"
        "{ a = Conv(x, w) y, rm, rv = BatchNormalization <training_mode = 1> (a, g, b, m, v) }",
        w=normal(4, 2, 3, 3),
        **BN,
    )
    assert "BatchNormalization" in {node.op_type for node in canonicalize(model).graph}


def test_dropout_in_training_mode_stays(build: Callable[..., ir.Model]) -> None:
    model = build(
        "g (float[n, 3] x) => (float[n, 3] y) <float r = {0.5}, bool t = {1}> { a = Relu(x) y = "
        "Dropout(a, r, t) }"
    )
    assert {node.op_type for node in canonicalize(model).graph} == {"Relu", "Dropout"}
