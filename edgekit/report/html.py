"""Page -> one self-contained HTML file: no script, no network, light and dark, readable on a phone.

Below 720 px every table row becomes a card whose values carry their column titles (``data-label``): a table
of nine columns cannot be read by scrolling sideways. HTML Living Standard; text is escaped once, here.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from edgekit.report import number, plot
from edgekit.report.page import Block, Cell, Column, Facts, Heading, Lines, Page, Scatter, Table

_LONG = 28  # characters from which a value gets its own line on a phone and room in a table


def render(page: Page) -> str:
    """The whole page, details included."""
    title = escape(page.title)
    style = files("edgekit.report").joinpath("style.css").read_text("utf-8")
    verdict = f'<p class="verdict {page.tone}">{escape(page.verdict)}</p>' if page.verdict else ""
    body = "\n".join(part for block in page.blocks for part in _block(block))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title} - edgekit</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{title}</h1>{verdict}</header>\n{body}\n"
        "<footer>Written by edgekit. Every figure comes from running the file on the runtime that its row "
        "names.</footer>\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(title=title):
            yield f"<h2>{escape(title)}</h2>"
        case Table():
            yield from _title(block.title)
            yield _table(block)
        case Facts():
            yield from _title(block.title)
            pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.items)
            yield f"<dl>{''.join(pairs)}</dl>"
        case Lines(short=True):
            pass
        case Lines():
            yield from _title(block.title)
            items = (f'<li class="{line.tone}">{escape(line.text)}</li>' for line in block.items)
            yield f"<ul>{''.join(items)}</ul>"
        case Scatter():
            yield from _title(block.title)
            yield _figure(block)


def _title(title: str) -> Iterator[str]:
    if title:
        yield f"<h3>{escape(title)}</h3>"


def _table(table: Table) -> str:
    head = "".join(f"<th{_class(column)}>{escape(column.title)}</th>" for column in table.columns)
    rows = "\n".join(
        f"<tr>{''.join(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))}</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _class(column: Column) -> str:
    return ' class="right"' if column.right else ""


def _cell(cell: Cell, column: Column) -> str:
    names = [
        name
        for name, wanted in (
            ("right", column.right),
            ("long", not column.right and len(cell.whole) > _LONG),
            ("empty", cell.whole in {"", number.ABSENT}),
        )
        if wanted
    ]
    kind = f' class="{" ".join(names)}"' if names else ""
    text = escape(cell.text)
    if cell.tone == "muted":
        text = f'<span class="muted">{text}</span>'
    elif cell.tone != "plain":
        text = f'<span class="pill {cell.tone}">{text}</span>'
    note = f" <small>{escape(cell.note)}</small>" if cell.note else ""
    return f'<td{kind} data-label="{escape(column.title, quote=True)}"><span>{text}{note}</span></td>'


def _figure(scatter: Scatter) -> str:
    legend = "".join(f"<li>{escape(point.label)}</li>" for point in scatter.points)
    caption = f"<figcaption>{escape(scatter.caption)}<ol>{legend}</ol></figcaption>"
    return f"<figure>{plot.render(scatter)}{caption}</figure>"
