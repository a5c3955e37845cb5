"""Evidence -> named causes, the likeliest first."""

from __future__ import annotations

from edgekit.validation.diagnose.rank_causes import RULES, diagnose

__all__ = ["RULES", "diagnose"]
