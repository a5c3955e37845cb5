"""Quantized models through the canonical passes: the same numbers, the model's own scales.

Tolerance: none (bit for bit, ONNX Runtime without graph optimizations), unless a case says otherwise. Inputs:
standard normal, seed 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.errors import ModelFileError
from edgekit.ir.graph import constant
from edgekit.ir.verify import CANONICAL_QDQ, QDQ, breaches, is_quantized
from edgekit.passes import canonicalize
from edgekit.spec import Array, Range
from tests.unit.litert.litert_models import Model, as_ir

Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Array]]


def scales_of(model: ir.Model) -> set[tuple[bytes, bytes]]:
    """Every (scale, zero point) that stands in a QuantizeLinear or DequantizeLinear."""
    found = set()
    for node in model.graph:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            scale, zero = (np.asarray(constant(value)) for value in node.inputs[1:3])
            found.add((scale.tobytes(), np.unique(zero).tobytes()))
    return found


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


# Models that ONNX Runtime's quantizer makes ---------------------------------------------------------------


def network() -> onnx.ModelProto:
    """Every operator that the quantizer has an integer form for, on one chain."""
    model = Model()
    x = model.input("x", ("batch", 3, 12, 12))
    a = model.add("Relu", model.add("Conv", x, model.weight(8, 3, 3, 3), model.weight(8), pads=[1] * 4))
    pooled = model.add("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2])
    b = model.add("Conv", pooled, model.weight(8, 1, 3, 3), model.weight(8), pads=[1] * 4, group=8)
    total = model.add("Add", model.add("Clip", b, model.scalar(0), model.scalar(6)), pooled)
    joined = model.add("Concat", model.add("LeakyRelu", total, alpha=0.2), pooled, axis=1)
    turned = model.add("Transpose", model.add("Transpose", joined, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    gated = model.add("Mul", turned, model.add("Sigmoid", turned))
    padded = model.add("Pad", gated, model.ints(0, 0, 1, 1, 0, 0, 1, 1))
    average = model.add("AveragePool", padded, kernel_shape=[2, 2], strides=[2, 2])
    flat = model.add("Flatten", model.add("GlobalAveragePool", average))
    dense = model.add("Gemm", flat, model.weight(16, 10), model.weight(10))
    rows = model.add("Add", model.add("MatMul", dense, model.weight(10, 5)), model.weight(5))
    return model.build(model.add("Softmax", rows))


@dataclass(frozen=True)
class Quantizer:
    """What onnxruntime.quantization is asked for."""

    id: str
    operators: bool
    per_channel: bool = False
    signed: bool = False
    unsigned_weights: bool = False
    reduce_range: bool = False


QUANTIZERS = (
    Quantizer("qdq-per-tensor", operators=False),
    Quantizer("qdq-per-channel-signed", operators=False, per_channel=True, signed=True),
    Quantizer("qdq-reduce-range", operators=False, per_channel=True, reduce_range=True),
    Quantizer("qdq-unsigned-weights", operators=False, unsigned_weights=True),
    Quantizer("operators-per-tensor", operators=True),
    Quantizer("operators-per-channel-signed", operators=True, per_channel=True, signed=True),
    Quantizer("operators-reduce-range", operators=True, per_channel=True, reduce_range=True),
    Quantizer("operators-unsigned-weights", operators=True, unsigned_weights=True),
)


class Reader:
    """onnxruntime's CalibrationDataReader, by shape of the method alone."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self._feeds = iter([{"x": rng.normal(size=(2, 3, 12, 12)).astype(np.float32)} for _ in range(3)])

    def get_next(self) -> Any:
        return next(self._feeds, None)


