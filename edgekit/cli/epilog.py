"""Exit codes and examples -> the last lines of a help page; click's backspace mark keeps them unwrapped."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import EXIT_CODE_MEANINGS, ExitCode


def exit_codes(codes: Iterable[ExitCode]) -> str:
    """One line per exit code with its meaning."""
    return "\n".join(["\b", "Exit codes:", *(f"  {code:>3}  {EXIT_CODE_MEANINGS[code]}" for code in codes)])


def examples(lines: Iterable[str]) -> str:
    """One line per example."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
