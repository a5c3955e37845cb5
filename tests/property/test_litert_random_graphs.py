"""Random graphs of convolutions, pools, elementwise and shape operators keep their values in the file.

Tolerance 1e-4 of the output's range; graphs are drawn by hypothesis from a fixed seed (derandomize). Each
step takes a value that exists already, so that diamonds, several readers and layout-sensitive mixes come up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.litert.litert_models import Model, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4
Value = tuple[str, tuple[int, ...]]


def _conv(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    kernel = draw(st.sampled_from([k for k in (1, 2, 3) if k <= min(h, w)]))
    stride = draw(st.integers(1, 2))
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(4)]
    group = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    out = group * draw(st.integers(1, 2))
    weight = m.weight(out, c // group, kernel, kernel)
    y = m.add("Conv", name, weight, m.weight(out), group=group, pads=pads, strides=[stride] * 2)
    sizes = [(d + pads[i] + pads[i + 2] - kernel) // stride + 1 for i, d in enumerate((h, w))]
    return y, (n, out, *sizes)


def _pool(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    kernel = draw(st.sampled_from([k for k in (1, 2, 3) if k <= min(h, w)]))
    pads = [draw(st.integers(0, (kernel - 1) // 2)) for _ in range(4)]
    stride = draw(st.integers(1, 2))
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads}
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    y = m.add(op, name, **attributes)
    sizes = [(d + pads[i] + pads[i + 2] - kernel) // stride + 1 for i, d in enumerate((h, w))]
    return y, (n, c, *sizes)


def _unary(m: Model, draw: st.DrawFn, value: Value) -> Value:
    op = draw(st.sampled_from(["Relu", "Sigmoid", "HardSwish", "Tanh", "Neg", "LeakyRelu"]))
    return m.add(op, value[0]), value[1]


def _constant(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    kept = [dim if draw(st.booleans()) else 1 for dim in shape]
    kept = kept[draw(st.integers(0, len(kept))) :]
    return m.add(draw(st.sampled_from(["Add", "Mul", "Sub"])), name, m.weight(*kept)), shape


def _transpose(m: Model, draw: st.DrawFn, value: Value) -> Value:
    perm = draw(st.sampled_from([[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]]))
    return m.add("Transpose", value[0], perm=perm), tuple(value[1][axis] for axis in perm)


def _concat(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axis = draw(st.integers(1, 3))
    other = m.add("Neg", value[0])
    shape = tuple(2 * dim if i == axis else dim for i, dim in enumerate(value[1]))
    return m.add("Concat", value[0], other, axis=axis), shape


def _shift(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Pad on one side, Slice on the other."""
    axis = draw(st.integers(1, 3))
    amounts = [0] * 8
    amounts[axis] = 1
    padded = m.add("Pad", value[0], m.ints(*amounts))
    return m.add("Slice", padded, m.ints(0), m.ints(-1), m.ints(axis)), value[1]


def _gate(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axes = draw(st.sampled_from([(2, 3), (1,), (1, 2)]))
    gate = m.add("ReduceMean", value[0], m.ints(*axes), keepdims=1)
    return m.add("Mul", value[0], m.add("Sigmoid", gate)), value[1]


MakeStep = Callable[[Model, st.DrawFn, Value], Value]
STEPS: tuple[MakeStep, ...] = (_conv, _conv, _pool, _unary, _constant, _transpose, _concat, _shift, _gate)


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    m = Model(seed=draw(st.integers(0, 1000)))
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        draw(st.integers(3, 7)),
        draw(st.integers(3, 7)),
    )
    values: list[Value] = [(m.input("x", shape), shape)]
    for _ in range(draw(st.integers(2, 8))):
        source = values[-1 if draw(st.integers(0, 3)) else draw(st.integers(0, len(values) - 1))]
        made = STEPS[draw(st.integers(0, len(STEPS) - 1))](m, draw, source)
        if np.prod(made[1]) <= 4096:
            values.append(made)
        same = [v for v in values[:-1] if v[1] == values[-1][1]]
        if draw(st.booleans()) and same:
            other = same[draw(st.integers(0, len(same) - 1))]
            values.append((m.add("Add", values[-1][0], other[0]), values[-1][1]))
    last, end = values[-1]
    if draw(st.booleans()):
        flat = m.add("Flatten", last)
        last = m.add("Gemm", flat, m.weight(int(np.prod(end[1:])), 3))
    return m.build(last)


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_a_random_graph_keeps_its_values(model: onnx.ModelProto) -> None:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,) = run_onnx(model, feeds).values()
    (found,) = run_litert(model, feeds).values()
    assert relative_error(found, expected) <= TOLERANCE
