"""DiffResult -> Page: the verdict, one row per target and figure, and what could not be compared."""

from __future__ import annotations

from edgekit.errors import EXIT_CODE_MEANINGS
from edgekit.pipeline.result import ChangeRow, DiffResult, DiffRow, SideRow
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Line, Lines, Page, Table, Tone, is_empty
from edgekit.report.view_rows import tone_of

_TONES: dict[str, Tone] = {
    "better": "good",
    "worse": "bad",
    "same": "plain",
    "changed": "plain",
    "added": "plain",
    "removed": "warn",
    "undecided": "warn",
    "not_comparable": "muted",
}


def view(result: DiffResult) -> Page:
    """Old against new."""
    why = f" ({EXIT_CODE_MEANINGS[result.exit_code]})" if result.exit_code else ""
    return Page(
        title=f"{_name(result.old)} -> {_name(result.new)}",
        verdict=f"{result.verdict}{why}",
        tone=tone_of(result.exit_code),
        blocks=tuple(block for block in _blocks(result) if not is_empty(block)),
    )


def _blocks(result: DiffResult) -> list[Block]:
    return [
        _targets(result),
        *(_changes(row) for row in result.targets),
        Lines("Findings", tuple(Line(text, "warn") for text in result.findings)),
        Facts("Compared", (("old", _side(result.old)), ("new", _side(result.new)))),
    ]


def _name(side: SideRow) -> str:
    return f"{side.model} {side.version}".strip() or side.source


def _side(side: SideRow) -> str:
    return f"{side.source} ({side.kind})"


def _targets(result: DiffResult) -> Table:
    rows = tuple((Cell(row.target), Cell(row.status, _TONES[row.status])) for row in result.targets)
    return Table("Targets", (Column("target"), Column("verdict")), rows)


def _changes(row: DiffRow) -> Table:
    columns = tuple(map(Column, ("figure", "old", "new", "change", "verdict", "compared by")))
    return Table(row.target, columns, tuple(_change(each) for each in row.changes))


def _change(each: ChangeRow) -> tuple[Cell, ...]:
    return (
        Cell(each.figure),
        Cell(each.old or number.ABSENT),
        Cell(each.new or number.ABSENT),
        Cell(each.change or number.ABSENT),
        Cell(each.verdict.replace("_", " "), _TONES[each.verdict]),
        Cell(each.reason or number.ABSENT),
    )
