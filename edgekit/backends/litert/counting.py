"""TFLite operator with the shapes of its tensors -> multiply-accumulates, in the convention of ``ir.macs``.

    CONV_2D            elements(output) * h * w * in        weights (out, h, w, in / groups)
    DEPTHWISE_CONV_2D  elements(output) * h * w             weights (1, h, w, out)
    CONV_3D            elements(output) * d * h * w * in    weights (d, h, w, in, out)
    TRANSPOSE_CONV     elements(input) * out * h * w        weights (out, h, w, in)
    FULLY_CONNECTED    elements(output) * in                weights (out, in)
    BATCH_MATMUL       elements(output) * inner
    LSTM and RNN       steps * batch * elements of all weights
    SVDF               batch * (elements(feature weights) + elements(time weights))

A custom operator and StableHLO's own are not known: None. Source: TFLite's kernel sources and
docs "TensorFlow Lite and TensorFlow operator compatibility".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

Shape = tuple[int, ...]
Rule = Callable[[Sequence[Shape], Sequence[Shape]], int]

# Inputs that are weight matrices: input-to-gate 1-4, recurrent 5-8, projection 16 (lstm kernels);
# the backward half of the bidirectional one begins at 18.
_LSTM_WEIGHTS = (*range(1, 9), 16)
_BIDIRECTIONAL_LSTM_WEIGHTS = (*range(1, 9), 16, *range(18, 26), 33)
_UNKNOWN = frozenset({"STABLEHLO_DOT_GENERAL", "STABLEHLO_CONVOLUTION", "STABLEHLO_CUSTOM_CALL", "DELEGATE"})


def multiplies(operator: str) -> bool:
    """Whether the operator is one whose multiply-accumulates are counted."""
    return operator in _RULES


def macs(operator: str, inputs: Sequence[Shape | None], outputs: Sequence[Shape]) -> int | None:
    """Multiply-accumulates of one operator; 0 where it has none, None where they are not known.

    Args:
        operator: name in the schema; "CUSTOM <name>" for a custom one.
        inputs: shapes; None for an optional input that is absent.
        outputs: shapes.
    """
    if operator in _UNKNOWN or operator.startswith("CUSTOM"):
        return None
    if operator not in _RULES:
        return 0
    try:
        # an absent matrix has no elements
        return _RULES[operator]([(0,) if shape is None else shape for shape in inputs], outputs)
    except (LookupError, ZeroDivisionError):  # fewer tensors or axes than the operator is defined with
        return None


def _conv_2d(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return prod(outputs[0]) * prod(inputs[1][1:])


def _depthwise(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return prod(outputs[0]) * inputs[1][1] * inputs[1][2]


def _conv_3d(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return prod(outputs[0]) * prod(inputs[1][:-1])


def _transpose_conv(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Inputs: output shape, weights, data."""
    return prod(inputs[2]) * prod(inputs[1][:-1])


def _fully_connected(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return prod(outputs[0]) * inputs[1][-1]


def _batch_matmul(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Either operand may be transposed: what is not rows of the output is the inner size."""
    left = inputs[0]
    return prod(outputs[0]) * (left[-2] * left[-1] // outputs[0][-2])


def _recurrent(weights: Sequence[int]) -> Rule:
    def rule(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        present = [inputs[index] for index in weights if index < len(inputs)]
        return prod(inputs[0][:-1]) * sum(prod(shape) for shape in present)

    return rule


_RULES: Mapping[str, Rule] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _conv_3d,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "LSTM": _recurrent(_LSTM_WEIGHTS),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent(_LSTM_WEIGHTS),
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent(_BIDIRECTIONAL_LSTM_WEIGHTS),
    "RNN": _recurrent((1, 2)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent((1, 2)),
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent((1, 2, 5, 6, 10, 11)),
    "SVDF": _recurrent((1, 2)),
}
