"""Exit codes of many rows -> the one of the whole run: the gravest."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import ExitCode

_GRAVITY = (
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.TARGET_REFUSES,
    ExitCode.ACCURACY_GATE,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
    ExitCode.OK,
)


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The gravest of ``codes``, of which there is at least one."""
    return min(codes, key=_GRAVITY.index)
