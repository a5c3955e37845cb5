"""LSTM, RNN -> UNIDIRECTIONAL_SEQUENCE_LSTM, UNIDIRECTIONAL_SEQUENCE_RNN: one kernel for all time steps.

    ZEROS_LIKE -> h, c       (variable tensors)
    x (T, N, I), h, c -> UNIDIRECTIONAL_SEQUENCE_LSTM -> y (T, N, H)

The kernels keep their state from one inference to the next, while the ONNX operators begin anew: a ZEROS_LIKE
of a constant writes the state at the start of each inference. A direction that runs backwards reads x
reversed and gives y reversed.

S1 both operators: a batch of fixed size, states that begin with zeros, no clip, no sequence lengths
S2 LSTM: sigmoid, tanh, tanh; no peepholes, no coupled gates, and nobody reads the last cell state, which the
   kernel has in its variable alone
S3 RNN: tanh or relu
S4 a sequence of dynamic length, where nobody reads the last state
S5 where steps could be unrolled as well (``recurrent``): an LSTM with a batch of 1. One kernel takes 0.2 to
   0.7 of the unrolled steps' time then, 0.9 to 2.9 times that with a batch of 2 to 32, RNN 0.9 to 5.8 times
What does not fit is unrolled.

Source: tflite/kernels/unidirectional_sequence_lstm.cc, unidirectional_sequence_rnn.cc; ONNX LSTM-22, RNN-22.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import Step
from edgekit.spec import Array, Dim

LONGEST = 512  # time steps that are unrolled; beyond it the file grows without end

_LSTM_INPUTS, _LSTM_BIASES, _LSTM_STATES = 1, 12, 18
_LSTM_ORDER = (0, 2, 3, 1)  # ONNX i, o, f, c -> the kernel's i, f, c, o
_ABSENT = -1


def fits(step: Step, length: Dim, batch: Dim) -> bool:
    """S1 to S5."""
    unit = step.unit
    if unit.op not in {"LSTM", "RNN"} or not isinstance(batch, int):
        return False
    if isinstance(length, int) and length <= LONGEST and (unit.op, batch) != ("LSTM", 1):
        return False  # S5
    if any(step.has(index) for index in (4, 5, 6, 7)) or step.attribute("clip", None) is not None:
        return False
    wanted = [bool(out.key) for out in unit.outputs]
    if not isinstance(length, int) and any(wanted[1:]):
        return False
    if unit.op == "RNN":
        return all(name in {"tanh", "relu"} for name in activations(step))
    names = activations(step)
    usual = names == ("sigmoid", "tanh", "tanh") * (len(names) // 3)
    return usual and not step.attribute("input_forget", 0) and not any(wanted[2:])


def activations(step: Step) -> tuple[str, ...]:
    """In lower case, those of both directions one after the other."""
    both = 2 if str(step.attribute("direction", "forward")) == "bidirectional" else 1
    usual = ("Sigmoid", "Tanh", "Tanh") if step.unit.op == "LSTM" else ("Tanh",)
    return tuple(str(name).lower() for name in step.attribute("activations", None) or usual * both)


def lstm(t: Terms, x: int, *, w: Array, r: Array, bias: Array) -> int:
    """(T, N, I) -> (T, N, H), forwards. w: (4 H, I), r: (4 H, H), bias: (4 H)."""
    hidden = r.shape[1]
    parts = [np.split(each, 4) for each in (w, r, bias)]
    inputs = [_ABSENT] * (_LSTM_STATES + 6)
    inputs[0] = x
    for place, gate in enumerate(_LSTM_ORDER):
        inputs[_LSTM_INPUTS + place] = t.const(parts[0][gate])
        inputs[_LSTM_INPUTS + 4 + place] = t.const(parts[1][gate])
        inputs[_LSTM_BIASES + place] = t.const(parts[2][gate])
    inputs[_LSTM_STATES] = _state(t, x, hidden, "h")
    inputs[_LSTM_STATES + 1] = _state(t, x, hidden, "c")
    options = {"fusedActivationFunction": "TANH", "timeMajor": True}
    return _kernel(t, "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, hidden, options)


def rnn(t: Terms, x: int, *, w: Array, r: Array, bias: Array, activation: str) -> int:
    """(T, N, I) -> (T, N, H), forwards. w: (H, I), r: (H, H), bias: (H)."""
    hidden = r.shape[1]
    inputs = [x, t.const(w), t.const(r), t.const(bias), _state(t, x, hidden, "h")]
    options = {"fusedActivationFunction": activation.upper(), "timeMajor": True}
    return _kernel(t, "UNIDIRECTIONAL_SEQUENCE_RNN", inputs, hidden, options)


def _state(t: Terms, x: int, hidden: int, name: str) -> int:
    """A variable tensor (N, H), which each inference sets to zero first."""
    builder = t.step.builder
    batch = t.shape(x)[1]
    assert isinstance(batch, int)  # noqa: S101  (``fits``)
    shape = (batch, hidden)
    state = builder.variable(f"{t.step.out.key}/{name}", shape)
    builder.operator("ZEROS_LIKE", [t.const(np.zeros(shape, np.float32))], [state])
    return state


def _kernel(t: Terms, code: str, inputs: Sequence[int], hidden: int, options: dict[str, object]) -> int:
    time, batch, _ = t.shape(inputs[0])
    out = t.step.temporary((time, batch, hidden), "float32")
    t.step.builder.operator(code, inputs, [out], options=options)
    return out
