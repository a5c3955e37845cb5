"""What went wrong -> one message in four parts and one exit code.

Every error that a user can cause carries: what happened (stands alone on the first line), why it is
refused, what to type next, and where to read more. The tree:

    EdgekitError                 1  a bug, or a native runtime that died
    ├── InputError               2  bad input: file, data, recipe, flag
    │   ├── BaselineError        2  a baseline that is missing, of something else, or too old
    │   ├── UnknownNameError     2  a name nobody knows, with the closest ones
    │   ├── ParityError          3  an export that computes something else than its framework
    │   └── NonFiniteOutputError 3  an artifact that gives NaN or infinity
    ├── TargetRefusalError       5  the target cannot hold this model
    ├── MissingBackendError      6  a runtime, an extra or a device is not here
    ├── VerificationError        8  a bundle is not what its manifest says
    └── GateError            3 4 7  a function that gives a file could not give one inside the budget

Otherwise gates are verdicts, not exceptions: a failed gate is a result with an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from edgekit.printable import printable


class ExitCode(IntEnum):
    """Exit codes of every verb. They are a contract: tests hold the numbers."""

    OK = 0
    INTERNAL = 1
    BAD_INPUT = 2
    ACCURACY_GATE = 3
    LATENCY_OR_SIZE_GATE = 4
    TARGET_REFUSES = 5
    BACKEND_MISSING = 6
    INCONCLUSIVE = 7
    VERIFICATION_FAILED = 8
    INTERRUPTED = 130


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.INTERNAL: "internal error (a bug: please report it)",
    ExitCode.BAD_INPUT: "usage or bad input",
    ExitCode.ACCURACY_GATE: "accuracy gate failed",
    ExitCode.LATENCY_OR_SIZE_GATE: "latency, size or memory gate failed",
    ExitCode.TARGET_REFUSES: "target refuses the model, or takes less of it than the coverage gate wants",
    ExitCode.BACKEND_MISSING: "back-end, extra or device missing",
    ExitCode.INCONCLUSIVE: "inconclusive (more samples or runs needed)",
    ExitCode.VERIFICATION_FAILED: "verification failed (hash, signature, golden vectors)",
    ExitCode.INTERRUPTED: "interrupted",
}


class EdgekitError(Exception):
    """Base of all errors that edgekit raises on purpose.

    Attributes:
        what: what happened, with names and numbers; stands alone.
        why: why it is refused or what it would break.
        remedy: what to type or change next.
        more: where to read more (a path below ``docs/`` or a command).
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, what: str, *, why: str = "", remedy: str = "", more: str = "") -> None:
        self.what = what
        self.why = why
        self.remedy = remedy
        self.more = more
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"  why:  {self.why}")
        if self.remedy:
            parts.append(f"  next: {self.remedy}")
        if self.more:
            parts.append(f"  more: {self.more}")
        return printable("\n".join(parts))


class BackendCrashError(EdgekitError):
    """Native code of a runtime died or threw while it held an artifact."""


class InputError(EdgekitError):
    """Something that the user handed in cannot be used as it is."""

    exit_code = ExitCode.BAD_INPUT


class ModelFileError(InputError):
    """A model file is missing, empty, truncated or unsafe to read."""


class DataError(InputError):
    """Calibration or evaluation data does not fit the model."""


class NonFiniteOutputError(DataError):
    """An artifact gives NaN or infinity for data that its reference computes: it is broken, not the data."""

    exit_code = ExitCode.ACCURACY_GATE


class RecipeError(InputError):
    """A recipe, a target file or a data-set file does not follow its schema."""


class ExportError(InputError):
    """A source cannot be exported."""


class ParityError(ExportError):
    """The ONNX form of a source computes something else than its framework; ``report`` has the figures."""

    exit_code = ExitCode.ACCURACY_GATE


class BaselineError(InputError):
    """What a result is to be held against is missing, unreadable, of something else, or too old."""


class OutputError(InputError):
    """An output folder or file cannot be written."""


class UnknownNameError(InputError):
    """A name that is not in its table; carries the three closest that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listing: str) -> None:
        names = sorted(known)
        near = closest(name, names)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        super().__init__(
            f"unknown {kind} {name!r}",
            why=f"known: {', '.join(names)}" if len(names) <= 12 else f"{len(names)} names are known",
            remedy=f"{hint}`{listing}` lists all",
        )


class TargetRefusalError(EdgekitError):
    """A target cannot run the model; the message lists node, rule, reason and remedy.

    Attributes:
        rejections: the same as data (``spec.Rejection``), for reports.
    """

    exit_code = ExitCode.TARGET_REFUSES

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        remedy: str = "",
        more: str = "",
        rejections: tuple[Any, ...] = (),  # spec stands above this module
    ) -> None:
        super().__init__(what, why=why, remedy=remedy, more=more)
        self.rejections = rejections


class MissingBackendError(EdgekitError):
    """A runtime, an optional package or a device is not present on this machine."""

    exit_code = ExitCode.BACKEND_MISSING


class VerificationError(EdgekitError):
    """A bundle differs from its manifest or its golden vectors."""

    exit_code = ExitCode.VERIFICATION_FAILED


class GateError(EdgekitError):
    """A budget was missed where a function was to give a file; ``exit_code`` says which gate (3, 4 or 7)."""

    def __init__(self, what: str, *, exit_code: ExitCode, why: str = "", remedy: str = "") -> None:
        super().__init__(what, why=why, remedy=remedy)
        self.exit_code = exit_code


def closest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The three names of ``known`` nearest to ``name``, best first; may be empty."""
    return tuple(difflib.get_close_matches(name, list(known), n=3, cutoff=0.5))


def missing_extra(package: str, extra: str, *, needed_for: str) -> MissingBackendError:
    """The error for an optional package that is not installed, with the exact install line."""
    return MissingBackendError(
        f"{package} is not installed, and {needed_for} needs it",
        why=f"it is an optional part of edgekit (extra {extra!r}), so that the base install stays light",
        remedy=f'pip install "edgekit[{extra}]"',
        more="edgekit doctor",
    )
