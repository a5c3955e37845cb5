"""Operators on plain int8 and uint8, whose kernels read a scale -> the type in which they are computed.

int32 holds every sum, difference and product of two bytes; a CAST back wraps around, as ONNX does. Averages
and maxima of windows, and the lookups of LiteRT's pools, are exact in float32.
"""

from __future__ import annotations

from edgekit.backends.litert.operands import Unit

BYTES = frozenset({"int8", "uint8"})
IN_INT32 = frozenset(
    {"Abs", "Add", "CumSum", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Mul"}
    | {"Neg", "Pow", "ReduceL1", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Sign", "Sub", "Sum"}
    | {"ScatterND", "ScatterElements", "Clip"}
)


def wider_type(unit: Unit) -> str:
    """The type for ``unit``; "" where its own serves."""
    first = unit.operand(0)
    if first is None or first.quant is not None or first.dtype not in BYTES or unit.op not in IN_INT32:
        return ""
    return "int32"
