"""Exception of a framework or of a user's code -> one readable line.

Exporters wrap the cause in pages of advice with terminal colours; the innermost cause is what a user can act
on.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_INSTALLED = {"site-packages", "dist-packages"}
_OWN = Path(__file__).parents[1]
_LONGEST = 300  # a message, not a dump; the full text stays in the exception chain


def explain(error: BaseException) -> str:
    """``TypeName: first line`` of the innermost cause of ``error``."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines()]
    text = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {text[:_LONGEST]}" if text else type(error).__name__


def user_line(error: BaseException) -> str:
    """Where the user's code led to ``error``, as ``model.py, line 5: return x if x.sum() > 0 else -x``.

    The last frame outside of installed packages and edgekit, of ``error`` or what caused it; "" if none is.
    """
    found = ""
    cause: BaseException | None = error
    while cause is not None:
        for frame in traceback.extract_tb(cause.__traceback__):
            path = Path(frame.filename)
            if path.suffix == ".py" and not _INSTALLED & set(path.parts) and not path.is_relative_to(_OWN):
                found = f"{path.name}, line {frame.lineno}: {frame.line}"
        cause = cause.__cause__
    return found
