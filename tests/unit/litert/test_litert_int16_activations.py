"""int16 activations with int8 weights: every kernel within one step of ONNX Runtime, the rest in float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from edgekit.backends.base import IoForm
from edgekit.backends.litert import integer
from edgekit.backends.litert.backend import translate
from edgekit.backends.litert.versions import operator_version
from edgekit.spec import Array
from tests.unit.litert.litert_models import Model, as_ir, compiled, run_litert, run_onnx

SCALE = 4.0 / 32768  # of the first input; values stay within 3.9
OTHER = 1.3 * SCALE
UNIT = 1.0 / 32768


def wide(m: Model, value: str, scale: float = SCALE, zero: int = 0) -> str:
    return m.quantized(value, scale, zero, dtype="int16")


def conv(m: Model, x: str, *, outputs: int = 6, group: int = 1) -> str:
    data = m.rng.standard_normal((outputs, 4 // group, 3, 3)).astype(np.float32) * np.float32(0.1)
    w, scales = m.quantized_weight(data, axis=0)
    bias = m.quantized_bias(
        np.asarray([0.1, -0.4, 0.5, 0.0, 0.3, -0.2][:outputs]), np.float32(SCALE) * scales
    )
    return m.add("Conv", x, w, bias, pads=[1, 1, 1, 1], group=group)


def dense(m: Model, x: str) -> str:
    data = m.rng.standard_normal((8, 5)).astype(np.float32) * np.float32(0.2)
    return m.add("MatMul", x, m.quantized_weight(data, axis=1)[0])


def gemm(m: Model, x: str) -> str:
    data = m.rng.standard_normal((5, 8)).astype(np.float32) * np.float32(0.2)
    w, scales = m.quantized_weight(data, axis=0)
    return m.add(
        "Gemm",
        x,
        w,
        m.quantized_bias(np.asarray([0.0, 0.1, 0.2, 0.3, 0.4]), np.float32(SCALE) * scales),
        transB=1,
    )


IMAGE, ROWS = (1, 4, 8, 8), (3, 8)


@dataclass(frozen=True)
class Case:
    """One operator between int16 tensors; ``kernel`` computes it, or float where it is "float"."""

    id: str
    make: Callable[..., str]
    kernel: str
    shape: tuple[int, ...] = IMAGE
    out: float = 2 * SCALE
    inputs: int = 1
    scale: float = SCALE


CASES = (
    Case("conv", conv, "CONV_2D"),
    Case("conv-relu", lambda m, x: m.add("Relu", conv(m, x)), "CONV_2D"),
    Case("conv-clip", lambda m, x: m.add("Clip", conv(m, x), m.scalar(0), m.scalar(6)), "CONV_2D"),
    Case("conv-grouped", lambda m, x: conv(m, x, outputs=4, group=2), "CONV_2D"),
    Case("depthwise", lambda m, x: conv(m, x, outputs=4, group=4), "DEPTHWISE_CONV_2D"),
    Case("dense", dense, "FULLY_CONNECTED", ROWS),
    Case("dense-rank-3", dense, "FULLY_CONNECTED", (2, 3, 8)),
    Case("gemm", gemm, "FULLY_CONNECTED", ROWS),
    Case("add", lambda m, x, z: m.add("Add", x, z), "ADD", inputs=2),
    Case("add-relu", lambda m, x, z: m.add("Relu", m.add("Add", x, z)), "ADD", inputs=2),
    Case("sub", lambda m, x, z: m.add("Sub", x, z), "SUB", inputs=2),
    Case("mul", lambda m, x, z: m.add("Mul", x, z), "MUL", out=6 * SCALE, inputs=2),
    Case("max-pool", lambda m, x: m.add("MaxPool", x, kernel_shape=[2, 2]), "MAX_POOL_2D", out=SCALE),
    Case(
        "max-pool-padded",
        lambda m, x: m.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0]),
        "MAX_POOL_2D",
        out=SCALE,
    ),
    Case(
        "average-pool",
        lambda m, x: m.add("AveragePool", x, kernel_shape=[2, 2]),
        "AVERAGE_POOL_2D",
        out=SCALE,
    ),
    Case("average-rescaled", lambda m, x: m.add("AveragePool", x, kernel_shape=[2, 2]), "float"),
    Case("global-average", lambda m, x: m.add("GlobalAveragePool", x), "MEAN", out=UNIT),
    Case("reduce-mean", lambda m, x: m.add("ReduceMean", x, m.ints(1), keepdims=0), "MEAN"),
    Case("concat", lambda m, x, z: m.add("Concat", x, z, axis=1), "CONCATENATION", inputs=2),
    Case("relu", lambda m, x: m.add("Relu", x), "RELU", out=SCALE),
    Case("clip", lambda m, x: m.add("Clip", x, m.scalar(-1), m.scalar(2)), "MAXIMUM"),
    Case("softmax", lambda m, x: m.add("Softmax", x), "SOFTMAX", ROWS, out=UNIT),
    Case("softmax-of-large", lambda m, x: m.add("Softmax", x), "float", ROWS, out=UNIT, scale=4 * SCALE),
    Case("softmax-rescaled", lambda m, x: m.add("Softmax", x), "float", ROWS, out=0.7 * UNIT),
    Case("sigmoid", lambda m, x: m.add("Sigmoid", x), "LOGISTIC", out=UNIT),
    Case("sigmoid-coarse", lambda m, x: m.add("Sigmoid", x), "float", out=UNIT, scale=2.0**-12),
    Case("tanh", lambda m, x: m.add("Tanh", x), "float", out=UNIT),
    Case("pad", lambda m, x: m.add("Pad", x, m.ints(0, 0, 1, 1, 0, 0, 2, 2)), "PAD", out=SCALE),
    Case("reshape", lambda m, x: m.add("Reshape", x, m.ints(4, 64)), "RESHAPE", out=SCALE),
    Case("slice", lambda m, x: m.add("Slice", x, m.ints(1), m.ints(6), m.ints(2)), "SLICE", out=SCALE),
    Case("exp", lambda m, x: m.add("Exp", x), "float", out=60 * UNIT),
    Case("products", lambda m, x, z: m.add("MatMul", x, z), "float", out=100 * SCALE, inputs=2),
)


def build(case: Case) -> onnx.ModelProto:
    m = Model(seed=1)
    names = ("x", "z")[: case.inputs]
    scales = (case.scale, OTHER)
    values = [wide(m, m.input(n, case.shape), s) for n, s in zip(names, scales, strict=False)]
    return m.build(wide(m, case.make(m, *values), case.out))


def feeds(case: Case) -> dict[str, Array]:
    """Numbers on the grid of the input's scale: no ties that two runtimes round differently."""
    rng = np.random.default_rng(3)
    names = ("x", "z")[: case.inputs]
    scales = (case.scale, OTHER)
    return {
        name: (rng.integers(-32000, 32001, case.shape) * np.float32(scale)).astype(np.float32)
        for name, scale in zip(names, scales, strict=False)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_within_one_step_of_onnx_runtime(case: Case) -> None:
    model, given = build(case), feeds(case)
    (found,), (expected,) = run_litert(model, given).values(), run_onnx(model, given).values()
    steps = np.abs(found.astype(np.float64) - expected.astype(np.float64)) / case.out
    assert steps.max() <= 1.01
    assert float(expected.max()) - float(expected.min()) > 1000 * case.out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_kernel_that_computes_it(case: Case) -> None:
    made = compiled(build(case))
    graph = made.lowered.graph
    assert made.lowered.rejections == ()
    if case.kernel == "float":
        assert any("computes in float" in note for note in made.notes)
        return
    operator = next(op for op in graph.operators if op.code == case.kernel)
    assert graph.tensors[operator.inputs[0]].dtype == "int16"
    assert [op.code for op in graph.operators].count("DEQUANTIZE") == 1


def test_biases_are_64_bits_wide() -> None:
    graph = compiled(build(CASES[0])).lowered.graph
    operator = next(op for op in graph.operators if op.code == "CONV_2D")
    kinds = [graph.tensors[index].dtype for index in (*operator.inputs, *operator.outputs)]
    assert kinds == ["int16", "int8", "int64", "int16"]
    dense_graph = compiled(build(CASES[5])).lowered.graph
    operator = next(op for op in dense_graph.operators if op.code == "FULLY_CONNECTED")
    assert dense_graph.tensors[operator.inputs[2]].dtype == "int64"  # zeros


VERSIONS = {
    "conv": 4,
    "conv-grouped": 6,
    "depthwise": 5,
    "dense": 7,
    "add": 3,
    "sub": 5,
    "mul": 4,
    "max-pool": 3,
    "average-pool": 3,
    "reduce-mean": 3,
    "concat": 3,
    "relu": 3,
    "clip": 4,
    "softmax": 3,
    "sigmoid": 3,
    "pad": 3,
    "slice": 4,
}


@pytest.mark.parametrize("name", VERSIONS)
def test_operator_versions(name: str) -> None:
    """As op_version.cc has them for int16."""
    case = next(case for case in CASES if case.id == name)
    graph = compiled(build(case)).lowered.graph
    operator = next(op for op in graph.operators if op.code == case.kernel)
    assert operator_version(operator, graph.tensors) == VERSIONS[name]


def test_scales_need_not_be_powers_of_two() -> None:
    graph = compiled(build(next(case for case in CASES if case.id == "add"))).lowered.graph
    operator = next(op for op in graph.operators if op.code == "ADD")
    assert operator.options["potScaleInt16"] is False


@pytest.mark.parametrize("end", ["input", "output"])
def test_a_zero_point_is_refused(end: str) -> None:
    m = Model()
    first = wide(m, m.input("x", (1, 4)), zero=3 if end == "input" else 0)
    model = m.build(wide(m, m.add("Relu", first), zero=0 if end == "input" else 5))
    rejections = compiled(model).lowered.rejections
    assert {rejection.rule for rejection in rejections} == {"int16-zero-point"}
    assert "symmetrically" in rejections[0].remedy


def test_a_mix_of_widths_computes_in_float() -> None:
    m = Model()
    a = wide(m, m.input("x", (1, 4)))
    b = m.quantized(m.input("z", (1, 4)), 0.03, 0, dtype="int8")
    made = compiled(m.build(wide(m, m.add("Add", a, b))))
    assert made.lowered.rejections == ()
    assert any("its input 1 is int8, not int16 per tensor" in note for note in made.notes)


def test_integer_ends_of_8_bits_are_refused_for_16() -> None:
    made = translate(as_ir(build(CASES[0])), IoForm("int8"))
    assert ["int16" in rejection.reason for rejection in made.lowered.rejections] == [True, True]


def test_without_the_rule_a_coarse_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: SOFTMAX of large logits in int16 is many steps off."""
    monkeypatch.setattr(integer, "LARGEST_LOGIT", 1e9)
    case = next(case for case in CASES if case.id == "softmax-of-large")
    (found,), (expected,) = (
        run_litert(build(case), feeds(case)).values(),
        run_onnx(build(case), feeds(case)).values(),
    )
    assert (np.abs(found.astype(np.float64) - expected.astype(np.float64)) / case.out).max() > 2


def test_a_bias_beyond_the_accumulator_computes_in_float() -> None:
    m = Model(seed=1)
    x = wide(m, m.input("x", IMAGE), 1e-9)
    w, _ = m.quantized_weight(np.full((2, 4, 1, 1), 1e-3, np.float32), axis=0)
    y = m.add("Conv", x, w, m.floats(9e3, 1.0))
    made = compiled(m.build(wide(m, y, 0.5)))
    assert any("bias does not fit int64" in note for note in made.notes)
