"""Layers with weights -> which channels of input, weights and output go together.

L1  Conv, one group       x[1] with W[1]; y[1] is W[0], and the bias goes with it.
L2  Conv, groups          either whole groups go, inputs and outputs together (depthwise: always), or the same
                          place of every group goes: whichever gives more channels to choose from.
L3  ConvTranspose         x[1] with W[0]; y[1] is W[1]. With groups: whole groups.
L4  Gemm, MatMul          the inner axes go together; the outer ones are the output's.
L5  MatMul of activations the inner axis stays: no weight says what a channel of it is worth.
L6  RNN, GRU, LSTM        unit h: place h of every gate of W, R, B, P, of R's input and of the states.
L7  BatchNormalization, InstanceNormalization: scale, bias and statistics go with the channel.
L8  Gather from a constant (embedding): rows stay, the width is the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import int_attribute
from edgekit.pruning.broadcast import Operand, broadcast, operand
from edgekit.pruning.trace import Axis, Trace, is_constant

Rule = Callable[[ir.Node, Trace], bool]
"""Says what it knows about a node; False: not understood, and all that the node touches stays."""

SPATIAL = "it lies along a spatial axis"


def _inputs(node: ir.Node) -> list[ir.Value | None]:
    return [value if value is not None and value.name else None for value in node.inputs]


def _bias(node: ir.Node, trace: Trace, index: int, numbers: Axis) -> None:
    bias = node.inputs[index] if len(node.inputs) > index else None
    if bias is not None and bias.name:
        trace.meet(bias, 0, numbers, f"the bias of {node.name} stays")


def conv(node: ir.Node, trace: Trace) -> bool:
    """L1, L2."""
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or not is_constant(weight) or not _bias_is_constant(node, 2):
        return False
    groups = int_attribute(node, "group", 1)
    axes = trace.axes(x)
    for axis in (0, *range(2, len(axes))):
        trace.pin(axes[axis], SPATIAL)
    if groups == 1:
        trace.meet(weight, 1, axes[1], f"the input of {node.name} stays")
        out = trace.own(weight, 0)
    else:
        out = _grouped(node, trace, weight, axes[1], groups)
    _bias(node, trace, 2, out)
    trace.give(node.outputs[0], (None, out, *(None for _ in axes[2:])))
    return True


def _grouped(node: ir.Node, trace: Trace, weight: ir.Value, x: Axis, groups: int) -> Axis:
    """L2. W: (out, in/groups, *kernel)."""
    outputs, inside = (size or 0 for size in trace.sizes(weight)[:2])
    why = f"the input of the grouped {node.name} stays"
    across, each = outputs // groups, np.arange(outputs)
    if groups >= across + inside:
        trace.meet(weight, 1, None, why)
        out = trace.own(weight, 0, units=each // across)
        if out is None or x is None:
            trace.tie(out, x, why)
            return out
        trace.ties.tie(x, np.repeat(out[::across], inside), why)
        trace.count("group", out[::across])
        return out
    out = trace.own(weight, 0, units=each % across)
    places = trace.own(weight, 1)
    trace.tie(x, None if places is None else np.tile(places, groups), why)
    return out


def conv_transpose(node: ir.Node, trace: Trace) -> bool:
    """L3. W: (in, out/groups, *kernel)."""
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or not is_constant(weight) or not _bias_is_constant(node, 2):
        return False
    groups = int_attribute(node, "group", 1)
    axes, why = trace.axes(x), f"the input of {node.name} stays"
    for axis in (0, *range(2, len(axes))):
        trace.pin(axes[axis], SPATIAL)
    out: Axis
    if groups == 1:
        trace.meet(weight, 0, axes[1], why)
        out = trace.own(weight, 1)
    else:
        inputs, across = (size or 0 for size in trace.sizes(weight)[:2])
        inside = inputs // groups
        trace.meet(weight, 1, None, why)
        found = trace.own(weight, 0, units=np.arange(inputs) // inside)
        trace.tie(found, axes[1], why)
        out = None if found is None else np.repeat(found[::inside], across)
        trace.count("group", None if found is None else found[::inside])
    _bias(node, trace, 2, out)
    trace.give(node.outputs[0], (None, out, *(None for _ in axes[2:])))
    return True


def gemm(node: ir.Node, trace: Trace) -> bool:
    """L4, A: (M, K), B: (K, N) or (N, K), C broadcast to (M, N)."""
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None or not is_constant(b) or int_attribute(node, "transA", 0):
        return False
    inner, outer = (1, 0) if int_attribute(node, "transB", 0) else (0, 1)
    axes = trace.axes(a)
    trace.meet(b, inner, axes[1], f"the input of {node.name} stays")
    out = (axes[0], trace.own(b, outer))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.name:
        sizes = (trace.sizes(a)[0], trace.sizes(b)[outer])
        broadcast([Operand(None, out, sizes), operand(bias, trace)], trace, node.name or "")
    trace.give(node.outputs[0], out)
    return True


def matmul(node: ir.Node, trace: Trace) -> bool:
    """L4, L5. A: (..., M, K), B: (..., K, N)."""
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None:
        return False
    left, right = trace.axes(a), trace.axes(b)
    if len(left) < 2 or len(right) < 2 or (is_constant(a) and is_constant(b)):
        return False
    why = f"the input of {node.name} stays"
    if is_constant(b):
        trace.meet(b, -2, left[-1], why)
    elif is_constant(a):
        trace.meet(a, -1, right[-2], why)
    else:
        between = f"{node.name} multiplies two activations along it"
        trace.pin(left[-1], between)
        trace.pin(right[-2], between)
    rows = trace.own(a, -2) if is_constant(a) else left[-2]
    columns = trace.own(b, -1) if is_constant(b) else right[-1]
    outer = broadcast([operand(value, trace, skip=2) for value in (a, b)], trace, node.name or "")
    trace.give(node.outputs[0], (*outer, rows, columns))
    return True


def recurrent(node: ir.Node, trace: Trace) -> bool:
    """L6. X: (steps, batch, in), W: (directions, gates*h, in), R: (directions, gates*h, h)."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[node.op_type]
    given = _inputs(node)
    x, weight, recur = given[0], given[1], given[2]
    if x is None or weight is None or recur is None or int_attribute(node, "layout", 0):
        return False
    fixed = [value for value in (*given[3:4], *given[7:8]) if value is not None]  # B and P
    if not all(is_constant(value) for value in (weight, recur, *fixed)):
        return False
    axes, name = trace.axes(x), node.name or ""
    trace.pin(axes[0], SPATIAL)
    trace.pin(axes[1], SPATIAL)
    trace.meet(weight, 2, axes[2], f"the input of {name} stays")
    units = trace.own(recur, 2)
    if units is None:
        for value in (weight, recur, *fixed):
            trace.pin_all(value, f"the units of {name} stay")
    else:
        why = f"the units of {name} stay"
        trace.meet(weight, 1, np.tile(units, gates), why)
        trace.meet(recur, 1, np.tile(units, gates), why)
        if len(given) > 3 and given[3] is not None:
            trace.meet(given[3], 1, np.tile(units, 2 * gates), why)
        for index in (5, 6):  # initial_h, initial_c
            state = given[index] if len(given) > index else None
            if state is not None:
                trace.meet(state, 2, units, why)
        if len(given) > 7 and given[7] is not None:
            trace.meet(given[7], 1, np.tile(units, 3), why)
        trace.count("hidden_size", units)
    for output, axes_of in zip(
        node.outputs, ((None, None, None, units), (None, None, units), (None, None, units)), strict=False
    ):
        trace.give(output, axes_of)
    return True


