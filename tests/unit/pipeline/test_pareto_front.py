"""A candidate is beaten by one that is nowhere worse and somewhere better."""

from __future__ import annotations

import pytest

from edgekit.pipeline.pareto import beaten_by
from edgekit.pipeline.result import AccuracyRow, CandidateRow, LatencyRow
from edgekit.spec import Precision


def row(label: str, p50_ms: float | None, size_bytes: int, drop_pp: float) -> CandidateRow:
    latency = p50_ms and LatencyRow(p50_ms, p50_ms, p50_ms, p50_ms, p50_ms, p50_ms, 10, stable=True)
    return CandidateRow(
        target="t",
        precision=Precision.W8A8,
        role="candidate",
        file=label,
        sha256="",
        size_bytes=size_bytes,
        plan_digest="",
        status="pass",
        gates=(),
        accuracy=AccuracyRow("top1", 0.9, 0.9, drop_pp, drop_pp, drop_pp, 100),
        latency=latency or None,
        label=label,
    )


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([row("b", 2.0, 50, 0.5)], ("", "")),  # smaller and slower
        ([row("b", 1.0, 100, 0.0)], ("", "")),  # equal figures beat nobody
        ([row("b", 1.0, 99, 0.0)], ("b", "")),
        ([row("b", 0.9, 99, -1.0)], ("b", "")),
        ([row("b", None, 99, 0.0)], ("b", "")),  # what was not measured is left out
        ([row("b", 1.0, 101, 0.0), row("c", 1.0, 100, 0.0)], ("", "a", "")),
    ],
)
def test_only_what_is_nowhere_better_is_beaten(others: list[CandidateRow], expected: tuple[str, ...]) -> None:
    assert beaten_by([row("a", 1.0, 100, 0.0), *others]) == expected
