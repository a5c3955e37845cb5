"""LSTM, GRU, RNN -> one kernel, or steps unrolled over time: FULLY_CONNECTED and elementwise kernels.

    LSTM  i, o, f, c~ = act(W x + R h + b);  c = f c + i c~;  h = o tanh(c)         peepholes: + P c
    GRU   z, r = act(W x + R h + b);  h~ = g(W x + R (r h) + b)  or  g(W x + r (R h + Rb) + Wb);
          h = (1 - z) h~ + z h                                         (linear_before_reset 0 or 1)
    RNN   h = f(W x + R h + b)

The input parts of all time steps are one matrix product; the steps share one copy of R. Shapes: X (T, N, I),
or (N, T, I) in layout 1; W (D, G H, I), R (D, G H, H), B (D, 2 G H); Y (T, D, N, H); Y_h, Y_c (D, N, H).

What fits one of TFLite's sequence kernels becomes that (``sequence``).

Source: ONNX LSTM-22, GRU-22, RNN-22.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.backends.litert.ops import sequence
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.step import Step
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
    steps = length if isinstance(length, int) else 0
    cell = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}[step.unit.op]
    outputs: list[list[int]] = []
    finals: list[list[int]] = []
    for direction in _directions(step, t):
        found = cell(step, t, direction, x, steps)
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


def _check(step: Step, length: Dim) -> None:
    if not isinstance(length, int):
        raise step.refusal(
            "dynamic-sequence", "the sequence length is dynamic", "export with a fixed sequence length"
        )
    if length > sequence.LONGEST:
        raise step.refusal(
            "long-sequence",
            f"{length} time steps, and {sequence.LONGEST} are unrolled at most",
            "cut the sequence into chunks and carry the state outside of the model",
        )
    if step.has(4):
        lengths = constant(step.unit, 4, "sequence_lens")
        if lengths is not None and np.any(lengths != length):
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


LOWERINGS: dict[str, Callable[[Step], None]] = dict.fromkeys(("GRU", "LSTM", "RNN"), lower_recurrent)
