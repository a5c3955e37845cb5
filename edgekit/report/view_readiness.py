"""ReadinessRow -> blocks: what a device that is not here would take, always marked "not run here"."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Line, Lines, Table, Tone
from edgekit.report.view_rows import rejections_lines

_TONES: dict[str, Tone] = {"whole": "good", "part": "warn", "nothing": "bad"}
_SHOWN = 5  # reasons on a terminal's screen; reports hold all


def blocks(rows: Sequence[ReadinessRow]) -> tuple[Block, ...]:
    """One row per target and precision, and below it what stays outside and why; () without checks."""
    if not rows:
        return ()
    found: list[Block] = [_table(rows)]
    for row in rows:
        title = f"{row.target} {row.precision.value}: what would stay outside"
        reasons = tuple(rejections_lines(row.blocked))
        found.append(Lines(title, reasons, brief=_SHOWN))
    lines = [Line(f"{row.target}: {row.marked}", "warn") for row in rows]
    lines += [
        Line(f"{row.target}: operators that stay float compute in {row.floats} there", "muted")
        for row in rows
    ]
    lines += [
        Line(f"{row.target}: nobody looked at: {text}", "muted") for row in rows for text in row.unchecked
    ]
    found.append(Lines("Not run here", tuple(dict.fromkeys(lines))))
    return tuple(found)


def _table(rows: Sequence[ReadinessRow]) -> Table:
    columns = (
        Column("target"),
        Column("precision"),
        Column("would take"),
        Column("nodes", right=True),
        Column("MACs", right=True),
        Column("parts", right=True),
        Column("not run here: file"),
    )
    return Table("NPU readiness, not run here", columns, tuple(map(_cells, rows)))


def _cells(row: ReadinessRow) -> tuple[Cell, ...]:
    known = row.macs and row.placed_macs is not None
    share = number.percent((row.placed_macs or 0) / row.macs) if known and row.macs else number.ABSENT
    return (
        Cell(row.target),
        Cell(row.precision.value),
        Cell(row.verdict, _TONES[row.verdict]),
        Cell(f"{row.placed} of {row.nodes}"),
        Cell(share),
        Cell(str(row.partitions)),
        Cell(row.file or number.ABSENT),
    )
