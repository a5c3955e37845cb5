"""Page -> text for a terminal or a log: aligned tables, records where a table is too wide.

Blocks marked ``detail`` and the rows behind ``brief`` are left out unless everything is wanted; ``--format
json`` and the reports hold everything. Colour is applied last (rich, which knows the terminal and NO_COLOR),
so that a log and a terminal show the same characters.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edgekit.report.page import (
    Bars,
    Block,
    Cell,
    Facts,
    Gallery,
    Line,
    Lines,
    Page,
    Roofline,
    Scatter,
    Table,
    Tone,
    Trend,
)

Span = tuple[str, Tone]
Row = tuple[Span, ...]

_LOG_WIDTH = 180  # without a terminal: wide enough for the release table, narrow enough for a CI log
_GAP = "  "
_CUT_LEAST = 12  # characters of a name that still tell rows apart
_STYLES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "bold red", "warn": "yellow", "muted": "dim"}


def render(page: Page, *, width: int | None = None, color: bool = False, everything: bool = False) -> str:
    """The page as text that ends in one newline.

    Args:
        page: what to draw.
        width: columns of the terminal; None for a log, where a sentence stays on one line for grep.
        color: whether to add escape sequences.
        everything: whether to draw what the short form leaves out.
    """
    rows = list(_page(page, width, everything=everything))
    if color:
        return _colored(rows)
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows) + "\n"


def _page(page: Page, width: int | None, *, everything: bool) -> Iterator[Row]:
    yield ((page.title, "plain"),)
    for block in page.blocks:
        left_out = isinstance(block, Lines) and block.short if everything else block.detail
        left_out = left_out or isinstance(block, Scatter | Bars | Trend | Gallery | Roofline)  # for HTML
        if not left_out:
            yield ()
            yield from _block(block if everything else _short(block), width)
    if page.verdict:
        yield ()
        yield (("verdict: ", "plain"), (page.verdict, page.tone))


def _short(block: Block) -> Block:
    """The first rows of a table that says how many are enough."""
    match block:
        case Table(brief=brief, rows=rows) if brief:
            return replace(block, rows=rows[:brief])
        case Lines(brief=brief, items=items) if brief:
            return replace(block, items=items[:brief])
        case _:
            return block


def _block(block: Block, width: int | None) -> Iterator[Row]:
    if block.title:
        yield ((f"{block.title}:", "plain"),)
    match block:
        case Table():
            room = width or _LOG_WIDTH
            table = _narrowed(block, room)
            yield from _table(table) if _table_width(table) <= room else _records(block, width)
        case Facts():
            yield from _pairs(
                [(name, Cell(value)) for name, value in block.items],
                width,
                indent=_GAP if block.title else "",
            )
        case Lines():
            for line in block.items:
                yield from _sentence(line, width, indent=_GAP if block.title else "")
        case _:  # a heading has its title
            pass


def _widths(table: Table) -> list[int]:
    texts = [[column.title, *(row[i].whole for row in table.rows)] for i, column in enumerate(table.columns)]
    return [max(map(len, column)) for column in texts]


def _table_width(table: Table) -> int:
    return sum(_widths(table)) + len(_GAP) * (len(table.columns) - 1)


def _narrowed(table: Table, room: int) -> Table:
    """The table with the beginnings cut off in columns that allow it, as far as it needs to fit."""
    for index, column in enumerate(table.columns):
        widths = _widths(table)
        size = max(widths[index] - (_table_width(table) - room), _CUT_LEAST)
        if column.cut and size < widths[index]:
            rows = tuple((*row[:index], _tail(row[index], size), *row[index + 1 :]) for row in table.rows)
            table = replace(table, rows=rows)
    return table


def _tail(cell: Cell, size: int) -> Cell:
    text = cell.text
    return cell if len(text) <= size else replace(cell, text=f"…{text[len(text) - size + 1 :]}")


def _table(table: Table) -> Iterator[Row]:
    widths = _widths(table)

    def aligned(cells: Iterable[Cell]) -> Row:
        spans: list[Span] = []
        for cell, column, size in zip(cells, table.columns, widths, strict=True):
            text = cell.whole.rjust(size) if column.right else cell.whole.ljust(size)
            spans += [(text, cell.tone), (_GAP, "plain")]
        return tuple(spans[:-1])

    yield aligned(Cell(column.title, "muted") for column in table.columns)
    yield ((_GAP.join("-" * size for size in widths), "muted"),)
    for row in table.rows:
        yield aligned(row)


def _records(table: Table, width: int | None) -> Iterator[Row]:
    """One block per row: the first cell, and below it the others by their titles."""
    for number, row in enumerate(table.rows):
        if number:
            yield ()
        yield ((row[0].whole, row[0].tone),)
        pairs = [(column.title, cell) for column, cell in zip(table.columns[1:], row[1:], strict=True)]
        yield from _pairs([pair for pair in pairs if pair[1].whole], width, indent=_GAP)


def _pairs(items: list[tuple[str, Cell]], width: int | None, *, indent: str) -> Iterator[Row]:
    size = max((len(name) for name, _ in items), default=0)
    for name, cell in items:
        head = f"{indent}{name.ljust(size)}{_GAP}"
        lines = _wrap(cell.whole, width, taken=len(head))
        yield ((head, "muted"), (lines[0], cell.tone))
        for line in lines[1:]:
            yield ((" " * len(head), "plain"), (line, cell.tone))


def _sentence(line: Line, width: int | None, *, indent: str) -> Iterator[Row]:
    for number, text in enumerate(_wrap(line.text, width, taken=len(indent) + len(_GAP))):
        yield ((indent + (_GAP if number else ""), "plain"), (text, line.tone))


def _wrap(text: str, width: int | None, *, taken: int) -> list[str]:
    if width is None:
        return [text]
    # paths and digests stay whole: they are copied from here
    room = max(width - taken, 20)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _colored(rows: list[Row]) -> str:
    from rich.console import Console
    from rich.text import Text

    file = io.StringIO()
    console = Console(file=file, force_terminal=True, highlight=False, soft_wrap=True, legacy_windows=False)
    for row in rows:
        console.print(Text.assemble(*((text, _STYLES[tone]) for text, tone in row)))
    return file.getvalue()
