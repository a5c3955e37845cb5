"""ONNX operators as torch functions compute what ONNX Runtime computes.

Tolerance: 1e-5 of the output's range, float32 rounding through one operator; seed by case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends import torch_module
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.torch_operators import OPERATORS, UnsupportedError
from edgekit.passes import canonicalize
from edgekit.spec import Array, RunOptions

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    feeds: Mapping[str, Array] = field(default_factory=dict)


X = {"x": normal(2, 3, 6, 7)}
ROW = {"x": normal(3, 8)}
IMAGE = "(float[2, 3, 6, 7] x)"
CASES = (
    Case(
        "conv, uneven pads",
        f"g {IMAGE} => (float[n, c, h, w] y) {{ y = Conv <pads = [0, 1, 1, 2], strides = [2, 1]> (x, w0) }}",
        {"w0": normal(4, 3, 3, 3)},
        X,
    ),
    Case(
        "conv, groups and dilation",
        f"g {IMAGE} => (float[n, c, h, w] y) {{ y = Conv <group = 3, dilations = [2, 2], pads = [2, 2, 2, 2]>"
        " (x, w0, b) }",
        {"w0": normal(6, 1, 3, 3), "b": normal(6)},
        X,
    ),
    Case(
        "max pool, wide and uneven pads",
        f"g {IMAGE} => (float[n, c, h, w] y) {{ y = MaxPool <kernel_shape = [2, 3], pads = [0, 1, 1, 1], "
        "strides = [2, 2]> (x) }",
        feeds=X,
    ),
    Case(
        "mean pool that counts what is padded",
        f"g {IMAGE} => (float[n, c, h, w] y) {{ y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], "
        "count_include_pad = 1> (x) }",
        feeds=X,
    ),
    Case(
        "mean pool that does not",
        f"g {IMAGE} => (float[n, c, h, w] y) {{ y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
        " (x) }",
        feeds=X,
    ),
    Case("global mean", f"g {IMAGE} => (float[2, 3, 1, 1] y) {{ y = GlobalAveragePool(x) }}", feeds=X),
    Case(
        "gemm with factors",
        "g (float[3, 8] x) => (float[3, 5] y) { y = Gemm <alpha = 0.5, beta = 2.0> (x, w0, b) }",
        {"w0": normal(8, 5), "b": normal(5)},
        ROW,
    ),
    Case(
        "products of one input, with and without a bias",
        "g (float[3, 8] x) => (float[3, 5] y, float[3, 4] z) "
        "{ p = MatMul(x, w0) y = Add(p, b) z = MatMul(x, w1) }",
        {"w0": normal(8, 5), "w1": normal(8, 4), "b": normal(5)},
        ROW,
    ),
    Case(
        "three products side by side",
        "g (float[2, 3, 8] x) => (float[2, 3, 5] y, float[2, 3, 4] z) "
        "{ p = MatMul(x, w0) y = Add(b, p) q = MatMul(x, w1) z = Add(q, c) }",
        {"w0": normal(8, 5), "w1": normal(8, 4), "b": normal(5), "c": normal(4)},
        {"x": normal(2, 3, 8)},
    ),
    Case(
        "layer normalization over two axes",
        "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = LayerNormalization <axis = 1> (x, s, b) }",
        {"s": normal(3, 4), "b": normal(3, 4)},
        {"x": normal(2, 3, 4)},
    ),
    Case(
        "reshape that copies a size",
        "g (float[2, 3, 4] x) => (float[2, 12] y) <int64[2] s = {0, -1}> { y = Reshape(x, s) }",
        feeds={"x": normal(2, 3, 4)},
    ),
    Case(
        "flatten from the end",
        "g (float[2, 3, 4] x) => (float[6, 4] y) { y = Flatten <axis = -1> (x) }",
        feeds={"x": normal(2, 3, 4)},
    ),
    Case(
        "slice with steps from the end",
        "g (float[2, 9] x) => (float[2, 3] y) <int64[1] a = {-7}, int64[1] e = {9}, int64[1] d = {-1}, "
        "int64[1] s = {3}> { y = Slice(x, a, e, d, s) }",
        feeds={"x": normal(2, 9)},
    ),
    Case(
        "split",
        "g (float[2, 9] x) => (float[2, 4] y, float[2, 5] z) <int64[2] s = {4, 5}> "
        "{ y, z = Split <axis = -1> (x, s) }",
        feeds={"x": normal(2, 9)},
    ),
    Case(
        "gather from the end, on an inner axis",
        "g (float[2, 9, 3] x, int64[2, 2] i) => (float[2, 2, 2, 3] y) { y = Gather <axis = 1> (x, i) }",
        feeds={"x": normal(2, 9, 3), "i": np.array([[0, -1], [3, -9]])},
    ),
    Case(
        "embedding",
        "g (int64[2, 2] i) => (float[2, 2, 3] y) { y = Gather(t, i) }",
        {"t": normal(9, 3)},
        {"i": np.array([[0, 8], [3, -1]])},
    ),
    Case(
        "reductions",
        "g (float[2, 3, 4] x) => (float[2, 4] y, float[2, 1, 4] z) <int64[1] a = {1}> "
        "{ y = ReduceMean <keepdims = 0> (x, a) z = ReduceMax(x, a) }",
        feeds={"x": normal(2, 3, 4)},
    ),
    Case(
        "pointwise",
        "g (float[3, 8] x) => (float[3, 8] y) <float low = {-0.5}, float high = {0.5}, float two = {2}> "
        "{ a = Clip(x, low, high) b = HardSwish(a) c = Pow(b, two) d = Gelu(c) e = HardSigmoid(d) f = Erf(e)"
        " h = LeakyRelu(f) i = Sqrt(h) j = Neg(i) k = Exp(j) l = Reciprocal(k) m = Tanh(l) y = Sigmoid(m) }",
        feeds=ROW,
    ),
    Case(
        "choices",
        "g (float[3, 8] x) => (float[3, 8] y) <float zero = {0}, float big = {9}> "
        "{ a = Greater(x, zero) b = Not(a) c = Or(a, b) d = And(c, a) y = Where(d, x, big) }",
        feeds=ROW,
    ),
    Case(
        "whole numbers",
        "g (int64[4] x) => (int64[4] y) <int64 k = {3}> { y = Div(x, k) }",
        feeds={"x": np.array([-7, 7, -6, 1])},
    ),
    Case(
        "padding",
        "g (float[2, 3] x) => (float[a, b] y) <int64[4] p = {1, 0, 0, 2}, float v = {7}> "
        "{ y = Pad(x, p, v) }",
        feeds={"x": normal(2, 3)},
    ),
    Case(
        "transpose, unsqueeze, expand, concat",
        "g (float[2, 3] x) => (float[1, 3, 4] y) <int64[1] z = {0}, int64[3] s = {1, 3, 2}> "
        "{ a = Transpose(x) b = Unsqueeze(a, z) c = Expand(b, s) y = Concat <axis = -1> (b, c) }",
        feeds={"x": normal(2, 3)},
    ),
    Case(
        "largest",
        "g (float[3, 8] x) => (int64[3, 1] y) { y = ArgMax <axis = -1> (x) }",
        feeds=ROW,
    ),
)
ATTENTION = """
g (float[1, 2, 4, 8] q, float[1, 2, 4, 8] k, float[1, 2, 4, 8] v, bool[1, 1, 4, 4] keep)
  => (float[1, 2, 4, 8] y)
