"""Loop over the steps of a GRU -> one GRU operator.

    z = f(A0 + B0)   r = f(A1 + B1)   c = g(A2 + r * B2)         A = x[t] W + a,  B = h U + b     (after)
                                      c = g(A2 + (r * h) U2)     and no b                         (before)
    h = z * h + (1 - z) * c                                      for t = 0 .. T - 1

TensorFlow writes a recurrent layer as a while loop, and tf2onnx knows that of an LSTM only. A Loop has no
kernel in most runtimes, a GRU has one in all. Columns of W and U are the gates z, r, c in both.

R1: everything must be there as written above, or the Loop stays: a mask, another cell, a dropout.
R2: the loop must run over the whole sequence: its trip count and each condition compare with the length of
    the very tensor that steps are gathered from.
R3: what else the loop gives must be unread or a value that it only hands through.

Source: onnx GRU-14 (equations, linear_before_reset), Loop-21; keras/src/layers/rnn/gru.py (GRUCell.call).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import (
    add_initializer,
    free_name,
    int_attribute,
    is_onnx,
    replace_value,
    shape_of,
)
from edgekit.passes.base import Pass
from edgekit.passes.counted_loop import Array, CountedLoop, gathered, last_axis, pairs, plain, runs_over

GATES = 3
ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")  # those of GRU-14 without parameters


@dataclass(frozen=True)
class RecognizeGru(Pass):
    """Write the loop of a GRU as the operator."""

    requires: ClassVar[frozenset[str]] = frozenset({"shapes-known"})
    breaks: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Look at each Loop of the main graph."""
        for node in tuple(model.graph):
            if is_onnx(node, "Loop"):
                found = _match(node)
                if found is not None:
                    _write(model.graph, node, found)
        return model


@dataclass(frozen=True)
class _Product:
    """``source @ weight + bias``: weight (in, columns), bias (columns,) or None."""

    source: ir.Value
    weight: Array
    bias: Array | None


@dataclass(frozen=True)
class _Gru:
    """What was found; ``state`` is the place of h among the carried values."""

    sequence: ir.Value
    start: ir.Value
    state: int
    kernel: Array
    recurrent: Array
    biases: tuple[Array | None, Array | None]
    activations: tuple[str, str]
    reset_after: bool


def _match(node: ir.Node) -> _Gru | None:
    """R1 to R3."""
    loop = CountedLoop(node)
    body = loop.body
    states = [
        index
        for index, value in enumerate(body.inputs[2:])
        if value not in loop.handed_through and len(shape_of(node.inputs[2 + index]) or ()) == 2
    ]
    if len(states) != 1 or len(body.outputs) - 1 != len(body.inputs) - 2 + 1:
        return None
    state = states[0]
    h, new = body.inputs[2 + state], plain(body.outputs[1 + state])
    if plain(body.outputs[-1]) is not new:
        return None
    found = _cell(loop, h, new)
    if found is None:
        return None
    step, cell = found
    sequence, counter = gathered(loop, step)
    start = node.inputs[2 + state]
    if sequence is None or counter is None or start is None:
        return None
    if not runs_over(loop, sequence, counter) or not _rest_is_unread(loop, state):
        return None
    return _Gru(sequence, start, state, *cell)


_Cell = tuple[Array, Array, tuple[Array | None, Array | None], tuple[str, str], bool]


def _cell(loop: CountedLoop, h: ir.Value, new: ir.Value) -> tuple[ir.Value, _Cell] | None:
    """(x[t], the rest of a ``_Gru``) of ``h = z * h + (1 - z) * c``."""
    for kept, drawn in pairs(new, "Add"):
        for gate, old in pairs(kept, "Mul"):
            if old is not h:
                continue
            for rest, candidate in pairs(drawn, "Mul"):
                maker = rest.producer()
                if maker is None or not is_onnx(maker, "Sub") or maker.inputs[1] is not gate:
                    continue
                one = loop.array(maker.inputs[0])
                if one is not None and np.all(one == 1):
                    return _gates(loop, h, gate, candidate)
    return None


