"""Operators on element types that LiteRT's kernels lack -> the type in which they are computed.

W1 plain int8 and uint8, whose kernels read a scale: int32 holds every sum, difference and product of two
   bytes; a CAST back wraps around, as ONNX does
W2 int64 that holds sizes, or is computed of sizes alone (``units.SIZES``): int32, since no axis is longer
"""

from __future__ import annotations

from edgekit.backends.litert.operands import Unit
from edgekit.backends.litert.units import SIZES

BYTES = frozenset({"int8", "uint8"})
IN_INT32 = frozenset(
    {
        "Abs",
        "Add",
        "Clip",
        "CumSum",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Mod",
    }
    | {"Mul", "Neg", "Pow", "ReduceL1", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu"}
    | {"ScatterElements", "ScatterND", "Sign", "Sub", "Sum"}
)
NOT_IN_INT64 = frozenset({"Abs", "Div", "Sign"})


def wider_type(unit: Unit) -> str:
    """The type for ``unit``; "" where its own serves."""
    first = unit.operand(0)
    if first is None or first.quant is not None:
        return ""
    if first.dtype in BYTES and unit.op in IN_INT32:  # W1
        return "int32"
    return "int32" if unit.op in NOT_IN_INT64 and unit.attributes.get(SIZES) else ""  # W2
