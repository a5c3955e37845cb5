"""Candidates of one target -> which of them another one beats: the rest is the Pareto front.

    a beats b  <=>  a is nowhere worse in (median latency, size, drop) and somewhere better

Figures are compared as they were measured, intervals aside: whether a difference is one, the gates say. What
was not measured for one of the two is left out for that pair.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.result import CandidateRow


def beaten_by(rows: Sequence[CandidateRow]) -> tuple[str, ...]:
    """For each candidate the name of the first that beats it, or ""."""
    return tuple(next((other.name for other in rows if _beats(other, row)), "") for row in rows)


def _beats(one: CandidateRow, other: CandidateRow) -> bool:
    pairs = [
        (a, b) for a, b in zip(_figures(one), _figures(other), strict=True) if a is not None and b is not None
    ]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _figures(row: CandidateRow) -> tuple[float | None, ...]:
    return (
        row.latency.p50_ms if row.latency else None,
        float(row.size_bytes),
        row.accuracy.drop_pp if row.accuracy else None,
    )
