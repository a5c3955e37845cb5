"""Bitwise operators, shifts, IsNaN, IsInf -> BITWISE_XOR, RIGHT_SHIFT, comparisons.

    not a = a xor -1 (255 for uint8)      a and b = sum_k 2^k (a_k b_k)      a or b = (a and b) xor a xor b
    a_k = (a >> k) mod 2                  a << n = a * 2^n

LiteRT has no AND of integers: the bits lie along a new axis for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import Step

WIDTHS = {"int8": 8, "uint8": 8, "int32": 32}


def _width(step: Step) -> int:
    dtype = step.operand(0).dtype
    if dtype not in WIDTHS:
        raise step.refusal(
            "bit-width", f"{step.unit.op} of {dtype}", f"cast to {' or '.join(sorted(WIDTHS))} in the model"
        )
    return WIDTHS[dtype]


def lower_not(step: Step) -> None:
    """BitwiseNot."""
    _width(step)
    t, x = Terms(step), step.x(0)
    t.finish(t.binary("BITWISE_XOR", x, t.const(np.asarray(~np.zeros((), t.dtype(x))), t.dtype(x))))


def lower_xor(step: Step) -> None:
    """BitwiseXor."""
    _width(step)
    t = Terms(step)
    t.finish(t.binary("BITWISE_XOR", step.broadcast(0), step.broadcast(1)))


def _and(step: Step, t: Terms, a: int, b: int) -> int:
    """A and b by their bits along a last axis; int32."""
    width = _width(step)
    weights = np.asarray([1 << k for k in range(width)], np.uint32).view(np.int32)
    bits = [_bits(t, x, width) for x in (a, b)]
    return t.reduce("SUM", t.mul(t.mul(*bits), t.const(weights, "int32")), [t.rank(bits[0]) - 1], keep=False)


def _bits(t: Terms, x: int, width: int) -> int:
    sizes = t.sizes(x)
    wide = t.reshape(t.cast(x, "int32"), (*sizes, 1))
    shifted = t.binary("RIGHT_SHIFT", wide, t.const(np.arange(width), "int32"))
    flat = t.binary("FLOOR_MOD", t.flat(shifted), t.const(2, "int32"))
    return t.reshape(flat, (*sizes, width))


def _operands(step: Step, t: Terms) -> tuple[int, int]:
    """Both inputs at the rank of the result."""
    rank = step.out.rank
    found = [step.x(index) for index in (0, 1)]
    a, b = (t.reshape(x, (*(1,) * (rank - t.rank(x)), *t.shape(x))) for x in found)
    return a, b


def lower_and(step: Step) -> None:
    """BitwiseAnd."""
    t = Terms(step)
    t.finish(_and(step, t, *_operands(step, t)))


def lower_or(step: Step) -> None:
    """BitwiseOr."""
    t = Terms(step)
    a, b = _operands(step, t)
    both = t.cast(_and(step, t, a, b), t.dtype(a))
    t.finish(t.binary("BITWISE_XOR", both, t.binary("BITWISE_XOR", a, b)))


def lower_shift(step: Step) -> None:
    """BitShift of uint8: to the right RIGHT_SHIFT, to the left a product; a shift by 8 and more gives 0."""
    if step.operand(0).dtype != "uint8":
        raise step.refusal("bit-width", f"BitShift of {step.operand(0).dtype}", "cast to uint8 in the model")
    t = Terms(step)
    x, amount = (t.cast(step.x(index), "int32") for index in (0, 1))
    amount = t.minimum(amount, t.const(8, "int32"))
    if str(step.attribute("direction", "RIGHT")) == "RIGHT":
        t.finish(t.binary("RIGHT_SHIFT", x, amount))
        return
    powers = t.gather(t.const([1 << k for k in range(9)], "int32"), amount, 0)
    t.finish(t.mul(x, powers))


def lower_is_nan(step: Step) -> None:
    """IsNaN: what differs from itself."""
    t, x = Terms(step), step.x(0)
    t.finish(t.compare("NOT_EQUAL", x, x))


def lower_is_inf(step: Step) -> None:
    """IsInf, of either sign or of one."""
    t, x = Terms(step), step.x(0)
    negative, positive = (bool(step.attribute(f"detect_{sign}", 1)) for sign in ("negative", "positive"))
    if not negative and not positive:
        t.finish(t.compare("GREATER", t.unary("ABS", x), t.const(np.inf)))
        return
    if negative and positive:
        t.finish(t.compare("EQUAL", t.unary("ABS", x), t.const(np.inf)))
        return
    t.finish(t.compare("EQUAL", x, t.const(np.inf if positive else -np.inf)))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "BitShift": lower_shift,
    "BitwiseAnd": lower_and,
    "BitwiseNot": lower_not,
    "BitwiseOr": lower_or,
    "BitwiseXor": lower_xor,
    "IsInf": lower_is_inf,
    "IsNaN": lower_is_nan,
}
