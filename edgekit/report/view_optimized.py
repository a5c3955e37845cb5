"""OptimizedRows of a release -> one table: float, pruned, quantized, and what each step cost and gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Table
from edgekit.report.view_prune import pruned_blocks, pruned_items
from edgekit.report.view_rows import accuracy_cells, latency_cell, ratio_value

if TYPE_CHECKING:
    from edgekit.pipeline.result import OptimizedRow, ReleaseResult


def optimized_table(result: ReleaseResult) -> Table:
    """Empty without pruning."""
    columns = (
        Column("target"),
        Column("step"),
        Column("accuracy", right=True),
        Column("step costs", right=True),
        Column("p50/p95, ms", right=True),
        Column("step: faster", right=True),
        Column("ratio to float", right=True),
        Column("size", right=True),
        Column("step: smaller", right=True),
    )
    return Table("Step by step", columns, tuple(map(_row, result.optimized)))


def _row(row: OptimizedRow) -> tuple[Cell, ...]:
    accuracy, _ = accuracy_cells(row.accuracy)
    unit = row.accuracy.unit if row.accuracy else ""
    return (
        Cell(row.target),
        Cell(("float" if row.step == "float" else f"→ {row.label}") + (", ships" if row.shipped else "")),
        accuracy,
        Cell(number.ABSENT if row.cost is None else f"{number.signed(row.cost)} {unit}"),
        latency_cell(row.latency),
        Cell(number.ABSENT if row.faster is None else f"{row.faster:.2f}×"),
        Cell(number.ABSENT) if row.ratio is None else ratio_value(row.ratio),
        Cell(number.size(row.size_bytes)),
        Cell(number.ABSENT if row.smaller is None else f"{row.smaller:.2f}×"),
    )


def pruning_blocks(result: ReleaseResult) -> tuple[Block, ...]:
    """What [optimize] prune did, in reports: the page of `edgekit prune`, folded into the release's."""
    found = result.pruning
    if found is None:
        return ()
    return (Facts("Pruning", pruned_items(found), detail=True), *pruned_blocks(found))
