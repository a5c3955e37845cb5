"""Rows of energy -> a table of meters, and why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Line, Lines, Table, Tone

if TYPE_CHECKING:
    from edgekit.pipeline.result import EnergyRow


def blocks(rows: Sequence[EnergyRow]) -> tuple[Block, ...]:
    """() where nobody asked."""
    measured = [row for row in rows if row.meter]
    columns = (
        Column("artifact", cut=True),
        Column("meter"),
        *(Column(title, right=True) for title in ("energy of an inference", "running, W", "at rest, W")),
        Column("of what"),
    )
    table = tuple(
        (
            Cell(_subject(row)),
            Cell(row.meter),
            _joules(row),
            Cell(number.significant(row.watts)),
            Cell(number.significant(row.idle_watts)),
            Cell(row.scope),
        )
        for row in measured
    )
    lines = tuple(
        Line(f"{_subject(row)}: {row.reason}; next: {row.remedy}", "muted") for row in rows if not row.meter
    )
    return Table("Energy", columns, table), Lines("" if table else "Energy", lines)


def _subject(row: EnergyRow) -> str:
    return f"{row.artifact} on {row.device}" if row.device else row.artifact


def _joules(row: EnergyRow) -> Cell:
    """With the unit that makes it readable, and whether the idle part was taken off."""
    joules = row.joules or 0.0
    unit, size = next(
        ((unit, size) for unit, size in (("J", 1.0), ("mJ", 1e-3)) if abs(joules) >= size), ("uJ", 1e-6)
    )
    note = "everything, idle part too" if row.idle_watts is None else "without the idle part"
    tone: Tone = "warn" if joules <= 0 else "plain"
    return Cell(f"{number.significant(joules / size)} {unit}", tone, note)
