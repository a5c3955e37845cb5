"""float16: half precision inside, float32 at the edges, islands where half precision cannot be.

Tolerance: 2e-3 of the output's range, two units in the last place of binary16 (2**-10) through five layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.quantization.float16 import FLOAT32_OPERATORS, float32_reason, to_float16
from edgekit.spec import Array, Range

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]


def normal(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    wide: tuple[str, ...] = ()  # operators that must still run in float32


CASES = (
    Case(
        "cnn",
        "g (float[2, 1, 6, 6] x) => (float[2, 3] y) <float[2, 1, 3, 3] w, float[8, 3] d, int64[2] s "
        "= {-1, 8}>"
        "{ a = Conv(x, w) b = Relu(a) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)"
        " r = Reshape(p, s) y = MatMul(r, d) }",
        {"w": normal(2, 1, 3, 3), "d": normal(8, 3)},
    ),
    Case(
        "scales of resize stay float32",
        "g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y) <float[4] s = {1, 1, 2, 2}> "
        "{ a = Relu(x) b = Resize(a, , s) y = Neg(b) }",
    ),
    Case(
        "a constant beyond half precision keeps its node wide",
        "g (float[2, 3] x) => (float[2, 3] y) <float[3] k = {100000, 1, 2}> { a = Relu(x) b = Mul(a, "
        "k) y = Neg(b) }",
        wide=("Mul",),
    ),
    Case(
        "a blocked operator",
        "g (float[2, 3] x) => (float[2, 3] y) <int64 axis = {1}> { a = Relu(x) b = CumSum(a, axis) y "
        "= Neg(b) }",
        wide=("CumSum",),
    ),
    Case(
        "casts and fillings are retyped",
        "g (float[2, 3] x) => (float[2, 3] y) "
        "{ i = Cast <to = 7> (x) f = Cast <to = 1> (i) s = Shape(x) z = ConstantOfShape(s) a = "
        "Add(f, z) y = Neg(a) }",
    ),
    Case(
        "control flow stays wide, with what it takes from outside",
        """g (float[2, 3] x, bool c) => (float[2, 3] y) {
            r = Relu(x)
            i = If (c) <then_branch = t () => (float[2, 3] a) { a = Neg(r) },
                        else_branch = e () => (float[2, 3] b) { b = Abs(r) }>
            y = Neg(i)
        }""",
        wide=("If",),
    ),
    Case(
        "an output that is read inside, and an input that is an output's neighbour",
        "g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) { y = Relu(x) z = Neg(y) }",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_half_precision_inside(case: Case, build: Build, evaluate: Evaluate) -> None:
    model = build(case.text, **case.arrays)
    before = digest(model)
    half = to_float16(model)
    assert digest(model) == before
    assert io.specs(half) == io.specs(model)
    io.check(half)
    for node in half.graph:
        floats = [v for v in node.outputs if v.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)]
        wide = any(value.dtype == ir.DataType.FLOAT for value in floats)
        assert not wide or node.op_type in (*case.wide, "Cast"), node
    feeds = {
        spec.name: np.ones((), np.bool_) if spec.dtype == "bool" else normal(*map(int, map(str, spec.shape)))
        for spec in io.specs(model)[0]
    }
    for got, wanted in zip(evaluate(half, feeds), evaluate(model, feeds), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, atol=2e-3 * max(float(np.ptp(wanted)), 1.0), rtol=0)


def test_ranges_near_the_end_of_half_precision_keep_their_node_wide(build: Build) -> None:
    """Seen in the types: ONNX Runtime's CPU kernels compute in float32 and do not overflow."""
    text = "g (float[3] x) => (float[3] y) <float k = {0.001}> { a = Mul(x, x) b = Mul(a, a) y = Mul(b, k) }"
    model = build(text)
    ranges = {"a": Range(0, 900), "b": Range(0, 810_000), "y": Range(0, 810)}
    half = {value.name: value.dtype for node in to_float16(model).graph for value in node.outputs}
    mixed = {v.name: v.dtype for node in to_float16(model, ranges=ranges).graph for v in node.outputs}
    assert (half["a"], half["b"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT16)
    assert (mixed["a"], mixed["b"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT)


def test_every_blocked_operator_has_a_reason() -> None:
    assert all(FLOAT32_OPERATORS.values())


def test_reasons_name_the_culprit(build: Build) -> None:
    model = build("g (float[3] x) => (float[3] y) <float[3] k = {100000, 1, 2}> { y = Mul(x, k) }")
    (node,) = model.graph
    assert "'k' reaches 1e+05" in float32_reason(node)
    small = build("g (float[3] x) => (float[3] y) <float[3] k = {1, 1, 2}> { y = Mul(x, k) }")
    (node,) = small.graph
    assert float32_reason(node) == ""
    assert "'y' reaches" in float32_reason(node, ranges={"y": Range(-1e6, 0)})


def test_operators_of_other_domains_stay_wide() -> None:
    node = ir.node("Gelu", [ir.Value(name="x")], domain="com.microsoft")
    assert "com.microsoft" in float32_reason(node)


def test_the_result_is_deterministic(build: Build) -> None:
    model = build(CASES[0].text, **CASES[0].arrays)
    assert io.to_bytes(to_float16(model)) == io.to_bytes(to_float16(model))


def test_the_file_is_about_half_as_large(build: Build) -> None:
    model = build(
        "g (float[n, 256] x) => (float[n, 256] y) <float[256, 256] w> { y = MatMul(x, w) }",
        w=normal(256, 256),
    )
    assert len(io.to_bytes(to_float16(model))) < 0.51 * len(io.to_bytes(model))
