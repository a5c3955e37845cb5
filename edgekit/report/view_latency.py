"""Latencies of several artifacts -> one table: the whole distribution, and how sure its middle is."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.result import LatencyRow, RatioRow
from edgekit.report import number
from edgekit.report.page import Cell, Column, Table, Tone
from edgekit.report.view_rows import ratio_value

_TITLES = ("p50, ms", "p90, ms", "p95, ms", "p99, ms", "95 % interval of p50", "runs", "ratio")


def latency_table(rows: Sequence[tuple[str, LatencyRow | None, RatioRow | None]]) -> Table:
    """One row for each artifact that was timed; the ratio is to float on the same target."""
    columns = (Column("artifact"), *(Column(title, right=True) for title in _TITLES), Column("stable"))
    cells = tuple(_row(label, latency, ratio) for label, latency, ratio in rows if latency is not None)
    return Table("Latency at batch 1", columns, cells, detail=True)


def _row(label: str, latency: LatencyRow, ratio: RatioRow | None) -> tuple[Cell, ...]:
    tone: Tone = "plain" if latency.stable else "warn"
    figures = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    return (
        Cell(label),
        *(Cell(number.significant(value), tone) for value in figures),
        Cell(f"{number.significant(latency.low_ms)} to {number.significant(latency.high_ms)}", tone),
        Cell(str(latency.runs)),
        ratio_value(ratio) if ratio else Cell(number.ABSENT, "muted"),
        Cell("yes") if latency.stable else Cell("no", "warn"),
    )
