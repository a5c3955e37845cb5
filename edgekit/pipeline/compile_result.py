"""What `edgekit compile` found; apart from ``result``, whose forty rows it would import for nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import ExitCode
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.spec import Artifact, Rejection


@dataclass(frozen=True)
class FailedTarget:
    """A target, one of several, for which nothing was written.

    Attributes:
        exit_code: 5 it refuses the model, 6 its compiler is not here, 1 the compiler died.
        reason: why.
        remedy: what to do next; of a refusal, each rejection has its own.
        rejections: of a refusal, every one.
    """

    target: str
    exit_code: ExitCode
    reason: str
    remedy: str = ""
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class CompileResult:
    """Artifacts of one or more targets, flat in one folder, each with a JSON sidecar.

    Attributes:
        readiness: what check targets found; an artifact of theirs is unproved, and marked so.
        failed: of several targets those without an artifact; a single one raises instead.
        notes: of --allow-fallback: what runs on the CPU of this machine. They are in no sidecar, because
            another machine's GPU may take more.
        exit_code: the gravest of the failed targets'; 5 where a check target would take nothing.
    """

    artifacts: tuple[Artifact, ...]
    readiness: tuple[ReadinessRow, ...] = ()
    failed: tuple[FailedTarget, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    schema: str = "edgekit/compile-result/1"
