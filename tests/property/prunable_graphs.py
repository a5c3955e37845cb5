"""Random ONNX graphs whose channels hang together in every way that ``pruning.dependency`` has a rule for.

Images: convolutions of one group, of several and depthwise, transposed ones, residuals, concatenations,
splits that meet again, slices, shortcuts that pad channels, squeeze-and-excitation, PRelu, normalizations,
pooling, Resize. Tokens: feed-forward blocks, attention with heads, LayerNormalization, LSTM and GRU. A
Flatten or a mean, and a dense layer at the end. Values stay bounded, and nothing divides by a channel: one of
zeros contributes zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import strategies as st

from tests.unit.litert.litert_models import Model

Shape = tuple[int, ...]
Value = tuple[str, Shape]
Step = Callable[[Model, st.DrawFn, Value], Value]


def conv(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3, c) if c % g == 0]))
    out = groups * draw(st.integers(1, 4))
    size = draw(st.sampled_from([1, 3]))
    weight = m.weight(out, c // groups, size, size, scale=0.3)
    bias = [m.weight(out)] if draw(st.booleans()) else []
    y = m.add("Conv", name, weight, *bias, group=groups, pads=[size // 2] * 4)
    return y, (n, out, h, w)


def conv_transpose(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    groups = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    each = draw(st.integers(1, 3))
    y = m.add(
        "ConvTranspose",
        name,
        m.weight(c, each, 3, 3, scale=0.3),
        m.weight(groups * each),
        group=groups,
        pads=[1] * 4,
    )
    return y, (n, groups * each, h, w)


def residual(m: Model, draw: st.DrawFn, value: Value) -> Value:
    inner = activation(m, draw, conv(m, draw, value))
    c = value[1][1]
    y = m.add("Conv", inner[0], m.weight(c, inner[1][1], 1, 1, scale=0.3), m.weight(c))
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Max"]))
    return m.add(op, value[0], m.add("Tanh", y)), value[1]


def concat(m: Model, draw: st.DrawFn, value: Value) -> Value:
    other = conv(m, draw, value)
    parts = [value, other] if draw(st.booleans()) else [other, value, value]
    total = sum(shape[1] for _, shape in parts)
    y = m.add("Concat", *(name for name, _ in parts), axis=1)
    return y, (value[1][0], total, *value[1][2:])


def split(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """Two parts that are added, multiplied, or put together the other way round."""
    name, (n, c, *rest) = value
    if c % 2 or c < 4:
        return value
    if draw(st.booleans()):
        first = m.add("Split", name, axis=1, num_outputs=2, outputs=2)
        second = f"{first}_1"
    else:
        first = m.add("Slice", name, m.ints(0), m.ints(c // 2), m.ints(1))
        second = m.add("Slice", name, m.ints(c // 2), m.ints(2**31), m.ints(1), m.ints(1))
    how = draw(st.sampled_from(["Add", "Mul", "swap"]))
    if how == "swap":
        return m.add("Concat", second, first, axis=1), value[1]
    return m.add(how, first, m.add("Sigmoid", second)), (n, c // 2, *rest)


def uneven_split(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    if c < 3:
        return value
    at = draw(st.integers(1, c - 1))
    first = m.add("Split", name, m.ints(at, c - at), axis=1, outputs=2)
    y = m.add("Conv", f"{first}_1", m.weight(3, c - at, 1, 1))
    return m.add("Concat", y, first, axis=1), (n, at + 3, h, w)


def pad_shortcut(m: Model, draw: st.DrawFn, value: Value) -> Value:
    """ResNet's shortcut of option A."""
    name, (n, c, h, w) = value
    more = draw(st.integers(1, 2))
    padded = m.add("Pad", name, m.ints(0, more, 0, 0, 0, more, 0, 0))
    body = m.add("Conv", name, m.weight(c + 2 * more, c, 3, 3, scale=0.3), pads=[1] * 4)
    return m.add("Relu", m.add("Add", padded, body)), (n, c + 2 * more, h, w)


