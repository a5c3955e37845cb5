"""What `edgekit compile` found; apart from ``result``, whose forty rows it would import for nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.spec import Artifact


@dataclass(frozen=True)
class CompileResult:
    """Artifacts of one or more targets, flat in one folder, each with a JSON sidecar."""

    artifacts: tuple[Artifact, ...]
    schema: str = "edgekit/compile-result/1"
