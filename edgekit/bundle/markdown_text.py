r"""Any text -> the Markdown that shows exactly it: names out of a model are data, never markup.

    M1 control, format and separator characters (newlines, right-to-left marks, ...) -> their code, "\u202e"
    M2 characters that HTML would read -> entities
    M3 other ASCII punctuation that Markdown could read -> behind a backslash
    M4 at the start, what would make a list, a rule or a heading -> behind a backslash

Source: CommonMark 0.31, section 2.4 (backslash escapes); Unicode categories Cc, Cf, Cs, Co, Zl, Zp.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKUP = frozenset("\\`*_[]|~")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|)([-+=#.)])")
_BASIC_PLANE = 0xFFFF


def text(value: str) -> str:
    """``value`` as text inside a paragraph, a heading or a table's cell."""
    shown = "".join(map(_character, value))
    return _START.sub(r"\1\\\2", shown)  # M4


def _character(char: str) -> str:
    if unicodedata.category(char) in _UNSEEN:
        code = ord(char)
        return f"\\\\u{code:04x}" if code <= _BASIC_PLANE else f"\\\\U{code:08x}"
    return _ENTITIES.get(char) or (f"\\{char}" if char in _MARKUP else char)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts; the head is ours, the cells are escaped here."""
    lines = [head, [":--"] * len(head), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def python(value: object) -> str:
    """A Python literal that stands inside a fenced block: ASCII, one line, no backtick."""
    return ascii(value).replace("`", "\\x60")
