"""LSTM, GRU, RNN -> one kernel, steps unrolled over time, or one step in a WHILE.

    LSTM  i, o, f, c~ = act(W x + R h + b);  c = f c + i c~;  h = o tanh(c)         peepholes: + P c
    GRU   z, r = act(W x + R h + b);  h~ = g(W x + R (r h) + b)  or  g(W x + r (R h + Rb) + Wb);
          h = (1 - z) h~ + z h                                         (linear_before_reset 0 or 1)
    RNN   h = f(W x + R h + b)

The input parts of all time steps are one matrix product; the steps share one copy of R. Shapes: X (T, N, I),
or (N, T, I) in layout 1; W (D, G H, I), R (D, G H, H), B (D, 2 G H); Y (T, D, N, H); Y_h, Y_c (D, N, H).

What fits one of TFLite's sequence kernels becomes that (``sequence``). A sequence whose length is dynamic, or
more than ``sequence.LONGEST``, goes round: the states are variables of a WHILE, Y is what it collects.

Source: ONNX LSTM-22, GRU-22, RNN-22.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.backends.litert.ops import repeat, sequence
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.step import Step, computed_sizes
from edgekit.backends.litert.tensors import GraphBuilder
from edgekit.spec import Dim

Floats = npt.NDArray[np.float32]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
SIMPLE = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH"}


@dataclass(frozen=True, eq=False)
class _Direction:
    """One direction: weights, activations, and the states before its first step, (N, H) or None for zeros."""

    w: Floats
    r: Floats
    wb: Floats
    rb: Floats
    peephole: Floats | None
    activations: tuple[Callable[[int], int], ...]
    h: int | None
    c: int | None
    backwards: bool


def lower_recurrent(step: Step) -> None:
    """All three operators, both directions."""
    t = Terms(step)
    time_first = not step.attribute("layout", 0)
    x = step.x(0) if time_first else t.transpose(step.x(0), (1, 0, 2))
    length, batch, _ = t.shape(x)
    if sequence.fits(step, length, batch):
        _in_one_kernel(step, t, x, time_first=time_first)
        return
    _check(step, length)
    if not isinstance(length, int) or length > sequence.LONGEST:
        _in_a_loop(step, t, x, time_first=time_first)
        return
    cell = CELLS[step.unit.op]
    outputs: list[list[int]] = []
    finals: list[list[int]] = []
    for direction in _directions(step, t):
        found = cell(step, t, direction, x, length)
        outputs.append(found[0])
        finals.append(found[1])
    _results(step, t, outputs, finals, time_first=time_first)


def _in_one_kernel(step: Step, t: Terms, x: int, *, time_first: bool) -> None:
    """``sequence``, once for each direction."""
    length = t.shape(x)[0]
    names = sequence.activations(step)
    sides: list[int] = []
    finals: list[int] = []
    for index, d in enumerate(_directions(step, t)):
        source = t.reverse(x, 0) if d.backwards else x
        bias = d.wb + d.rb
        if step.unit.op == "LSTM":
            y = sequence.lstm(t, source, w=d.w, r=d.r, bias=bias)
        else:
            y = sequence.rnn(t, source, w=d.w, r=d.r, bias=bias, activation=names[index])
        if isinstance(length, int):
            finals.append(_stacked(t, t.take(y, 0, length - 1), (0,)))
        sides.append(_stacked(t, t.reverse(y, 0) if d.backwards else y, (1,)))
    if step.unit.outputs[0].key:
        y = t.concat(sides, 1)
        t.finish(y if time_first else t.transpose(y, (2, 0, 1, 3)))
    if len(step.unit.outputs) > 1 and step.unit.outputs[1].key:
        state = t.concat(finals, 0)
        t.finish(state if time_first else t.transpose(state, (1, 0, 2)), index=1)


def _in_a_loop(step: Step, t: Terms, x: int, *, time_first: bool) -> None:
    """One WHILE for each direction."""
    sides: list[int] = []
    finals: list[list[int]] = []
    wants_all = bool(step.unit.outputs[0].key)
    for index, d in enumerate(_directions(step, t)):
        source = t.reverse(x, 0) if d.backwards else x
        states, rows = _one_direction(step, t, d, source, index, wants_all=wants_all)
        finals.append(states)
        if wants_all:
            sides.append(_stacked(t, t.reverse(rows, 0) if d.backwards else rows, (1,)))
    if wants_all:
        y = t.concat(sides, 1)
        t.finish(y if time_first else t.transpose(y, (2, 0, 1, 3)))
    _last_states(step, t, finals, time_first=time_first)


def _one_direction(
    step: Step, t: Terms, d: _Direction, x: int, index: int, *, wants_all: bool
) -> tuple[list[int], int]:
    """The states (N, H) after the last step, and all h (T, N, H) where somebody reads them."""
    length, batch, _ = t.shape(x)
    hidden = d.r.shape[1]
    zero = t.const(0.0)
    starts = [d.h, d.c] if step.unit.op == "LSTM" else [d.h]
    states = [repeat.filled(t, (batch, hidden), zero, like=x) if each is None else each for each in starts]
    variables = [t.const(0, "int64"), *states, x]
    if wants_all:
        variables.append(repeat.filled(t, (length, batch, hidden), zero, like=x))
    most = length if isinstance(length, int) else None
    if most is None:
        variables.append(t.reshape(t.cast(computed_sizes(step.builder, x, (length,)), "int64"), ()))
    tensors = [step.builder.tensors[each] for each in variables]
    builder = GraphBuilder()
    number, *given = repeat.variable_inputs(builder, tensors)
    inner = step.written_into(builder)
    now = Terms(inner)
    old, source, more = given[: len(states)], given[len(states)], given[len(states) + 1 :]
    part = now.gather(source, now.reshape(now.cast(number, "int32"), (1,)), 0)
    cell = replace(
        d,
        h=old[0],
        c=old[1] if len(old) > 1 else None,
        backwards=False,
        activations=_activations(inner, now, index + 1)[index],
    )
    outputs, new = CELLS[step.unit.op](inner, now, cell, part, 1)
    rows = [repeat.with_row(builder, more[0], outputs[0], number=number)] if wants_all else []
    ends = [repeat.counted(builder, number), *new[: len(states)], source, *rows, *more[len(rows) :]]
    condition = repeat.until(
        tensors, count=len(variables) - 1 if most is None else None, most=most, going=None
    )
    found = repeat.repeat(step.builder, variables, condition=condition, body=repeat.finished(builder, ends))
    return found[1 : 1 + len(states)], found[2 + len(states)] if wants_all else x


def _check(step: Step, length: Dim) -> None:
    if step.has(4):
        lengths = constant(step.unit, 4, "sequence_lens")
        if lengths is not None and (not isinstance(length, int) or np.any(lengths != length)):
            raise step.refusal(
                "sequence-lengths", "sequences of different lengths", "drop sequence_lens and mask outside"
            )


def _weights(step: Step, index: int, what: str) -> Floats | None:
    found = constant(step.unit, index, what)
    return None if found is None else found.astype(np.float32)


def _directions(step: Step, t: Terms) -> list[_Direction]:
    w, r = _weights(step, 1, "W"), _weights(step, 2, "R")
    if w is None or r is None:
        raise step.refusal("missing-input", "W or R is absent", "check the model with onnx.checker")
    count, hidden = w.shape[0], r.shape[2]
    gates = GATES[step.unit.op]
    bias = _weights(step, 3, "B")
    if bias is None:
        bias = np.zeros((count, 2 * gates * hidden), np.float32)
    peephole = _weights(step, 7, "P") if step.unit.op == "LSTM" else None
    kind = str(step.attribute("direction", "forward"))
    activations = _activations(step, t, count)
    found = []
    for d in range(count):
        h = _initial(t, 5, d)
        c = _initial(t, 6, d) if step.unit.op == "LSTM" else None
        found.append(
            _Direction(
                w[d],
                r[d],
                bias[d, : gates * hidden],
                bias[d, gates * hidden :],
                None if peephole is None else peephole[d],
                activations[d],
                h,
                c,
                kind == "reverse" or d == 1,
            )
        )
    return found


def _initial(t: Terms, index: int, d: int) -> int | None:
    """The state before the first step, (N, H); None for zeros."""
    step = t.step
    if not step.has(index):
        return None
    axis = 1 if step.attribute("layout", 0) else 0
    return t.take(step.x(index), axis, d)


def _activations(step: Step, t: Terms, count: int) -> list[tuple[Callable[[int], int], ...]]:
    defaults = DEFAULTS[step.unit.op]
    names = [str(name) for name in step.attribute("activations", None) or defaults * count]
    alphas = [float(v) for v in step.attribute("activation_alpha", None) or ()]
    betas = [float(v) for v in step.attribute("activation_beta", None) or ()]
    made = [_activation(step, t, name, alphas, betas) for name in names]
    return [tuple(made[d * len(defaults) : (d + 1) * len(defaults)]) for d in range(count)]


def _activation(
    step: Step, t: Terms, name: str, alphas: list[float], betas: list[float]
) -> Callable[[int], int]:
    """The function of that name; alphas and betas are consumed in order by those that have one."""
    lower = {key.lower(): key for key in (*SIMPLE, "HardSigmoid", "LeakyRelu", "Affine", "Softsign", "Elu")}
    kind = lower.get(name.lower())
    if kind in SIMPLE:
        return lambda x: t.unary(SIMPLE[kind], x)
    if kind == "HardSigmoid":
        alpha, beta = alphas.pop(0) if alphas else 0.2, betas.pop(0) if betas else 0.5
        return lambda x: t.clamp(t.shift(t.scale(x, alpha), beta), 0.0, 1.0)
    if kind == "Affine":
        alpha, beta = alphas.pop(0) if alphas else 1.0, betas.pop(0) if betas else 0.0
        return lambda x: t.shift(t.scale(x, alpha), beta)
    if kind == "LeakyRelu":
        alpha = alphas.pop(0) if alphas else 0.01
        return lambda x: t.unary("LEAKY_RELU", x, alpha=alpha)
    if kind == "Softsign":
        return lambda x: t.div(x, t.shift(t.unary("ABS", x), 1.0))
    raise step.refusal(
        "recurrent-activation", f"activation {name!r}", f"use one of {', '.join(sorted(lower.values()))}"
    )


def _input_parts(t: Terms, direction: _Direction, x: int, steps: int, bias: Floats) -> list[int]:
    """W x + bias for every step, in the order in which the direction runs: (N, G H) each."""
    whole = t.dense(x, direction.w, bias)
    parts = [t.take(whole, 0, k) for k in range(steps)]
    return parts[::-1] if direction.backwards else parts


def _clipped(step: Step, t: Terms, x: int) -> int:
    limit = step.attribute("clip", None)
    return x if limit is None else t.clamp(x, -float(limit), float(limit))


def _gate(t: Terms, x: int, index: int, hidden: int) -> int:
    return t.slice(x, 1, index * hidden, (index + 1) * hidden)


def _rnn(step: Step, t: Terms, d: _Direction, x: int, steps: int) -> tuple[list[int], list[int]]:
    (f,) = d.activations
    h, outputs = d.h, []
    for part in _input_parts(t, d, x, steps, d.wb + d.rb):
        h = f(_clipped(step, t, part if h is None else t.add(part, t.dense(h, d.r))))
        outputs.append(h)
    return outputs, outputs[-1:]


def _gru(step: Step, t: Terms, d: _Direction, x: int, steps: int) -> tuple[list[int], list[int]]:
    f, g = d.activations
    hidden = d.r.shape[1]
    gates, last = slice(0, 2 * hidden), slice(2 * hidden, None)
    before_reset = bool(step.attribute("linear_before_reset", 0))
    bias = d.wb + d.rb
    if before_reset:
        bias = np.concatenate([bias[gates], d.wb[last]])
    h, outputs = d.h, []
    for part in _input_parts(t, d, x, steps, bias):
        gate_part, new_part = t.slice(part, 1, 0, 2 * hidden), _gate(t, part, 2, hidden)
        both = f(_clipped(step, t, gate_part if h is None else t.add(gate_part, t.dense(h, d.r[gates]))))
        z, r = _gate(t, both, 0, hidden), _gate(t, both, 1, hidden)
        if before_reset:
            bias_part = t.const(d.rb[None, last])
            new_part = t.add(
                new_part, t.mul(r, bias_part if h is None else t.dense(h, d.r[last], d.rb[last]))
            )
        elif h is not None:
            new_part = t.add(new_part, t.dense(t.mul(r, h), d.r[last]))
        new = t.mul(t.sub(t.const(1.0), z), g(_clipped(step, t, new_part)))
        h = new if h is None else t.add(new, t.mul(z, h))
        outputs.append(h)
    return outputs, outputs[-1:]


def _lstm(step: Step, t: Terms, d: _Direction, x: int, steps: int) -> tuple[list[int], list[int]]:
    f, g, last = d.activations
    hidden = d.r.shape[1]
    h, c, outputs = d.h, d.c, []
    peephole = [None] * 3 if d.peephole is None else np.split(d.peephole, 3)  # i, o, f
    couples = bool(step.attribute("input_forget", 0))
    for part in _input_parts(t, d, x, steps, d.wb + d.rb):
        whole = part if h is None else t.add(part, t.dense(h, d.r))
        i = f(_peeped(step, t, _gate(t, whole, 0, hidden), peephole[0], c))
        new = t.mul(i, g(_clipped(step, t, _gate(t, whole, 3, hidden))))
        if c is not None:
            kept = t.sub(t.const(1.0), i) if couples else 0
            if not couples:
                kept = f(_peeped(step, t, _gate(t, whole, 2, hidden), peephole[2], c))
            new = t.add(t.mul(kept, c), new)
        c = new
        o = f(_peeped(step, t, _gate(t, whole, 1, hidden), peephole[1], c))
        h = t.mul(o, last(c))
        outputs.append(h)
    return outputs, [outputs[-1], c if c is not None else outputs[-1]]


def _peeped(step: Step, t: Terms, x: int, weight: Floats | None, c: int | None) -> int:
    if weight is not None and c is not None:
        x = t.add(x, t.mul(c, t.const(weight)))
    return _clipped(step, t, x)


def _results(
    step: Step,
    t: Terms,
    outputs: Sequence[Sequence[int]],
    finals: Sequence[Sequence[int]],
    *,
    time_first: bool,
) -> None:
    """Y, Y_h, Y_c where the graph reads them."""
    wanted = [out.key for out in step.unit.outputs]
    if wanted[0]:
        sides = []
        for index, states in enumerate(outputs):
            backwards = index == 1 or str(step.attribute("direction", "forward")) == "reverse"
            ordered = list(states)[::-1] if backwards else list(states)
            sides.append(t.concat([_stacked(t, state, (0, 1)) for state in ordered], 0))
        y = t.concat(sides, 1)
        t.finish(y if time_first else t.transpose(y, (2, 0, 1, 3)))
    _last_states(step, t, finals, time_first=time_first)


def _last_states(step: Step, t: Terms, finals: Sequence[Sequence[int]], *, time_first: bool) -> None:
    """Y_h and Y_c where the graph reads them."""
    wanted = [out.key for out in step.unit.outputs]
    for index in range(1, len(wanted)):
        if wanted[index]:
            state = t.concat([_stacked(t, final[index - 1], (0,)) for final in finals], 0)
            t.finish(state if time_first else t.transpose(state, (1, 0, 2)), index=index)


def _stacked(t: Terms, x: int, axes: Sequence[int]) -> int:
    """``x`` with axes of size 1 at ``axes``."""
    shape = list(t.shape(x))
    for axis in axes:
        shape.insert(axis, 1)
    return t.reshape(x, shape)


CELLS = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
LOWERINGS: dict[str, Callable[[Step], None]] = dict.fromkeys(("GRU", "LSTM", "RNN"), lower_recurrent)