def squeeze_excite(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, c = value[0], value[1][1]
    mean = m.add("GlobalAveragePool", name)
    inner = m.add("Relu", m.add("Conv", mean, m.weight(3, c, 1, 1), m.weight(3)))
    gate = m.add("Sigmoid", m.add("Conv", inner, m.weight(c, 3, 1, 1), m.weight(c)))
    return m.add("Mul", name, gate), value[1]


def activation(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    op = draw(st.sampled_from(["Relu", "Tanh", "Sigmoid", "PRelu", "Clip", "HardSwish", "scale"]))
    wide = [shape[1], *(1 for _ in shape[2:])]
    if op == "PRelu":
        return m.add(op, name, m.weight(*wide)), shape
    if op == "Clip":
        return m.add(op, name, m.scalar(-1.0), m.scalar(1.0)), shape
    if op == "scale":
        return m.add("Mul", name, m.weight(1, *wide)), shape
    return m.add(op, name), shape


def norm(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    c = shape[1]
    if draw(st.booleans()):
        variance = m.constant(m.rng.uniform(0.5, 2.0, c).astype(np.float32))
        return m.add("BatchNormalization", name, m.weight(c), m.weight(c), m.weight(c), variance), shape
    if draw(st.booleans()):
        return m.add("InstanceNormalization", name, m.weight(c), m.weight(c), epsilon=0.1), shape
    return m.add("LpNormalization", name, axis=1), shape  # no rule: all its channels stay


def pool(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    if draw(st.booleans()):
        y = m.add("Resize", name, "", "", m.ints(n, c, h + 1, w), mode="nearest")
        return y, (n, c, h + 1, w)
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    return m.add(op, name, kernel_shape=[2, 2], pads=[1, 1, 0, 0]), (n, c, h, w)


def shuffle(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, c, h, w) = value
    if c % 2 or c < 4:
        return value
    parts = m.add("Reshape", name, m.ints(n, 2, c // 2, h, w))
    turned = m.add("Transpose", parts, perm=[0, 2, 1, 3, 4])
    return m.add("Reshape", turned, m.ints(n, -1, h, w)), value[1]


def feed_forward(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    width = draw(st.integers(2, 6))
    inner = m.add("Add", m.add("MatMul", name, m.weight(shape[-1], width)), m.weight(width))
    y = m.add("MatMul", m.add("Gelu", inner), m.weight(width, shape[-1], scale=0.3))
    return m.add("Add", name, y), shape


def project(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    width = draw(st.integers(2, 6))
    y = m.add("Tanh", m.add("Add", m.add("MatMul", name, m.weight(shape[-1], width)), m.weight(width)))
    return y, (*shape[:-1], width)


def attention(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, t, d) = value
    heads, size = draw(st.integers(2, 4)), draw(st.integers(1, 3))

    def projected(perm: list[int]) -> str:
        y = m.add("Add", m.add("MatMul", name, m.weight(d, heads * size)), m.weight(heads * size))
        return m.add("Transpose", m.add("Reshape", y, m.ints(n, t, heads, size)), perm=perm)

    query, key, worth = (projected(perm) for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    scores = m.add("Softmax", m.add("Mul", m.add("MatMul", query, key), m.scalar(0.5)), axis=-1)
    mixed = m.add("Transpose", m.add("MatMul", scores, worth), perm=[0, 2, 1, 3])
    joined = m.add("Reshape", mixed, m.ints(0, 0, heads * size))
    y = m.add("MatMul", joined, m.weight(heads * size, d, scale=0.3))
    return m.add("Add", name, y), value[1]


def layer_norm(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, shape = value
    return m.add(
        "LayerNormalization", name, m.weight(shape[-1]), m.weight(shape[-1]), axis=-1, epsilon=0.1
    ), shape


def recurrent(m: Model, draw: st.DrawFn, value: Value) -> Value:
    name, (n, t, d) = value
    op, gates = draw(st.sampled_from([("LSTM", 4), ("GRU", 3), ("RNN", 1)]))
    units, both = draw(st.integers(2, 5)), draw(st.integers(1, 2))
    direction = "forward" if both == 1 else "bidirectional"
    x = m.add("Transpose", name, perm=[1, 0, 2])
    weights = [
        m.weight(both, gates * units, d),
        m.weight(both, gates * units, units),
        m.weight(both, 2 * gates * units),
    ]
    y = m.add(op, x, *weights, hidden_size=units, direction=direction)
    back = m.add("Transpose", y, perm=[2, 0, 1, 3])  # (batch, steps, directions, units)
    return m.add("Reshape", back, m.ints(n, t, -1)), (n, t, both * units)


IMAGE: tuple[Step, ...] = (
    *(conv, conv, residual, residual, concat, split, uneven_split, pad_shortcut, squeeze_excite),
    *(activation, norm, pool, shuffle, conv_transpose),
)
TOKENS: tuple[Step, ...] = (feed_forward, project, attention, layer_norm, recurrent)


@st.composite
def prunable_graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """A model with one input "x" and one output, (n, 3)."""
    m = Model(seed=draw(st.integers(0, 10_000)))
    n = draw(st.integers(1, 2))
    is_image = draw(st.integers(0, 3)) > 0
    if is_image:
        shape: Shape = (n, draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(2, 4)))
        value = conv(m, draw, (m.input("x", shape), shape))
    else:
        shape = (n, draw(st.integers(2, 4)), draw(st.integers(2, 6)))
        value = project(m, draw, (m.input("x", shape), shape))
    options = IMAGE if is_image else TOKENS
    for _ in range(draw(st.integers(1, 5))):
        made = options[draw(st.integers(0, len(options) - 1))](m, draw, value)
        if np.prod(made[1]) <= 2048:
            value = made
    name, end = value
    if draw(st.booleans()) and is_image:
        flat, width = m.add("Flatten", m.add("GlobalAveragePool", name)), end[1]
    elif is_image:
        flat, width = m.add("Reshape", name, m.ints(n, int(np.prod(end[1:])))), int(np.prod(end[1:]))
    else:
        flat, width = m.add("ReduceMean", name, m.ints(1), keepdims=0), end[-1]
    return m.build(m.add("Gemm", flat, m.weight(3, width), m.weight(3), transB=1))
