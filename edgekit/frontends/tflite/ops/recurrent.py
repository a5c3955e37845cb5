"""UNIDIRECTIONAL_SEQUENCE_LSTM and LSTM -> LSTM, one ONNX operator.

    W: (1, 4 units, in), R: (1, 4 units, units), B: (1, 8 units); gates: input, output, forget, cell

L1 The state starts at zero: as in Keras, and as LiteRT does after its variables are reset.
L2 cell_clip: TFLite clips the cell state, ONNX has no such attribute. |c(t)| <= t, because each step adds at
   most 1, so the clip never acts where the sequence is no longer than it; TensorFlow's converter writes 10
   for every Keras layer, which has no clip at all. It is left out, and a note says so; parity judges.
L3 Integer weights keep their scales (one per gate, stated per row); integer activations in between are those
   of the ends: what the kernel rounds inside is its own.

Refused: projection, layer normalization, a coupled input gate, the basic kernel.

Source: kernels/unidirectional_sequence_lstm.cc (order of inputs), lstm_eval.cc; onnx LSTM-14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import Importer, UnreadableError, dequantized
from edgekit.frontends.tflite.ops.activation import TANH
from edgekit.frontends.tflite.read import ABSENT, Operator, Quant
from edgekit.spec import Array

_GATES = (0, 3, 1, 2)  # TFLite: input, forget, cell, output; ONNX: input, output, forget, cell
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _PEEPHOLES, _BIASES = 1, 5, 9, 12
_PROJECTION, _PROJECTION_BIAS, _NORMS = 16, 17, range(20, 24)


def _lstm(graph: Importer, operator: Operator, *, sequence: bool) -> None:
    inputs = (*operator.inputs, *[ABSENT] * (24 - len(operator.inputs)))
    _require_plain(operator, inputs)
    data = inputs[0]
    weights = _stacked(graph, [inputs[_INPUT_WEIGHTS + gate] for gate in _GATES], "W")
    recurrent = _stacked(graph, [inputs[_RECURRENT_WEIGHTS + gate] for gate in _GATES], "R")
    units = graph.tensor(inputs[_RECURRENT_WEIGHTS + 1]).shape[1]
    biases = [_bias(graph, inputs[_BIASES + gate], inputs, gate) for gate in _GATES]
    both = np.concatenate([*biases, np.zeros(4 * units, np.float32)])[None]
    clip = float(operator.options.get("cellClip", 0.0))
    steps = graph.dims(data)[0 if operator.options.get("timeMajor") else 1] if sequence else 1
    if clip > 0 and (steps is None or steps > clip):
        graph.notes.append(
            f"{operator} clips its cell state at {clip:g}, which ONNX' LSTM does not: outputs differ "
            "where the state grows beyond that"
        )
    value = graph.value(data)
    major = bool(operator.options.get("timeMajor"))
    if not sequence:
        value = graph.node("Unsqueeze", [value, graph.vector([0])])
    elif not major:
        value = graph.node("Transpose", [value], perm=[1, 0, 2])
    peepholes = _peepholes(graph, inputs)
    operands: list[ir.Value | None] = [value, weights, recurrent, graph.constant("B", both)]
    if peepholes is not None:
        operands += [None, None, None, peepholes]
    result = graph.node("LSTM", operands, hidden_size=units)
    result = graph.node("Squeeze", [result, graph.vector([1])])
    if not sequence:
        result = graph.node("Squeeze", [result, graph.vector([0])])
    elif not major:
        result = graph.node("Transpose", [result], perm=[1, 0, 2])
    graph.produce(operator.outputs[-1], result)


def _require_plain(operator: Operator, inputs: Sequence[int]) -> None:
    kinds = {
        "projects its output": inputs[_PROJECTION] != ABSENT or inputs[_PROJECTION_BIAS] != ABSENT,
        "normalizes its gates": any(inputs[index] != ABSENT for index in _NORMS),
        "couples its input gate to the forget gate": inputs[_INPUT_WEIGHTS] == ABSENT,
        "is the basic kernel": bool(operator.options.get("kernelType", 0)),
        "has another activation than tanh": operator.options.get("fusedActivationFunction", TANH) != TANH,
        "has diagonal recurrent weights": bool(operator.options.get("diagonalRecurrentTensors")),
    }
    for kind, found in kinds.items():
        if found:
            raise UnreadableError(f"it {kind}, which ONNX' LSTM cannot say", "")


def _constants(graph: Importer, indices: Sequence[int]) -> list[Array]:
    found = [graph.tensor(index).data for index in indices]
    if any(data is None for data in found):
        raise UnreadableError("its weights are computed, not constants", "")
    return [data for data in found if data is not None]


def _stacked(graph: Importer, indices: Sequence[int], name: str) -> ir.Value:
    """(1, 4 units, columns): the gates' weights, with one scale per row where they are integers (L3)."""
    parts = _constants(graph, indices)
    whole = np.concatenate(parts)[None]
    quants = [graph.tensor(index).quant for index in indices]
    if whole.dtype.kind != "i":
        return graph.constant(name, whole.astype(np.float32))
    scales, zeros = [], []
    for part, quant in zip(parts, quants, strict=True):
        if quant is None or quant.axis not in (None, 0):
            raise UnreadableError("its weights are integers without a scale", "")
        scales.append(np.broadcast_to(quant.scale, part.shape[:1]))
        zeros.append(np.broadcast_to(quant.zero_point, part.shape[:1]))
    rows = Quant(np.concatenate(scales), np.concatenate(zeros), 1)
    return graph.dequantized_constant(name, whole, rows)


def _bias(graph: Importer, index: int, inputs: Sequence[int], gate: int) -> Array:
    """(units,) float32; integers have scale s_input * s_weights of their gate."""
    (data,) = _constants(graph, [index])
    if data.dtype.kind != "i":
        return data.astype(np.float32)
    own = graph.tensor(index).quant
    source, factor = graph.tensor(inputs[0]).quant, graph.tensor(inputs[_INPUT_WEIGHTS + gate]).quant
    if own is None and source is not None and factor is not None:
        own = Quant(source.scale * factor.scale[:1], np.zeros(1, np.int64), None)
    if own is None:
        raise UnreadableError("its bias is integer without a scale", "")
    return dequantized(data, own)


def _peepholes(graph: Importer, inputs: Sequence[int]) -> ir.Value | None:
    """(1, 3 units), input, output, forget; TFLite: input, forget, output."""
    indices = [inputs[_PEEPHOLES + gate] for gate in (0, 2, 1)]
    if all(index == ABSENT for index in indices):
        return None
    reals = [graph.array(index) for index in indices]
    if any(real is None for real in reals):
        raise UnreadableError("its peepholes are computed", "")
    whole = np.concatenate([real for real in reals if real is not None])
    return graph.constant("P", whole.astype(np.float32)[None])


def _sequence(graph: Importer, operator: Operator) -> None:
    _lstm(graph, operator, sequence=True)


def _step(graph: Importer, operator: Operator) -> None:
    _lstm(graph, operator, sequence=False)


LOWERINGS: dict[str, Callable[[Importer, Operator], None]] = {
    "LSTM": _step,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence,
}
