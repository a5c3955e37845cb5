"""Random valid ONNX graphs of 3 to 15 operators, drawn by hypothesis: values, steps that grow a graph.

A value is (name, shape); all are float32. Each step takes a value and gives one; it may look only at the
shape. Steps keep the values bounded: what grows (exponentials, products) goes through a Tanh or a scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

from tests.unit.litert.litert_models import Info, Model

Shape = tuple[int, ...]
Value = tuple[str, Shape]
MakeStep = Callable[[Model, st.DrawFn, Value], Value]
LARGEST = 4096  # elements of a value
ROUNDS = 65  # of a loop: one more than are unrolled


def _kernels(draw: st.DrawFn, spatial: Shape) -> list[int]:
    return [draw(st.sampled_from([k for k in (1, 2, 3) if k <= size])) for size in spatial]


def conv(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, *spatial) = value
    kernel = _kernels(draw, tuple(spatial))
    strides = [draw(st.integers(1, 2)) for _ in spatial]
    pads = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    group = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    out = group * draw(st.integers(1, 2))
    weight = m.weight(out, c // group, *kernel)
    y = m.add("Conv", name, weight, m.weight(out), group=group, pads=pads, strides=strides)
    half = len(kernel)
    sizes = [(d + pads[i] + pads[i + half] - kernel[i]) // strides[i] + 1 for i, d in enumerate(spatial)]
    return y, (n, out, *sizes)


def conv_transpose(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, *spatial) = value
    kernel = [draw(st.integers(1, 3)) for _ in spatial]
    strides = [draw(st.integers(1, 2)) for _ in spatial]
    pads = [draw(st.integers(0, (k - 1) // 2)) for k in (*kernel, *kernel)]
    half = len(kernel)
    out = draw(st.integers(1, 3))
    y = m.add("ConvTranspose", name, m.weight(c, out, *kernel), m.weight(out), strides=strides, pads=pads)
    sizes = [(d - 1) * strides[i] + kernel[i] - pads[i] - pads[i + half] for i, d in enumerate(spatial)]
    return (y, (n, out, *sizes)) if min(sizes) > 0 else value


def pool(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, *spatial) = value
    kernel = _kernels(draw, tuple(spatial))
    pads = [draw(st.integers(0, (k - 1) // 2)) for k in (*kernel, *kernel)]
    strides = [draw(st.integers(1, 2)) for _ in spatial]
    op = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    y = m.add(op, name, **attributes)
    half = len(kernel)
    sizes = [(d + pads[i] + pads[i + half] - kernel[i]) // strides[i] + 1 for i, d in enumerate(spatial)]
    return y, (n, c, *sizes)


def resize(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, *spatial) = value
    sizes = (n, c, *(draw(st.integers(1, 2 * size)) for size in spatial))
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    if mode == "cubic" and len(spatial) != 2:
        mode = "nearest"  # onnxruntime: cubic over two axes only
    where = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    y = m.add("Resize", name, "", "", m.ints(*sizes), mode=mode, coordinate_transformation_mode=where)
    return y, sizes


def unary(m: Model, draw: st.DrawFn, value: Value) -> Value:
    names = [
        "Relu",
        "Sigmoid",
        "HardSwish",
        "Tanh",
        "Neg",
        "LeakyRelu",
        "Abs",
        "Softplus",
        "Softsign",
        "Selu",
    ]
    names += ["Gelu", "Erf", "Mish", "Sin", "Cos", "Atan", "Floor", "Sign", "HardSigmoid", "Celu", "Shrink"]
    return m.add(draw(st.sampled_from(names)), value[0]), value[1]


def constant(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    kept = [dim if draw(st.booleans()) else 1 for dim in shape]
    kept = kept[draw(st.integers(0, len(kept))) :]
    return m.add(draw(st.sampled_from(["Add", "Mul", "Sub", "Max", "Min"])), name, m.weight(*kept)), shape


def transpose(m: Model, draw: st.DrawFn, value: Value) -> Value:
    perm = draw(st.permutations(range(len(value[1]))))
    return m.add("Transpose", value[0], perm=perm), tuple(value[1][axis] for axis in perm)


def concat(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axis = draw(st.integers(0, len(value[1]) - 1))
    other = m.add("Neg", value[0])
    shape = tuple(2 * dim if i == axis else dim for i, dim in enumerate(value[1]))
    return m.add("Concat", value[0], other, axis=axis), shape


def shift(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Pad on one side, Slice on the other."""
    rank = len(value[1])
    axis = draw(st.integers(0, rank - 1))
    modes = ["constant", "edge", "wrap"] + (["reflect"] if value[1][axis] > 1 else [])
    amounts = [0] * (2 * rank)
    amounts[axis] = 1
    padded = m.add("Pad", value[0], m.ints(*amounts), mode=draw(st.sampled_from(modes)))
    return m.add("Slice", padded, m.ints(0), m.ints(-1), m.ints(axis)), value[1]