def quantized(case: Quantizer, folder: Path) -> ir.Model:
    from onnxruntime import quantization
    from onnxruntime.quantization import QuantFormat, QuantType

    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(network(), source)
    quantization.quantize_static(
        str(source),
        str(target),
        Reader(),
        quant_format=QuantFormat.QOperator if case.operators else QuantFormat.QDQ,
        per_channel=case.per_channel,
        reduce_range=case.reduce_range,
        activation_type=QuantType.QInt8 if case.signed else QuantType.QUInt8,
        weight_type=QuantType.QUInt8 if case.unsigned_weights else QuantType.QInt8,
    )
    return as_ir(onnx.load(target))


@pytest.mark.parametrize("case", QUANTIZERS, ids=lambda case: case.id)
def test_what_onnxruntime_quantized_computes_the_same(
    case: Quantizer, tmp_path: Path, evaluate: Evaluate
) -> None:
    before = quantized(case, tmp_path)
    after = canonicalize(before)
    assert is_quantized(before)
    assert is_quantized(after)
    assert breaches(after, CANONICAL_QDQ) == ()
    assert breaches(after, QDQ) == ()
    assert not [op for op in operators(after) if op.startswith("Q") and op != "QuantizeLinear"]
    assert operators(after)["Gemm"] == 2  # MatMul behind a dequantized weight is one, too
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}
    for expected, found in zip(evaluate(before, feeds), evaluate(after, feeds), strict=True):
        assert expected.std() > 0.01
        np.testing.assert_array_equal(found, expected)
    if not case.operators:
        assert {scale for scale, _ in scales_of(before)} == {scale for scale, _ in scales_of(after)}


def test_what_edgekit_quantized_stays_as_it_is(evaluate: Evaluate) -> None:
    from edgekit import target
    from edgekit.quantization.apply import apply
    from edgekit.quantization.place import place

    canonical = canonicalize(as_ir(network()))
    ranges = {
        value.name: Range(-4.0, 4.0)
        for value in (*canonical.graph.inputs, *(out for node in canonical.graph for out in node.outputs))
        if value.name
    }
    before = apply(canonical, place(canonical, target.load("onnxruntime-cpu"), ranges))
    after = canonicalize(before)
    assert operators(before) == operators(after)
    assert scales_of(before) == scales_of(after)
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}
    np.testing.assert_array_equal(evaluate(after, feeds)[0], evaluate(before, feeds)[0])


# Other people's spellings ---------------------------------------------------------------------------------

S, Z = np.float32(0.05), np.uint8(120)
ROWS = np.random.default_rng(7).integers(-127, 128, (6, 4), np.int8)
STEPS = np.linspace(0.01, 0.03, 6, dtype=np.float32)
BIAS = np.random.default_rng(8).integers(-500, 500, 6, np.int32)
PAIR = "xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)"
OUT = "yq = QuantizeLinear(r, s, z) y = DequantizeLinear(yq, s, z)"
COMMON = "float s, uint8 z"


@dataclass(frozen=True)
class Case:
    """One graph, its constants, and what is left of it (operators that are counted)."""

    id: str
    text: str
    left: Mapping[str, int]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    steps: float = 0.0  # tolerance in steps of the output, S
    opset: int = 21


