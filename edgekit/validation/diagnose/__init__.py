"""Evidence -> named causes, the likeliest first."""

from __future__ import annotations

from edgekit.validation.diagnose.evidence import Cause, Evidence


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """Causes of the loss, the likeliest first; none where nothing is wrong."""
    del evidence
    return ()
