"""Rows -> which of them another one beats: the Pareto front over recipes, targets and options.

    a beats b  <=>  a is nowhere worse in (median latency, size, memory, metric) and somewhere better

F1  rows are compared that have one metric on one data set, measured on one device: other figures say nothing
about each other
F2  rows that miss a budget or were not made are not on the front, and beat nobody
F3  what was not measured for one of two is left out for that pair (as in ``pipeline.pareto``)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.pipeline.result.sweep import SweepRow


def compared(row: SweepRow) -> tuple[str, str, str]:
    """F1: rows of one such key are compared."""
    accuracy = row.artifact.accuracy if row.artifact else None
    return (accuracy.metric if accuracy else "", row.data, row.device)


def with_front(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """The rows, each with whether it is on the front and by whom it is beaten."""
    able = [row for row in rows if row.status == "pass" and row.artifact is not None]
    found = []
    for row in rows:
        if row not in able:
            found.append(replace(row, front=False, beaten_by=""))
            continue
        by = next((each.id for each in able if compared(each) == compared(row) and _beats(each, row)), "")
        found.append(replace(row, front=not by, beaten_by=by))
    return tuple(found)


def _beats(one: SweepRow, other: SweepRow) -> bool:
    pairs = [
        (a, b) for a, b in zip(_costs(one), _costs(other), strict=True) if a is not None and b is not None
    ]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _costs(row: SweepRow) -> tuple[float | None, ...]:
    """Less is better in all of them."""
    artifact = row.artifact
    assert artifact is not None  # noqa: S101  the caller has looked
    sign = -1.0 if row.higher_is_better else 1.0
    return (
        artifact.latency.p50_ms if artifact.latency else None,
        float(artifact.size_bytes),
        None if artifact.memory_bytes is None else float(artifact.memory_bytes),
        sign * artifact.accuracy.value if artifact.accuracy else None,
    )