<float scale = {0.3}, float zero = {0}, float low = {-1e9}>
{
  t = Transpose <perm = [0, 1, 3, 2]> (k)
  s = MatMul(q, t)
  c = Mul(s, scale)
  mask = Where(keep, zero, low)
  a = Add(c, mask)
  p = Softmax(a)
  y = MatMul(p, v)
}
"""


def built(text: str, arrays: Mapping[str, Array]) -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 21]>\n'
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(head + text, initializers=tensors))


def both(model: ir.Model, feeds: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
    with open_model(model, RunOptions()) as session:
        wanted = list(session.run(feeds).values())
    with torch.no_grad():
        names = [value.name or "" for value in model.graph.inputs]
        got = torch_module.module_of(model)(*(torch.from_numpy(feeds[name]) for name in names))
    return [each.numpy() for each in got], wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_as_onnx_runtime(case: Case) -> None:
    model = built(case.text, case.arrays)
    assert not list(torch_module.rejections(model))
    for got, wanted in zip(*both(model, case.feeds), strict=True):
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        spread = max(float(np.ptp(wanted.astype(np.float64))), 1.0)
        np.testing.assert_allclose(
            got.astype(np.float64), wanted.astype(np.float64), atol=1e-5 * spread, rtol=0
        )


def test_attention_becomes_one_operator() -> None:
    model = built(ATTENTION, {})
    steps = torch_module.steps_of(model)
    assert [type(step) for step in steps.special.values()] == [torch_module.Attention]
    keep = np.tril(np.ones((4, 4), np.bool_))[None, None]
    feeds = {"q": normal(1, 2, 4, 8), "k": normal(1, 2, 4, 8) + 1, "v": normal(1, 2, 4, 8) - 1, "keep": keep}
    (got,), (wanted,) = both(model, {key: np.asarray(each, each.dtype) for key, each in feeds.items()})
    np.testing.assert_allclose(
        got.astype(np.float64), wanted.astype(np.float64), atol=1e-5 * float(np.ptp(wanted.astype(float)))
    )


@pytest.mark.parametrize(
    "change",
    [
        ("=> (float[1, 2, 4, 8] y)", "=> (float[1, 2, 4, 8] y, float[1, 2, 4, 4] p)"),
        ("p = Softmax(a)", "p = Softmax <axis = 1> (a)"),
    ],
    ids=["its probabilities are read by others", "over another axis"],
)
def test_what_is_no_attention_stays_as_it_is(change: tuple[str, str]) -> None:
    model = built(ATTENTION.replace(*change), {})
    assert not torch_module.steps_of(model).special


def test_three_products_of_one_input_are_one() -> None:
    case = next(each for each in CASES if each.id == "three products side by side")
    (step,) = torch_module.steps_of(built(case.text, case.arrays)).special.values()
    assert isinstance(step, torch_module.Linear)
    assert step.widths == (5, 4)


BACKWARDS = """
g (float[2, 9] x) => (float[2, 9] y) <int64[1] a = {8}, int64[1] e = {-99}, int64[1] d = {1},
 int64[1] s = {-1}>
{ y = Slice(x, a, e, d, s) }
"""
COMPUTED = "g (float[2, 4] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }"


@pytest.mark.parametrize("text", [BACKWARDS, COMPUTED], ids=["a slice backwards", "a computed shape"])
def test_forms_without_a_counterpart_are_refused(text: str) -> None:
    model = built(text, {})
    assert [each.rule for each in torch_module.rejections(model)] == (
        ["computed-parameter"] if text is COMPUTED else []
    )
    feeds = [torch.zeros(2, 4), torch.tensor([4, 2])] if text is COMPUTED else [torch.zeros(2, 9)]
    with pytest.raises(UnsupportedError):
        torch_module.module_of(model)(*feeds)


def test_an_unknown_operator_is_a_rejection_with_its_name() -> None:
    model = built("g (float[3, 3] x) => (float y) { y = Det(x) }", {})
    (found,) = torch_module.rejections(model)
    assert "Det" in found.reason
    assert "Det" not in OPERATORS
