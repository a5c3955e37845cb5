"""Exception of a framework or of a user's code -> one readable line.

Exporters wrap the cause in pages of advice with terminal colours; the innermost cause is what a user can act
on.
"""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300  # a message, not a dump; the full text stays in the exception chain


def explain(error: BaseException) -> str:
    """``TypeName: first line`` of the innermost cause of ``error``."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines()]
    text = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {text[:_LONGEST]}" if text else type(error).__name__
