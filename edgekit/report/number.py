"""Numbers with a unit -> words with significant digits ("3.1e-5"), never fixed decimals ("0.000").

Python's ``g`` format (Format Specification Mini-Language, docs.python.org/3/library/string.html) with its
trailing zeros kept, because 0.950 says more than 0.95.
"""

from __future__ import annotations

import math

ABSENT = "-"
"""What stands for a value that was not measured."""


def significant(value: float | None, *, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits: 0.0123, 1.50, 234, 12,345, 3.1e-5, 0."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}"
    if "e" not in text:
        return text.rstrip(".")
    if abs(value) >= 1:
        return f"{value:,.0f}"
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def given(value: float) -> str:
    """A number that somebody wrote, with the digits that it has: 0.001, 400, 1e-5."""
    mantissa, mark, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def signed(value: float | None, *, digits: int = 3) -> str:
    """As ``significant``, with a plus sign before what is above zero."""
    text = significant(value, digits=digits)
    return f"+{text}" if value is not None and value > 0 else text


def bounds(low: float, high: float, *, plus: bool = False) -> str:
    """An interval alone: ``[0.58, 0.66]``."""
    write = signed if plus else significant
    return f"[{write(low)}, {write(high)}]"


def interval(value: float, low: float, high: float, *, unit: str = "", plus: bool = False) -> str:
    """``0.62 [0.58, 0.66]``; the unit follows the value."""
    write = signed if plus else significant
    return f"{write(value)}{unit} {bounds(low, high, plus=plus)}"


def size(size_bytes: int | None) -> str:
    """Bytes in powers of 1000: 812 B, 12.3 kB, 4.56 MB."""
    if size_bytes is None:
        return ABSENT
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:  # above, three digits would round to 1,000
            return f"{significant(value)} {unit}"
    return f"{significant(value / 1000)} TB"


def percent(part: float | None) -> str:
    """A part of one as a percentage: 0.9955 -> 99.55 %."""
    return ABSENT if part is None else f"{significant(100 * part, digits=4)} %"
