"""`verify`: bundle -> re-hashed, and replayed on every runtime that is here."""

from __future__ import annotations

from pathlib import Path

from edgekit import target as targets_
from edgekit.bundle import verify as bundles
from edgekit.bundle.sign import Origin
from edgekit.errors import UnknownNameError
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.proof import open_at, where
from edgekit.pipeline.result import VerifyResult, VerifyRow
from edgekit.spec import Artifact, Progress, Session


def verify(
    bundle: Path, *, targets: tuple[str, ...], progress: Progress, origin: Origin | None = None
) -> VerifyResult:
    """Check ``bundle``, a folder or an archive; a difference is in the result's exit code (8).

    Args:
        bundle: its path.
        targets: that must be replayed; none = all that can be.
        progress: is told what runs.
        origin: who must have signed; None = corruption is found, and no forgery.

    Raises:
        InputError: there is no such bundle, or the key of ``origin`` is none.
        MissingBackendError: a target that was asked for by name cannot run here.
    """

    def opened(artifact: Artifact) -> Session:
        progress.note(f"replaying golden vectors on {artifact.target}")
        try:
            target = targets_.load(artifact.target)
        except UnknownNameError:  # a target file of the user's own: the manifest says all that is needed
            return open_artifact(artifact)
        return open_at(artifact, where(target, artifact.options))

    progress.stage(f"verify {bundle}")
    found = bundles.verify(bundle, open_artifact=opened, targets=targets or None, origin=origin)
    rows = tuple(VerifyRow(check.name, check.subject, check.status, check.detail) for check in found.checks)
    return VerifyResult(bundle, rows, found.exit_code)
