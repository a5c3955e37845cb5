"""x * 0.5 * (1 + erf(x / sqrt(2))), in whatever order its products are -> one Gelu.

What exporters before opset 20 write. What made x / sqrt(2) and x / 2 is left without a reader, and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.backends.litert.constants import Constants

SAME_FACTOR = 1e-6  # exporters write sqrt(2) with 7 digits or more


@dataclass(frozen=True)
class Gelu:
    """What was found.

    Attributes:
        source: x.
        nodes: those behind the Erf that belong to it; the last one gives the result.
    """

    source: ir.Value
    nodes: tuple[ir.Node, ...]


def gelu_of(erf: ir.Node, constants: Constants, outputs: frozenset[str]) -> Gelu | None:
    """The Gelu that an Erf is part of, if it is."""
    source, root = _scaled(erf.inputs[0], constants)
    if source is None or abs(root - 0.5**0.5) > SAME_FACTOR:
        return None
    addend, last = _next(erf, "Add", outputs)
    if last is None or _scalar(addend, constants) != 1.0:
        return None
    nodes, factors = [last], []
    for _ in range(2):
        factor, product = _next(last, "Mul", outputs)
        if product is None:
            return None
        factors.append(factor)
        nodes.append(product)
        last = product
        if _halves(factors, source, constants):
            return Gelu(source, tuple(nodes))
    return None


def _halves(factors: Sequence[ir.Value | None], source: ir.Value, constants: Constants) -> bool:
    """Whether the product of ``factors`` is source / 2."""
    factor, count = 1.0, 0
    for value in factors:
        base, scale = _scaled(value, constants)
        number = _scalar(value, constants)
        if number is not None:
            factor *= number
        elif value is source or base is source:
            factor, count = factor * (1.0 if value is source else scale), count + 1
        else:
            return False
    return count == 1 and abs(factor - 0.5) < SAME_FACTOR


def sole_consumer(value: ir.Value, outputs: frozenset[str]) -> ir.Node | None:
    """The one node that reads ``value``, once; None if there are more, none, or it is a graph output."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and value.name not in outputs else None


def _next(node: ir.Node, op: str, outputs: frozenset[str]) -> tuple[ir.Value | None, ir.Node | None]:
    """The other operand of the only reader of ``node`` and that reader, if it is ``op``."""
    follower = sole_consumer(node.outputs[0], outputs)
    if follower is None or follower.op_type != op:
        return None, None
    other = follower.inputs[1] if follower.inputs[0] is node.outputs[0] else follower.inputs[0]
    return other, follower


def _scaled(value: ir.Value | None, constants: Constants) -> tuple[ir.Value | None, float]:
    """(base, factor) with value = base * factor: through one Mul or Div by a number."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type not in {"Mul", "Div"}:
        return value, 1.0
    left, right = node.inputs
    number = _scalar(right, constants)
    if number:
        return left, number if node.op_type == "Mul" else 1.0 / number
    number = _scalar(left, constants) if node.op_type == "Mul" else None
    return (right, number) if number else (value, 1.0)


def _scalar(value: ir.Value | None, constants: Constants) -> float | None:
    data = constants.get(value)
    return float(data.reshape(())) if data is not None and data.size == 1 else None
