"""Circular and hyperbolic functions, and Erf -> builtins with two arguments, exponentials and logarithms.

    Atan  = atan2(x, 1)                    Asin  = atan2(x, sqrt((1 - x)(1 + x)))
    Acos  = atan2(sqrt((1 - x)(1 + x)), x) Tan   = sin / cos
    Sinh  = (e^x - e^-x) / 2               Cosh  = (e^x + e^-x) / 2
    Asinh = sign(x) log(|x| + sqrt(x^2 + 1)), for |x| > 2^20: sign(x) (log |x| + log 2)
    Acosh = log(x + sqrt(x - 1) sqrt(x + 1))          Atanh = log((1 + x) / (1 - x)) / 2
    Erf   = sign(x) (1 - t p(t) e^(-x^2)), t = 1 / (1 + 0.3275911 |x|)

Erf: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26; its error is 1.5e-7, one step of
float32 at 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import Step

ERF_P = 0.3275911  # Abramowitz and Stegun 7.1.26, as are the coefficients
ERF_COEFFICIENTS = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
LARGE = 2.0**20  # above, x^2 + 1 = x^2 in float32, and x^2 may overflow


def _one_minus_square(t: Terms, x: int) -> int:
    """sqrt((1 - x)(1 + x)), without the cancellation of 1 - x^2."""
    return t.unary("SQRT", t.mul(t.sub(t.const(1.0), x), t.shift(x, 1.0)))


def lower_asin(step: Step) -> None:
    """Asin."""
    t, x = Terms(step), step.x(0)
    t.finish(t.binary("ATAN2", x, _one_minus_square(t, x)))


def lower_acos(step: Step) -> None:
    """Acos."""
    t, x = Terms(step), step.x(0)
    t.finish(t.binary("ATAN2", _one_minus_square(t, x), x))


def lower_atan(step: Step) -> None:
    """Atan."""
    t, x = Terms(step), step.x(0)
    ones = t.clamp(x, 1.0, 1.0)  # ATAN2 does not broadcast, and the shape may be dynamic
    t.finish(t.binary("ATAN2", x, ones))


def lower_tan(step: Step) -> None:
    """Tan."""
    t, x = Terms(step), step.x(0)
    t.finish(t.div(t.unary("SIN", x), t.unary("COS", x)))


def _exponentials(t: Terms, x: int) -> tuple[int, int]:
    """e^x / 2 and e^-x / 2; the factor is inside, so that nothing overflows before the result does."""
    half = -float(np.log(2.0))
    return t.unary("EXP", t.shift(x, half)), t.unary("EXP", t.shift(t.unary("NEG", x), half))


def lower_sinh(step: Step) -> None:
    """Sinh."""
    t = Terms(step)
    t.finish(t.sub(*_exponentials(t, step.x(0))))


def lower_cosh(step: Step) -> None:
    """Cosh."""
    t = Terms(step)
    t.finish(t.add(*_exponentials(t, step.x(0))))


def lower_asinh(step: Step) -> None:
    """Asinh."""
    t, x = Terms(step), step.x(0)
    size = t.unary("ABS", x)
    small = t.minimum(size, t.const(LARGE))
    root = t.unary("SQRT", t.shift(t.unary("SQUARE", small), 1.0))
    near = t.unary("LOG", t.add(small, root))
    far = t.shift(t.unary("LOG", t.maximum(size, t.const(LARGE))), float(np.log(2.0)))
    whole = t.select(t.compare("GREATER", size, t.const(LARGE)), far, near)
    t.finish(t.mul(t.unary("SIGN", x), whole))


def lower_acosh(step: Step) -> None:
    """Acosh."""
    t, x = Terms(step), step.x(0)
    root = t.mul(t.unary("SQRT", t.shift(x, -1.0)), t.unary("SQRT", t.shift(x, 1.0)))
    t.finish(t.unary("LOG", t.add(x, root)))


def lower_atanh(step: Step) -> None:
    """Atanh."""
    t, x = Terms(step), step.x(0)
    ratio = t.div(t.shift(x, 1.0), t.sub(t.const(1.0), x))
    t.finish(t.scale(t.unary("LOG", ratio), 0.5))


def lower_erf(step: Step) -> None:
    """Erf."""
    t, x = Terms(step), step.x(0)
    size = t.unary("ABS", x)
    inverse = t.div(t.const(1.0), t.shift(t.scale(size, ERF_P), 1.0))
    total = t.mul(inverse, t.const(ERF_COEFFICIENTS[-1]))
    for coefficient in reversed(ERF_COEFFICIENTS[:-1]):
        total = t.mul(inverse, t.shift(total, coefficient))
    decay = t.unary("EXP", t.unary("NEG", t.unary("SQUARE", size)))
    t.finish(t.mul(t.unary("SIGN", x), t.sub(t.const(1.0), t.mul(total, decay))))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "Acos": lower_acos,
    "Acosh": lower_acosh,
    "Asin": lower_asin,
    "Asinh": lower_asinh,
    "Atan": lower_atan,
    "Atanh": lower_atanh,
    "Cosh": lower_cosh,
    "Erf": lower_erf,
    "Sinh": lower_sinh,
    "Tan": lower_tan,
}
