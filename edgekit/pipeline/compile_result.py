"""What `edgekit compile` found; apart from ``result``, whose forty rows it would import for nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import ExitCode
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.spec import Artifact


@dataclass(frozen=True)
class CompileResult:
    """Artifacts of one or more targets, flat in one folder, each with a JSON sidecar.

    Attributes:
        readiness: what check targets found; an artifact of theirs is unproved, and marked so.
        exit_code: 5 where a check target would take nothing.
    """

    artifacts: tuple[Artifact, ...]
    readiness: tuple[ReadinessRow, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    schema: str = "edgekit/compile-result/1"
