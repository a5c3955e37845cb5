"""Units -> the same units; a MaxPool of values that are never negative is marked so.

    max over a window and zeros around it = max over the window      where all values are at least 0

Then its padding is PAD with zeros, which XNNPACK runs, and not PADV2 with the lowest number, which it leaves
to a builtin kernel between two delegates.

N1 what ends in a clamp from 0 upwards, or is an operator with such values (``MAKES``)
N2 what only moves, averages or adds such values (``KEEPS``)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from edgekit.backends.litert.operands import Operand, Unit

ZERO_PADDING = "[zero padding]"
"""Attribute of a MaxPool: zeros around its input change nothing."""

MAKES = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"})
KEEPS = frozenset(
    {"Add", "AveragePool", "Concat", "DequantizeLinear", "Flatten", "GlobalAveragePool", "GlobalMaxPool"}
    | {"MaxPool", "Mul", "QuantizeLinear", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
PARAMETERS = frozenset({"DequantizeLinear", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze"})
"""Of ``KEEPS``: those of which the first input alone is data."""


def with_zero_padding(units: Iterable[Unit]) -> Iterator[Unit]:
    """``units`` in their order, MaxPools marked."""
    found: set[str] = set()
    for unit in units:
        if _is_nonnegative(unit, found):
            found.update(out.key for out in unit.outputs[:1])
        pads = unit.op == "MaxPool" and all(_holds(x, found) for x in unit.inputs)
        yield replace(unit, attributes={**unit.attributes, ZERO_PADDING: True}) if pads else unit


def _is_nonnegative(unit: Unit, found: set[str]) -> bool:
    """N1, N2."""
    if unit.op in MAKES or (unit.clamp is not None and unit.clamp.low >= 0):
        return True
    data = unit.inputs[:1] if unit.op in PARAMETERS else unit.inputs
    return unit.op in KEEPS and all(_holds(x, found) for x in data)


def _holds(operand: Operand | None, found: set[str]) -> bool:
    if operand is None:
        return True
    if operand.const is None:
        return operand.key in found
    return operand.quant is None and operand.dtype == "float32" and not np.any(np.signbit(operand.const))
