r"""Any text -> the same text without what a terminal or a browser obeys: "\x1b[31m" is shown, not done.

Names, labels and metadata come out of files of strangers. Characters that are not seen (controls, marks of
the direction of writing, what has no meaning) become their code, as Python writes it. Line feeds and tabs
stay.

Source: Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp; UAX 9 and CVE-2021-42574 for marks of direction.
"""

from __future__ import annotations

import unicodedata
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

_SEEN = frozenset("\n\t")
_SPACES = "Zs"  # not "printable" to Python, and harmless
T = TypeVar("T")


def printable(text: str) -> str:
    """``text`` with a code in place of every character that is not seen."""
    if text.isprintable():
        return text
    return "".join(map(_character, text))


def _character(char: str) -> str:
    if char.isprintable() or char in _SEEN or unicodedata.category(char) == _SPACES:
        return char
    return char.encode("unicode_escape").decode("ascii")


def printable_value(value: T) -> T:
    """``value`` (strings in dataclasses and tuples) with every string of it ``printable``."""
    if isinstance(value, str):
        return printable(value)  # type: ignore[return-value]  # a string gives a string
    if isinstance(value, tuple):
        shown = tuple(map(printable_value, value))
        same = all(after is before for after, before in zip(shown, value, strict=True))
        return value if same else shown  # type: ignore[return-value]  # a tuple gives a tuple
    if is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for field in fields(value):
            before = getattr(value, field.name)
            after = printable_value(before)
            if after is not before:
                changed[field.name] = after
        return replace(value, **changed) if changed else value
    return value
