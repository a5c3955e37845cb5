"""What did not run x what did -> rows that name it, and one exit code for the run.

F1 native code died: "crash", exit 1 · F2 the file, its batch or its inputs were refused: "error", exit 2 ·
F3 the runtime or the device is not here: "missing", exit 6 · F4 no answer in time: "timeout", exit 7.
Of several codes that a run has, the gravest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.backends.worker_process import EngineError, WorkerTimeoutError
from edgekit.errors import BackendCrashError, EdgekitError, ExitCode, MissingBackendError
from edgekit.pipeline.result import BenchRow, DeviceRow, FailedRow

_OF_FAILURE = {
    "crash": ExitCode.INTERNAL,
    "error": ExitCode.BAD_INPUT,
    "missing": ExitCode.BACKEND_MISSING,
    "timeout": ExitCode.INCONCLUSIVE,
}
_GRAVEST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.INCONCLUSIVE,
)
_QUOTED = 400  # characters of a runtime's own words


class CandidateError(EdgekitError):
    """One candidate of several failed: ``name`` says which, ``error`` why."""

    def __init__(self, name: str, error: EdgekitError) -> None:
        super().__init__(error.what, why=error.why, remedy=error.remedy, more=error.more)
        self.name, self.error = name, error


def failed_row(name: str, error: EdgekitError, *, under: str = "") -> FailedRow:
    """The row of a candidate of this machine; ``under`` names the conditions ("batch 4, 2 threads")."""
    words = " ".join(error.why.split())[:_QUOTED]
    reason = f"{error.what} ({words})" if words else error.what
    return FailedRow(name, "", kind_of(error), f"at {under}: {reason}" if under else reason, error.remedy)


def kind_of(error: EdgekitError) -> Literal["missing", "error", "crash", "timeout"]:
    """F1 to F4."""
    if isinstance(error, WorkerTimeoutError):
        return "timeout"
    if isinstance(error, BackendCrashError) and not isinstance(error, EngineError):
        return "crash"
    return "missing" if isinstance(error, MissingBackendError) else "error"


def verdict_code(rows: Sequence[BenchRow]) -> ExitCode:
    """4 where one is slower than the baseline, 7 where one is undecided."""
    verdicts = {row.verdict for row in rows}
    if "slower" in verdicts:
        return ExitCode.LATENCY_OR_SIZE_GATE
    return ExitCode.INCONCLUSIVE if "undecided" in verdicts else ExitCode.OK


def exit_code_of(
    rows: Sequence[BenchRow], devices: Sequence[DeviceRow] = (), failures: Sequence[FailedRow] = ()
) -> ExitCode:
    """The gravest of verdicts, lost devices and failures."""
    codes = {verdict_code(rows), *(_OF_FAILURE[each.kind] for each in failures)}
    if any(each.status == "missing" for each in devices):
        codes.add(ExitCode.BACKEND_MISSING)
    if any(each.status == "incomplete" for each in devices):
        codes.add(ExitCode.INCONCLUSIVE)
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.OK)