def _gates(
    loop: CountedLoop, h: ir.Value, gate: ir.Value, candidate: ir.Value
) -> tuple[ir.Value, _Cell] | None:
    f, before_f = _activated(gate)
    g, before_g = _activated(candidate)
    if before_f is None or before_g is None:
        return None
    for input_c, other in pairs(before_g, "Add"):
        inputs, place = _part(input_c)
        x = _product(loop, inputs) if inputs is not None and place == 2 else None
        if inputs is None or x is None or not _is_sum(before_f, (inputs, 0)):
            continue
        z_side = _other(before_f, (inputs, 0))
        found = _after(loop, h, inputs, other=other, z_side=z_side, f=f) or _before(
            loop, h, inputs, other=other, z_side=z_side, f=f
        )
        if found is None:
            continue
        recurrent, bias, reset_after = found
        units = recurrent.shape[0]
        if x.weight.shape[1] == recurrent.shape[1] == GATES * units:
            return x.source, (x.weight, recurrent, (x.bias, bias), (f, g), reset_after)
    return None


def _after(
    loop: CountedLoop, h: ir.Value, inputs: ir.Value, *, other: ir.Value, z_side: ir.Value | None, f: str
) -> tuple[Array, Array | None, bool] | None:
    """C reads r * (h U2 + b2)."""
    for reset, third in pairs(other, "Mul"):
        base, place = _part(third)
        if base is None or place != 2 or z_side is None or _part(z_side) != (base, 0):
            continue
        if not _is_reset(reset, f, (inputs, 1), (base, 1)):
            continue
        product = _product(loop, base)
        if product is not None and product.source is h:
            return product.weight, product.bias, True
    return None


def _before(
    loop: CountedLoop, h: ir.Value, inputs: ir.Value, *, other: ir.Value, z_side: ir.Value | None, f: str
) -> tuple[Array, Array | None, bool] | None:
    """C reads (r * h) U2."""
    third, (base, place) = _product(loop, other), _part(z_side)
    if third is None or third.bias is not None or base is None or place != 0:
        return None
    two = _product(loop, base)
    if two is None or two.source is not h or two.bias is not None:
        return None
    for reset, old in pairs(third.source, "Mul"):
        if old is h and _is_reset(reset, f, (inputs, 1), (base, 1)):
            return np.concatenate([two.weight, third.weight], axis=1), None, False
    return None


# --- the vocabulary --------------------------------------------------------------------------------------


def _activated(value: ir.Value) -> tuple[str, ir.Value | None]:
    node = value.producer()
    known = node is not None and is_onnx(node, *ACTIVATIONS)
    return (node.op_type, node.inputs[0]) if node is not None and known else ("", None)


def _part(value: ir.Value | None) -> tuple[ir.Value | None, int]:
    """(what it is a part of, which): an equal part along the last axis, by Split or Slice."""
    node = plain(value).producer() if value is not None else None
    source = node.inputs[0] if node is not None and node.inputs else None
    size = (shape_of(value) or (None,))[-1] if value is not None else None
    if node is None or source is None:
        return None, -1
    if is_onnx(node, "Split"):
        ndim = len(shape_of(source) or ())
        last = int_attribute(node, "axis", 0) in {-1, ndim - 1}
        equal = len(node.inputs) < 2 or node.inputs[1] is None
        index = plain(value).index() if value is not None else None
        return (source, index) if last and equal and index is not None else (None, -1)
    bounds = last_axis(node, len(shape_of(source) or ())) if is_onnx(node, "Slice") else None
    if bounds is None or not size or bounds[0] % size:
        return None, -1
    return source, bounds[0] // size


def _is_sum(value: ir.Value, part: tuple[ir.Value, int]) -> bool:
    return _other(value, part) is not None