def stride(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axis = draw(st.integers(0, len(value[1]) - 1))
    step = draw(st.sampled_from([-1, -2, 2]))
    start, end = (0, 2**31) if step > 0 else (-1, -(2**31))
    y = m.add("Slice", value[0], m.ints(start), m.ints(end), m.ints(axis), m.ints(step))
    return y, tuple(-(-dim // abs(step)) if i == axis else dim for i, dim in enumerate(value[1]))


def gate(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axes = sorted(draw(st.sets(st.integers(0, len(value[1]) - 1), min_size=1)))
    op = draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2", "ReduceLogSumExp"]))
    reduced = m.add(op, value[0], m.ints(*axes), keepdims=1)
    return m.add("Mul", value[0], m.add("Sigmoid", reduced)), value[1]


def reduce(m: Model, draw: st.DrawFn, value: Value) -> Value:
    axis = draw(st.integers(1, len(value[1]) - 1))
    op = draw(st.sampled_from(["ReduceMean", "ReduceMin", "ReduceL1", "ReduceSumSquare"]))
    y = m.add(op, value[0], m.ints(axis), keepdims=0)
    return y, tuple(dim for i, dim in enumerate(value[1]) if i != axis)


def reshape(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Two neighbours become one, or an even axis becomes two."""
    name, shape = value
    axis = draw(st.integers(0, len(shape) - 1))
    if shape[axis] % 2 == 0 and len(shape) < 5 and draw(st.booleans()):
        new = (*shape[:axis], 2, shape[axis] // 2, *shape[axis + 1 :])
    elif axis + 1 < len(shape) and len(shape) > 2:
        new = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    else:
        return value
    return m.add("Reshape", name, m.ints(*new)), new


def normalize(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    op = draw(
        st.sampled_from(["Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "LRN"])
    )
    axis = draw(st.integers(0, len(shape) - 1))
    if op == "LayerNormalization":
        return m.add(
            op, name, m.weight(*shape[axis:]), m.weight(*shape[axis:]), axis=axis, epsilon=0.1
        ), shape
    if op == "InstanceNormalization" and len(shape) > 2:
        return m.add(op, name, m.weight(shape[1]), m.weight(shape[1]), epsilon=0.1), shape
    if op == "LRN" and len(shape) == 4:
        return m.add(op, name, size=3, alpha=0.5), shape
    return m.add("Softmax" if op in {"LRN", "InstanceNormalization"} else op, name, axis=axis), shape


def matmul(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    if draw(st.booleans()):
        out = draw(st.integers(1, 4))
        return m.add("MatMul", name, m.weight(shape[-1], out)), (*shape[:-1], out)
    perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    scores = m.add("MatMul", name, m.add("Transpose", name, perm=perm))
    return m.add("Tanh", scores), (*shape[:-1], shape[-2])


def choose(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    kept = [dim if draw(st.booleans()) else 1 for dim in shape]
    above = m.add("Greater", name, m.weight(*kept))
    return m.add("Where", above, name, m.weight(shape[-1])), shape


def pick(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Gather, TopK, GatherElements, CumSum, Trilu, Split along some axis."""
    name, shape = value
    axis = draw(st.integers(0, len(shape) - 1))
    size = shape[axis]
    op = draw(
        st.sampled_from(["Gather", "TopK", "GatherElements", "CumSum", "Trilu", "Split", "Tile", "Hardmax"])
    )
    if op == "Gather":
        indices = [draw(st.integers(-size, size - 1)) for _ in range(draw(st.integers(1, 3)))]
        new = tuple(len(indices) if i == axis else dim for i, dim in enumerate(shape))
        return m.add(op, name, m.ints(*indices), axis=axis), new
    if op == "TopK":
        k = draw(st.integers(1, size))
        y = m.add(op, name, m.ints(k), axis=axis, largest=draw(st.integers(0, 1)), outputs=2)
        return y, tuple(k if i == axis else dim for i, dim in enumerate(shape))
    if op == "GatherElements":
        places = m.rng.integers(-size, size, shape)
        return m.add(op, name, m.constant(places), axis=axis), shape
    if op == "CumSum":
        total = m.add(op, name, m.constant(np.asarray(axis)), reverse=draw(st.integers(0, 1)))
        return m.add("Tanh", total), shape
    if op == "Split" and size > 1:
        y = m.add(op, name, m.ints(1, size - 1), axis=axis, outputs=2)
        return y, tuple(1 if i == axis else dim for i, dim in enumerate(shape))
    if op == "Tile":
        y = m.add(op, name, m.ints(*(2 if i == axis else 1 for i in range(len(shape)))))
        return y, tuple(2 * dim if i == axis else dim for i, dim in enumerate(shape))
    if op == "Hardmax":
        apart = m.add("Add", name, m.weight(*shape))  # a Tanh makes many values equal but for rounding
        return m.add("Add", name, m.add(op, apart, axis=axis)), shape
    return m.add("Trilu", name, upper=draw(st.integers(0, 1))), shape


def rearrange(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    if h % 2 == w % 2 == 0 and draw(st.booleans()):
        return m.add("SpaceToDepth", name, blocksize=2), (n, 4 * c, h // 2, w // 2)
    if c % 4 == 0:
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        return m.add("DepthToSpace", name, blocksize=2, mode=mode), (n, c // 4, 2 * h, 2 * w)
    return value


def recurrent(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (length, batch, features) = value
    op, gates = draw(st.sampled_from([("LSTM", 4), ("GRU", 3), ("RNN", 1)]))
    weights = [m.weight(1, 3 * gates, features), m.weight(1, 3 * gates, 3), m.weight(1, 6 * gates)]
    y = m.add(op, name, *weights, hidden_size=3, direction=draw(st.sampled_from(["forward", "reverse"])))
    return m.add("Squeeze", y, m.ints(1)), (length, batch, 3)


KEEPS: tuple[MakeStep, ...] = (unary, constant, shift, gate, normalize, choose)
"""Steps that keep the shape."""


def _kept(m: Model, draw: st.DrawFn, value: Value) -> str:
    """One or two of ``KEEPS``, bounded."""
    name = value[0]
    for _ in range(draw(st.integers(1, 2))):
        name = KEEPS[draw(st.integers(0, len(KEEPS) - 1))](m, draw, (name, value[1]))[0]
    return m.add("Tanh", name)


def branch(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Is the largest above some number? One chain of steps, or another that reads an earlier value, too.

    Not the mean above 0: after a Concat of x and -x it is 0 but for rounding, and both answers are right.
    """
    name, shape = value
    limit = m.constant(np.asarray(m.rng.standard_normal() + 1, np.float32))
    above = m.add("Greater", m.add("ReduceMax", name, keepdims=0), limit)
    outside = m.add("Neg", name)

    def other() -> list[Info]:
        return [(m.add("Mul", _kept(m, draw, value), outside), shape, "float32")]

    branches = {
        "then_branch": m.body((), lambda: [(_kept(m, draw, value), shape, "float32")]),
        "else_branch": m.body((), other),
    }
    return m.add("If", above, **branches), shape


def iterate(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Three rounds, which only the condition knows; or 65 of which every one is kept."""
    name, shape = value
    collects = np.prod(shape) <= LARGEST // ROUNDS and len(shape) < 5 and draw(st.booleans())
    i, going, state = (f"{name}_{part}" for part in ("i", "going", "state"))
    inputs: list[Info] = [(i, (), "int64"), (going, (), "bool"), (state, shape, "float32")]
    outside = m.add("Neg", name)

    def once() -> list[Info]:
        if not collects:
            last = m.add("Sub", _kept(m, draw, (state, shape)), outside)
            on = m.add("Less", i, m.constant(np.asarray(2)))
            return [(on, (), "bool"), (last, shape, "float32")]
        row = m.add("Add", _kept(m, draw, (state, shape)), outside)
        last = m.add("Mul", state, m.scalar(-0.9))
        on = m.add("Identity", going)
        return [(on, (), "bool"), (last, shape, "float32"), (row, shape, "float32")]

    count = m.constant(np.asarray(ROUNDS))
    true = m.constant(np.asarray(True))
    y = m.add("Loop", count, true, name, body=m.body(inputs, once), outputs=2 if collects else 1)
    return (f"{y}_1", (ROUNDS, *shape)) if collects else (y, shape)


ANY: tuple[MakeStep, ...] = (
    *(unary, unary, constant, constant, transpose, concat, shift, stride, gate, reshape, normalize),
    *(matmul, choose, pick, pick, branch, iterate),
)
SPATIAL: tuple[MakeStep, ...] = (conv, conv, pool, conv_transpose, resize)
IMAGE: tuple[MakeStep, ...] = (*SPATIAL, *SPATIAL, rearrange)


def steps(shape: Shape) -> tuple[MakeStep, ...]:
    """What may follow a value of ``shape``."""
    if len(shape) == 4:
        return (*IMAGE, *ANY, reduce)
    if len(shape) == 3:
        return (*SPATIAL, *ANY, recurrent, reduce)
    return ANY if len(shape) == 2 else (*ANY, reduce)


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """A model with one input "x" and one output."""
    m = Model(seed=draw(st.integers(0, 1000)))
    rank = draw(st.sampled_from([4, 4, 4, 3, 2, 5]))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *(draw(st.integers(2, 7)) for _ in range(3)))[
        :rank
    ]
    values: list[Value] = [(m.input("x", shape), shape)]
    for _ in range(draw(st.integers(2, 8))):
        source = values[-1 if draw(st.integers(0, 3)) else draw(st.integers(0, len(values) - 1))]
        options = steps(source[1])
        made = options[draw(st.integers(0, len(options) - 1))](m, draw, source)
        if 0 < np.prod(made[1]) <= LARGEST and made[0] != source[0]:
            values.append(made)
        same = [v for v in values[:-1] if v[1] == values[-1][1]]
        if draw(st.booleans()) and same:
            other = same[draw(st.integers(0, len(same) - 1))]
            values.append((m.add("Add", values[-1][0], other[0]), values[-1][1]))
    last, end = values[-1]
    if draw(st.booleans()):
        flat = m.add("Flatten", last)
        last = m.add("Gemm", flat, m.weight(int(np.prod(end[1:])), 3))
    return m.build(m.add("Identity", last))
