"""int8 .tflite files against their QDQ graph on ONNX Runtime, in steps of the output's scale.

On XNNPACK at most 1 step on 95 % of the values and 5 on 99.9 % (issue 5's bar); the builtin kernels round in
other places and get 2 steps on 95 %. Weights seed 0, inputs seed 1, standard normal; activations in uint8 or
int8 with scales that clip a few values, so that saturation is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.unit.litert.litert_models import Model, codes, compiled, run_litert, run_onnx

STEP_OUT = 0.05
SEED = 1


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[Model, str], str]
    has: tuple[str, ...]
    step: float = STEP_OUT
    zero: int = 128
    dtype: str = "uint8"


def conv(
    model: Model,
    x: str,
    step_in: float,
    *,
    out: int,
    kernel: int,
    depth: int,
    bias: bool = True,
    **attributes: Any,
) -> str:
    w = (model.rng.standard_normal((out, depth, kernel, kernel)) * 0.3).astype(np.float32)
    weight, scales = model.quantized_weight(w, axis=0)
    parts = [x, weight]
    if bias:
        parts.append(model.quantized_bias(model.rng.standard_normal(out) * 0.5, scales * np.float32(step_in)))
    return model.add("Conv", *parts, **attributes)


def gemm(model: Model, x: str, step_in: float, *, out: int, depth: int) -> str:
    w = (model.rng.standard_normal((out, depth)) * 0.3).astype(np.float32)
    weight, scales = model.quantized_weight(w, axis=0)
    bias = model.quantized_bias(model.rng.standard_normal(out) * 0.5, scales * np.float32(step_in))
    return model.add("Gemm", x, weight, bias, transB=1)


def matmul_add(model: Model, x: str) -> str:
    w = (model.rng.standard_normal((7, 5)) * 0.3).astype(np.float32)
    weight, scales = model.quantized_weight(w, axis=1)
    bias = model.quantized_bias(model.rng.standard_normal(5) * 0.5, scales * np.float32(IN))
    rows = model.add("MatMul", x, weight)
    return model.add("Add", rows, bias)


IN = 0.02  # step of the input: +-2.5, so that about 1 % of standard normal values saturate


def relu(model: Model, x: str) -> str:
    return model.add("Relu", x)


def clip6(model: Model, x: str) -> str:
    return model.add("Clip", x, model.scalar(0), model.scalar(6))


def ints(model: Model, *values: int) -> str:
    return model.constant(np.asarray(values, np.int64))


def other(model: Model, x: str, step: float = 0.03, zero: int = 120) -> str:
    """A second quantized tensor of the shape of ``x`` with another scale."""
    return model.quantized(model.add("Relu", x), step, zero)


def residual(model: Model, x: str) -> str:
    first = model.quantized(relu(model, conv(model, x, IN, out=6, kernel=3, depth=6, pads=[1] * 4)), 0.04, 0)
    second = conv(model, first, 0.04, out=6, kernel=3, depth=1, group=6, pads=[1] * 4)
    return relu(model, model.add("Add", model.quantized(second, 0.06, 125), x))


def flattened(model: Model, x: str) -> str:
    first = model.quantized(relu(model, conv(model, x, IN, out=4, kernel=3, depth=6, pads=[1] * 4)), 0.04, 0)
    flat = model.quantized(model.add("Flatten", first), 0.04, 0)
    return gemm(model, flat, 0.04, out=10, depth=4 * 9 * 7)


MATRIX = {"matmul-add", "softmax", "gemm"}
CASES: tuple[Case, ...] = (
    Case("conv", lambda m, x: conv(m, x, IN, out=5, kernel=3, depth=6), ("CONV_2D",), 0.08),
    Case(
        "conv-no-bias", lambda m, x: conv(m, x, IN, out=5, kernel=3, depth=6, bias=False), ("CONV_2D",), 0.08
    ),
    Case("conv-relu", lambda m, x: relu(m, conv(m, x, IN, out=5, kernel=3, depth=6)), ("CONV_2D",), 0.04, 0),
    Case(
        "conv-relu6", lambda m, x: clip6(m, conv(m, x, IN, out=5, kernel=3, depth=6)), ("CONV_2D",), 0.04, 7
    ),
    Case(
        "conv-odd-clip",
        lambda m, x: m.add(
            "Clip",
            conv(m, x, IN, out=5, kernel=3, depth=6),
            m.scalar(-0.7),
            m.scalar(1.3),
        ),
        ("CONV_2D", "MAXIMUM", "MINIMUM"),
        0.04,
        100,
    ),
    Case(
        "conv-clip-void",
        lambda m, x: m.add(
            "Clip",
            conv(m, x, IN, out=5, kernel=3, depth=6),
            m.scalar(-50),
            m.scalar(50),
        ),
        ("CONV_2D",),
        0.08,
    ),
    Case(
        "conv-signed",
        lambda m, x: conv(m, x, IN, out=5, kernel=3, depth=6),
        ("CONV_2D",),
        0.08,
        -3,
        "int8",
    ),
    Case(
        "conv-explicit-pad",
        lambda m, x: conv(m, x, IN, out=5, kernel=3, depth=6, pads=[2, 0, 1, 1], strides=[2, 2]),
        ("PAD", "CONV_2D"),
        0.08,
    ),
    Case(
        "depthwise",
        lambda m, x: conv(m, x, IN, out=6, kernel=3, depth=1, group=6, pads=[1] * 4),
        ("DEPTHWISE_CONV_2D",),
    ),
    Case(
        "depthwise-multiplier",
        lambda m, x: conv(m, x, IN, out=12, kernel=3, depth=1, group=6, pads=[1] * 4),
        ("DEPTHWISE_CONV_2D",),
    ),
    Case("groups", lambda m, x: conv(m, x, IN, out=4, kernel=3, depth=3, group=2), ("CONV_2D",), 0.06),
    Case("gemm", lambda m, x: gemm(m, x, IN, out=5, depth=7), ("FULLY_CONNECTED",)),
    Case("matmul-add", matmul_add, ("FULLY_CONNECTED",)),
    Case("add", lambda m, x: m.add("Add", x, other(m, x)), ("ADD",)),
    Case("add-relu", lambda m, x: relu(m, m.add("Add", x, other(m, x))), ("ADD",), 0.03, 0),
    Case("sub", lambda m, x: m.add("Sub", x, other(m, x)), ("SUB",)),
    Case("mul", lambda m, x: m.add("Mul", x, other(m, x)), ("MUL",)),
    Case("residual", residual, ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD"), 0.06, 0),
    Case("flatten-gemm", flattened, ("CONV_2D", "FULLY_CONNECTED"), 0.1),
    Case("concat", lambda m, x: m.add("Concat", x, other(m, x), axis=1), ("CONCATENATION", "QUANTIZE")),
    Case("max-pool-same-scale", lambda m, x: m.add("MaxPool", x, kernel_shape=[2, 2]), ("MAX_POOL_2D",), IN),
    Case(
        "max-pool-other-scale", lambda m, x: m.add("MaxPool", x, kernel_shape=[2, 2]), ("MAX_POOL_2D",), 0.03
    ),
    Case(
        "max-pool-explicit-pad",
        lambda m, x: m.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 1]),
        ("MAX_POOL_2D",),
        IN,
    ),
    Case(
        "average-pool-same-scale",
        lambda m, x: m.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
        ("AVERAGE_POOL_2D",),
        IN,
    ),
    Case(
        "average-pool-other-scale",
        lambda m, x: m.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
        ("DEPTHWISE_CONV_2D",),
        0.011,
    ),
    Case(
        "average-pool-uneven",
        lambda m, x: m.add("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 0]),
        ("DEQUANTIZE", "AVERAGE_POOL_2D", "MUL"),
        IN,
    ),
    Case("global-average", lambda m, x: m.add("GlobalAveragePool", x), ("MEAN",), 0.004),
    Case("reduce-mean", lambda m, x: m.add("ReduceMean", x, ints(m, 2, 3), keepdims=0), ("MEAN",), 0.004),
    Case("reduce-max", lambda m, x: m.add("ReduceMax", x, ints(m, 1)), ("REDUCE_MAX",), 0.03),
    Case("relu", relu, ("RELU",), 0.01, 0),
    Case(
        "clip-other-scale",
        lambda m, x: m.add("Clip", x, m.scalar(-0.5), m.scalar(0.9)),
        ("MAXIMUM", "MINIMUM"),
        0.01,
    ),
    Case("leaky", lambda m, x: m.add("LeakyRelu", x, alpha=0.2), ("LEAKY_RELU",), 0.015, 40),
    Case("hard-swish", lambda m, x: m.add("HardSwish", x), ("HARD_SWISH",), 0.015, 40),
    Case("sigmoid", lambda m, x: m.add("Sigmoid", x), ("LOGISTIC",), 1 / 256, 0),
    Case("sigmoid-other-scale", lambda m, x: m.add("Sigmoid", x), ("LOGISTIC", "QUANTIZE"), 0.0037, 1),
    Case("tanh", lambda m, x: m.add("Tanh", x), ("TANH",), 1 / 128, 128),
    Case("softmax", lambda m, x: m.add("Softmax", x), ("SOFTMAX",), 1 / 256, 0),
    Case("transpose", lambda m, x: m.add("Transpose", x, perm=[0, 2, 1, 3]), (), IN),
    Case("reshape-other-scale", lambda m, x: m.add("Flatten", x), ("QUANTIZE",), 0.03),
    Case("slice", lambda m, x: m.add("Slice", x, ints(m, 1), ints(m, 5), ints(m, 2)), ("SLICE",), IN),
    Case("pad", lambda m, x: m.add("Pad", x, ints(m, 0, 0, 1, 2, 0, 0, 0, 1)), ("PAD",), IN),
    Case(
        "resize",
        lambda m, x: m.add("Resize", x, "", m.floats(1, 1, 2, 2), mode="nearest"),
        ("RESIZE_NEAREST_NEIGHBOR",),
        IN,
    ),
    Case("float-island", lambda m, x: m.add("Exp", x), ("EXP",)),
)


def _model(case: Case) -> tuple[Any, dict[str, Any]]:
    model = Model()
    shape = (3, 7) if case.id in MATRIX else (2, 6, 9, 7)
    x = model.quantized(model.input("x", shape), IN, 128)
    y = model.quantized(case.make(model, x), case.step, case.zero, dtype=case.dtype)
    feeds = {"x": np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)}
    return model.build(y), feeds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_int8_file_stays_within_steps_of_its_graph(case: Case) -> None:
    built, feeds = _model(case)
    (expected,) = run_onnx(built, feeds).values()
    for kernels, near in (("xnnpack", 1.01), ("builtin", 2.01)):
        (found,) = run_litert(built, feeds, kernels=kernels).values()
        steps = np.abs(found.astype(np.float64) - expected.astype(np.float64)) / case.step
        assert np.mean(steps <= near) >= 0.95, kernels
        assert np.mean(steps <= 5.01) >= 0.999, kernels


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_int8_kernel_is_written(case: Case) -> None:
    built, _ = _model(case)
    names = codes(built)
    assert set(case.has) <= set(names)
    if "DEQUANTIZE" not in case.has and case.id != "float-island":
        assert names.count("DEQUANTIZE") == 1  # the model output; nothing between is float


def test_scales_of_the_graph_are_in_the_file() -> None:
    built, _ = _model(next(case for case in CASES if case.id == "conv-relu"))
    tensors = compiled(built).lowered.graph.tensors
    kept = {
        (t.quant.scale[0], t.quant.zero_point[0])
        for t in tensors
        if t.quant and t.dtype == "int8" and t.data is None
    }
    assert (float(np.float32(IN)), 0) in kept
    assert (float(np.float32(0.04)), -128) in kept