def channel_norm(node: ir.Node, trace: Trace) -> bool:
    """L7. x: (batch, channels, ...)."""
    x = node.inputs[0]
    if x is None or int_attribute(node, "training_mode", 0):
        return False
    axes = trace.axes(x)
    for axis in (0, *range(2, len(axes))):
        trace.pin(axes[axis], SPATIAL)
    for value in node.inputs[1:]:
        if value is not None and value.name:
            trace.meet(value, 0, axes[1], f"the input of {node.name} stays")
    trace.give(node.outputs[0], (None, axes[1], *(None for _ in axes[2:])))
    return True


def gather(node: ir.Node, trace: Trace) -> bool:
    """L8. data: (..., rows, ...), indices of any rank."""
    data, indices = node.inputs[0], node.inputs[1]
    if data is None or indices is None or not trace.knows(data):
        return False
    count = len(trace.axes(data))
    axis = int_attribute(node, "axis", 0) % count
    why = f"{node.name} picks rows of it"
    if is_constant(data):
        trace.meet(data, axis, None, why)
        found: list[Axis] = [None if each == axis else trace.own(data, each) for each in range(count)]
    else:
        trace.pin(trace.axes(data)[axis], why)
        found = list(trace.axes(data))
    picked = (None,) * len(trace.sizes(indices)) if is_constant(indices) else trace.axes(indices)
    trace.give(node.outputs[0], (*found[:axis], *picked, *found[axis + 1 :]))
    return True


def _bias_is_constant(node: ir.Node, index: int) -> bool:
    bias = node.inputs[index] if len(node.inputs) > index else None
    return bias is None or not bias.name or is_constant(bias)


RULES: dict[str, Rule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "RNN": recurrent,
    "GRU": recurrent,
    "LSTM": recurrent,
    "BatchNormalization": channel_norm,
    "InstanceNormalization": channel_norm,
    "Gather": gather,
}
