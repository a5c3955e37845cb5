"""Attributes and constant inputs of a unit -> plain values, with negative axes resolved.

Axes moved from attributes to inputs over the ONNX opsets (ReduceX 18, Squeeze and Unsqueeze 13); both are
read.
"""

from __future__ import annotations

from edgekit.backends.litert.operands import Unit
from edgekit.backends.litert.refusal import RefusedError
from edgekit.spec import Array


def constant(unit: Unit, index: int, what: str) -> Array | None:
    """Elements of the constant input ``index``; None where it is absent.

    Raises:
        RefusedError: the input is computed at run time.
    """
    operand = unit.operand(index)
    if operand is None:
        return None
    if operand.const is None:
        raise RefusedError(
            "constant-parameter",
            f"{what} (input {index}, {operand.key!r}) is computed at run time",
            "export with fixed shapes, so that the value can be folded into a constant",
        )
    return operand.const


def integers(unit: Unit, index: int, what: str) -> tuple[int, ...] | None:
    """A constant input as integers; None where it is absent."""
    data = constant(unit, index, what)
    return None if data is None else tuple(int(value) for value in data.reshape(-1))


def axis_of(unit: Unit, rank: int, *, default: int) -> int:
    """Attribute ``axis``, from 0 to rank - 1."""
    axis = int(unit.attributes.get("axis", default))
    return axis + rank if axis < 0 else axis


def axes_of(unit: Unit, rank: int) -> tuple[int, ...] | None:
    """Axes of a reduction, Squeeze or Unsqueeze (of ``rank``), sorted; None where none are given."""
    axes = unit.attributes.get("axes")
    if axes is None:
        axes = integers(unit, 1, "axes")
    return None if axes is None else tuple(sorted(int(a) + rank if a < 0 else int(a) for a in axes))


def reduced_axes(unit: Unit, rank: int) -> tuple[int, ...]:
    """Axes that a ReduceX removes or makes 1; () = it does nothing."""
    axes = axes_of(unit, rank)
    if axes:
        return axes
    return () if unit.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
