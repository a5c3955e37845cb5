"""PackageResult -> Page: one row per package; below it why it was refused, or what its user should know."""

from __future__ import annotations

from edgekit.errors import EXIT_CODE_MEANINGS
from edgekit.pipeline.result.package import PackageResult, PackageRow
from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Facts, Line, Lines, Page, Table, is_empty
from edgekit.report.view_rows import status_tone, tone_of


def view(result: PackageResult) -> Page:
    """The packages of one bundle."""
    blocks: list[Block] = [packages_table(result.packages), packages_lines(result.packages)]
    blocks += [
        Facts(row.kind, tuple((name, value) for name, value in row.facts.items()))
        for row in result.packages
        if row.facts
    ]
    blocks.append(Facts("", (("signature of the bundle", result.signature),)))
    return Page(
        f"Packages of {result.bundle}",
        EXIT_CODE_MEANINGS[result.exit_code] if result.exit_code else "pass",
        tone_of(result.exit_code),
        tuple(block for block in blocks if not is_empty(block)),
    )


def packages_table(rows: tuple[PackageRow, ...], *, title: str = "") -> Table:
    """What was written for whom."""
    columns = (
        Column("for"),
        Column("artifacts"),
        Column("files", right=True),
        Column("size", right=True),
        Column("written"),
    )
    return Table(title, columns, tuple(_cells(row) for row in rows))


def _cells(row: PackageRow) -> tuple[Cell, ...]:
    if row.path is None:
        absent = Cell(number.ABSENT)
        return (Cell(row.kind), absent, absent, absent, Cell("refused", status_tone("fail")))
    held = ", ".join(f"{each.target} {each.precision}" for each in row.artifacts)
    return (
        Cell(row.kind),
        Cell(held),
        Cell(str(row.files)),
        Cell(number.size(row.size_bytes)),
        Cell(str(row.path)),
    )


def packages_lines(rows: tuple[PackageRow, ...]) -> Lines:
    """Why which artifact went in, why a kind was refused, and notes."""
    found: list[Line] = []
    for row in rows:
        if row.path is None:
            found.append(Line(f"{row.kind}: {row.reason}", status_tone("fail")))
            found += [Line(f"  next: {row.remedy}")] if row.remedy else []
        found += [Line(f"{row.kind}: {each.target}: {each.reason}") for each in row.artifacts]
        found += [Line(f"{row.kind}: {note}") for note in row.notes]
    return Lines("", tuple(found))