def _other(value: ir.Value, part: tuple[ir.Value, int]) -> ir.Value | None:
    """What is added to ``part`` to make ``value``."""
    return next((other for one, other in pairs(value, "Add") if _part(one) == part), None)


def _is_reset(
    value: ir.Value, f: str, of_input: tuple[ir.Value, int], of_state: tuple[ir.Value, int]
) -> bool:
    name, inside = _activated(value)
    if name != f or inside is None:
        return False
    other = _other(inside, of_input)
    return other is not None and _part(other) == of_state


def _product(loop: CountedLoop, value: ir.Value) -> _Product | None:
    node = plain(value).producer()
    if node is not None and is_onnx(node, "MatMul"):
        weight, source = loop.array(node.inputs[1]), node.inputs[0]
        fits = weight is not None and weight.ndim == 2 and source is not None
        return _Product(plain(source), weight, None) if fits and weight is not None and source else None
    for one, other in pairs(value, "Add"):
        bias, product = loop.array(other), _product(loop, one)
        if product is not None and product.bias is None and bias is not None and bias.ndim == 1:
            return _Product(product.source, product.weight, bias)
    return None


def _rest_is_unread(loop: CountedLoop, state: int) -> bool:
    """R3."""
    for index, output in enumerate(loop.node.outputs[:-1]):
        through = loop.body.inputs[2 + index] in loop.handed_through
        read = output.is_graph_output() or (bool(output.uses()) and not through)
        if index != state and read:
            return False
    return True


# --- writing ---------------------------------------------------------------------------------------------


def _write(graph: ir.Graph, node: ir.Node, found: _Gru) -> None:
    name = node.name or "gru"
    units = found.recurrent.shape[0]
    zeros = np.zeros(GATES * units, np.float32)
    input_bias, state_bias = (zeros if each is None else each for each in found.biases)
    kernel = add_initializer(graph, f"{name}_W", np.ascontiguousarray(found.kernel.T[None]))
    recurrent = add_initializer(graph, f"{name}_R", np.ascontiguousarray(found.recurrent.T[None]))
    both = np.concatenate([input_bias, state_bias])[None].astype(np.float32)
    bias = add_initializer(graph, f"{name}_B", both)
    first = add_initializer(graph, f"{name}_axis_0", np.zeros(1, np.int64))
    second = add_initializer(graph, f"{name}_axis_1", np.ones(1, np.int64))
    start = ir.node("Unsqueeze", [found.start, first], name=free_name(graph, f"{name}_start"))
    gru = ir.node(
        "GRU",
        [found.sequence, kernel, recurrent, bias, None, start.outputs[0]],
        attributes={
            "hidden_size": units,
            "linear_before_reset": int(found.reset_after),
            "activations": list(found.activations),
        },
        num_outputs=2,
        name=free_name(graph, f"{name}_gru"),
    )
    steps = ir.node("Squeeze", [gru.outputs[0], second], name=free_name(graph, f"{name}_steps"))
    last = ir.node("Squeeze", [gru.outputs[1], first], name=free_name(graph, f"{name}_last"))
    graph.insert_before(node, [start, gru, steps, last])
    for made in (start, gru, steps, last):
        for value in made.outputs:
            value.name = free_name(graph, f"{made.name}_out")
            value.type = ir.TensorType(ir.DataType.FLOAT)
    loop = CountedLoop(node)
    _give(node.outputs[found.state], last.outputs[0])
    _give(node.outputs[-1], steps.outputs[0])
    for output, value in zip(node.outputs, loop.body.inputs[2:], strict=False):
        through = loop.handed_through.get(value)
        if through is not None:
            replace_value(output, through)
    graph.remove(node, safe=True)


def _give(old: ir.Value, new: ir.Value) -> None:
    """``new`` in place of ``old``; it takes the name of an output."""
    new.shape = old.shape
    if old.is_graph_output():
        name, old.name = old.name, None
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        new.name = name
    else:
        replace_value(old, new)