CASES = (
    Case(
        "matmul behind a dequantized weight is a Gemm, its bias too",
        f"g (float[n, 4] x) => (float[n, 6] y) <{COMMON}, int8[4, 6] w, float[6] ws, int8[6] wz, float[6] b>"
        f"{{ {PAIR} wd = DequantizeLinear <axis = 1> (w, ws, wz) m = MatMul(xd, wd) r = Add(m, b) {OUT} }}",
        {"Gemm": 1, "MatMul": 0, "Add": 0, "QuantizeLinear": 2},
        {"w": ROWS.T.copy(), "ws": STEPS, "wz": np.zeros(6, np.int8), "b": STEPS},
        steps=1.01,
    ),
    Case(
        "a linear layer as PT2E exports it: DQ, Transpose, MatMul, a dequantized bias behind it",
        f"g (float[n, 4] x) => (float[n, 6] y) <{COMMON}, int8[6, 4] w, float[6] ws, int8[6] wz,"
        " int32[6] b, float[6] bs, int32[6] bz>"
        f"{{ {PAIR} wd = DequantizeLinear <axis = 0> (w, ws, wz) t = Transpose <perm = [1, 0]> (wd)"
        f" m = MatMul(xd, t) bd = DequantizeLinear <axis = 0> (b, bs, bz) r = Add(m, bd) {OUT} }}",
        {"Gemm": 1, "Transpose": 0, "DequantizeLinear": 4, "Add": 0},
        {
            "w": ROWS,
            "ws": STEPS,
            "wz": np.zeros(6, np.int8),
            "b": BIAS,
            "bs": STEPS * S,
            "bz": np.zeros(6, np.int32),
        },
        steps=1.01,
    ),
    Case(
        "a float weight behind Q and DQ is stored as integers",
        f"g (float[n, 4] x) => (float[n, 6] y) <{COMMON}, float[6, 4] w, float[6] ws, int8[6] wz>"
        f"{{ {PAIR} wq = QuantizeLinear <axis = 0> (w, ws, wz) wd = DequantizeLinear <axis = 0> (wq, ws, wz)"
        f" r = Gemm <transB = 1> (xd, wd) {OUT} }}",
        {"QuantizeLinear": 2, "DequantizeLinear": 3},
        {"w": (ROWS * np.float32(0.0173)), "ws": STEPS, "wz": np.zeros(6, np.int8)},
    ),
    Case(
        "quantizers without zero points",
        "g (float[n, 4] x) => (float[n, 6] y) <float s, int8[6, 4] w, float[6] ws, int32[6] b, float[6] bs>"
        "{ xq = QuantizeLinear(x, s) xd = DequantizeLinear(xq, s) wd = DequantizeLinear <axis = 0> (w, ws)"
        " bd = DequantizeLinear <axis = 0> (b, bs) r = Gemm <transB = 1> (xd, wd, bd)"
        " yq = QuantizeLinear(r, s) y = DequantizeLinear(yq, s) }",
        {"QuantizeLinear": 2, "DequantizeLinear": 4},
        {"w": ROWS, "ws": STEPS, "b": BIAS, "bs": STEPS * S},
    ),
    Case(
        "quantizers of com.microsoft",
        f'<ir_version: 10, opset_import: ["" : 12, "com.microsoft" : 1]>\n'
        f"g (float[n, 4] x) => (float[n, 4] y) <{COMMON}>"
        "{ xq = com.microsoft.QuantizeLinear(x, s, z) xd = com.microsoft.DequantizeLinear(xq, s, z)"
        " r = Relu(xd) yq = com.microsoft.QuantizeLinear(r, s, z)"
        " y = com.microsoft.DequantizeLinear(yq, s, z) }",
        {"QuantizeLinear": 2, "DequantizeLinear": 2},
    ),
    Case(
        "opset 10, with scales as scalars",
        f"g (float[n, 4] x) => (float[n, 4] y) <{COMMON}> {{ {PAIR} r = Relu(xd) {OUT} }}",
        {"QuantizeLinear": 2, "DequantizeLinear": 2},
        opset=10,
    ),
    Case(
        "the same parameters twice in a row",
        f"g (float[n, 4] x) => (float[n, 4] y) <{COMMON}>"
        f"{{ {PAIR} i = Identity(xd) q = QuantizeLinear(i, s, z) d = DequantizeLinear(q, s, z)"
        f" r = Relu(d) {OUT} }}",
        {"QuantizeLinear": 2, "DequantizeLinear": 2, "Identity": 0},
    ),
    Case(
        "other parameters in a row stay: that is a requantization",
        f"g (float[n, 4] x) => (float[n, 4] y) <{COMMON}, float t>"
        f"{{ {PAIR} q = QuantizeLinear(xd, t, z) d = DequantizeLinear(q, t, z) r = Relu(d) {OUT} }}",
        {"QuantizeLinear": 3, "DequantizeLinear": 3},
        {"t": np.float32(0.07)},
    ),
    Case(
        "a bias in steps of its own is written as reals",
        f"g (float[n, 4] x) => (float[n, 6] y) <{COMMON}, int8[6, 4] w, float[6] ws, int8[6] wz,"
        " int32[6] b, float bs, int32 bz>"
        f"{{ {PAIR} wd = DequantizeLinear <axis = 0> (w, ws, wz) bd = DequantizeLinear(b, bs, bz)"
        f" r = Gemm <transB = 1> (xd, wd, bd) {OUT} }}",
        {"DequantizeLinear": 3},
        {
            "w": ROWS,
            "ws": STEPS,
            "wz": np.zeros(6, np.int8),
            "b": BIAS,
            "bs": np.float32(0.002),
            "bz": np.int32(0),
        },
    ),
    Case(
        "a mean over all of a picture is a pool with its own pair",
        f"g (float[n, 4, 3, 3] x) => (float[n, 4] y) <{COMMON}, int64[2] a>"
        f"{{ {PAIR} r = ReduceMean <keepdims = 0> (xd, a) {OUT} }}",
        {"GlobalAveragePool": 1, "Squeeze": 1, "QuantizeLinear": 3, "DequantizeLinear": 3},
        {"a": np.asarray([2, 3], np.int64)},
        steps=1.01,
    ),
    Case(
        "alpha would change a scale: such a Gemm stays",
        f"g (float[n, 4] x) => (float[n, 6] y) <{COMMON}, int8[4, 6] w, float[6] ws, int8[6] wz>"
        f"{{ {PAIR} wd = DequantizeLinear <axis = 1> (w, ws, wz) r = Gemm <alpha = 0.5> (xd, wd) {OUT} }}",
        {"Gemm": 1, "Mul": 0},
        {"w": ROWS.T.copy(), "ws": STEPS, "wz": np.zeros(6, np.int8)},
    ),
    Case(
        "integers that move without a quantizer: MaxPool, Pad, Transpose, Split",
        "g (float[n, 4, 6, 6] x) => (float[n, 2, 4, 8] y, float[n, 2, 4, 8] v)"
        f" <{COMMON}, int64[8] p, int64[2] k>"
        "{ xq = QuantizeLinear(x, s, z) m = MaxPool <kernel_shape = [3, 3], strides = [1, 1]> (xq)"
        " d = Pad(m, p, z) t = Transpose <perm = [0, 1, 3, 2]> (d) a, b = Split <axis = 1> (t, k)"
        " y = DequantizeLinear(a, s, z) v = DequantizeLinear(b, s, z) }",
        {"MaxPool": 1, "Pad": 1, "Transpose": 1, "Split": 1},
        {"p": np.asarray([0, 0, 2, 0, 0, 0, 2, 0], np.int64), "k": np.asarray([2, 2], np.int64)},
    ),
    Case(
        "a table of integers that is looked up before it is dequantized",
        "g (int64[n] i) => (float[n, 4] y) <float ws, int8 wz, int8[6, 4] w>"
        "{ a = Gather(w, i) y = DequantizeLinear(a, ws, wz) }",
        {"Gather": 1},
        {"w": ROWS, "ws": np.float32(0.02), "wz": np.int8(3)},
    ),
    Case(
        "quantization made in every inference stays as it is",
        "g (float[n, 4] x) => (float[n, 6] y) <int8[4, 6] w, int8 wz, float ws>"
        "{ q, qs, qz = DynamicQuantizeLinear(x) m = MatMulInteger(q, w, qz, wz) c = Cast <to = 1> (m)"
        " f = Mul(qs, ws) y = Mul(c, f) }",
        {"DynamicQuantizeLinear": 1, "MatMulInteger": 1},
        {"w": ROWS.T.copy(), "wz": np.int8(0), "ws": np.float32(0.02)},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_spellings(case: Case, build: Build, evaluate: Evaluate) -> None:
    arrays: dict[str, Any] = dict(case.arrays)
    for name, default in (("s", S), ("z", Z)):
        if f" {name}" in case.text.replace(",", " ").replace(">", " ").split("{")[0]:
            arrays.setdefault(name, default)
    before = (
        ir.from_onnx_text(
            case.text, initializers=[ir.tensor(np.asarray(a), name=n) for n, a in arrays.items()]
        )
        if case.text.startswith("<ir_version")
        else build(case.text, opset=case.opset, **arrays)
    )
    after = canonicalize(before)
    found = operators(after)
    assert {name: found[name] for name in case.left} == dict(case.left)
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for value in before.graph.inputs:
        shape = [dim if isinstance(dim, int) else 3 for dim in value.shape or ()]
        integer = value.dtype == ir.DataType.INT64
        feeds[value.name or ""] = (
            rng.integers(0, 6, shape) if integer else rng.normal(size=shape).astype(np.float32) * 2
        )
    for expected, got in zip(evaluate(before, feeds), evaluate(after, feeds), strict=True):
        distance = np.abs(np.asarray(expected, np.float64) - np.asarray(got, np.float64))
        assert float(distance.max()) <= case.steps * float(S)


# Refused --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    id: str
    text: str
    says: str
    arrays: Mapping[str, Any] = field(default_factory=dict)


HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>\n'

REFUSALS = (
    Refusal(
        "attention",
        "g (float[n, 4] x) => (float[n, 4] y) { y = com.microsoft.QAttention(x) }",
        "QAttention",
    ),
    Refusal(
        "scale that is computed",
        "g (float[n, 4] x, float s) => (float[n, 4] y) <uint8 z>"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
        "scale or zero point that is not a constant",
        {"z": Z},
    ),
    Refusal(
        "integer operator whose scale is computed",
        "g (uint8[n, 4] x, float s) => (uint8[n, 4] y) <uint8 z>"
        "{ y = com.microsoft.QLinearSigmoid(x, s, z, s, z) }",
        "its scale or zero point is computed",
        {"z": Z},
    ),
    Refusal(
        "activation with a scale per channel",
        "g (float[n, 4] x) => (float[n, 4] y) <float[4] s, uint8[4] z>"
        "{ q = QuantizeLinear <axis = 1> (x, s, z) y = DequantizeLinear <axis = 1> (q, s, z) }",
        "quantizes an activation with a vector",
        {"s": np.array([0.1, 0.1, 0.1, 0.2], np.float32), "z": np.full(4, 3, np.uint8)},
    ),
    Refusal(
        "pair that does not belong together",
        "g (float[n, 4] x) => (float[n, 4] y) <float s, float t, uint8 z>"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, t, z) }",
        "with other parameters",
        {"s": S, "t": np.float32(0.5), "z": Z},
    ),
    Refusal(
        "scale that is not positive",
        "g (float[n, 4] x) => (float[n, 4] y) <float s, uint8 z>"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
        "not finite and positive",
        {"s": np.float32(0), "z": Z},
    ),
    Refusal(
        "softmax of opset 12 along several axes",
        "g (uint8[n, 4, 5] x) => (uint8[n, 4, 5] y) <float s, uint8 z>"
        "{ y = com.microsoft.QLinearSoftmax <axis = 1, opset = 11> (x, s, z, s, z) }",
        "Softmax of opset 12",
        {"s": S, "z": Z},
    ),
)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.id)
def test_what_runtimes_would_read_differently_is_refused(case: Refusal) -> None:
    tensors = [ir.tensor(np.asarray(array), name=name) for name, array in case.arrays.items()]
    model = ir.from_onnx_text(HEAD + case.text, initializers=tensors)
    with pytest.raises(ModelFileError, match=case.says) as found:
        canonicalize(model)
    assert found.value.remedy
