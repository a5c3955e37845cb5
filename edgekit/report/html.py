"""Page -> one self-contained HTML file: no script, no network, light and dark, readable on a phone.

Below 720 px every table row becomes a card whose values carry their column titles (``data-label``): a table
of nine columns cannot be read by scrolling sideways. HTML Living Standard; text is escaped once, here.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from edgekit.report import html_pictures, number
from edgekit.report.page import (
    Bars,
    Block,
    Cell,
    Column,
    Facts,
    Gallery,
    Heading,
    Lines,
    Page,
    Roofline,
    Scatter,
    Table,
    Trend,
)

_MANY = 9  # columns from which a table is set closer, so that it fits a screen
_LONG_TITLE = 40  # characters from which a title (a path) is set smaller
_SHORT = 12  # characters up to which a value ("w8a8-lean") stays on one line
_LONG = 28  # characters from which a value gets its own line on a phone and room in a table


def render(page: Page) -> str:
    """The whole page, details included."""
    title = escape(page.title)
    style = files("edgekit.report").joinpath("style.css").read_text("utf-8")
    verdict = f'<p class="verdict {page.tone}">{escape(page.verdict)}</p>' if page.verdict else ""
    parts = [_anchored(place, block) for place, block in enumerate(page.blocks)]
    body = "\n".join(filter(None, parts))
    small = ' class="long"' if len(page.title) > _LONG_TITLE else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title} - edgekit</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1{small}>{title}</h1>{verdict}</header>\n{_contents(page)}{body}\n"
        "<footer>Written by edgekit. Every figure comes from running the file on the runtime that its row "
        "names.</footer>\n</main>\n</body>\n</html>\n"
    )


def _is_part(block: Block) -> bool:
    return isinstance(block, Heading | Scatter)


def _contents(page: Page) -> str:
    """Links to the parts of a long page."""
    parts = [(place, block.title) for place, block in enumerate(page.blocks) if _is_part(block)]
    if len(parts) < 2:
        return ""
    links = "".join(f'<a href="#part-{place}">{escape(title)}</a>' for place, title in parts)
    return f'<nav aria-label="Parts of this report">{links}</nav>\n'


def _anchored(place: int, block: Block) -> str:
    """A block; ``place`` makes its identifiers unique."""
    if isinstance(block, Roofline):
        return "\n".join([*_title(block.title), html_pictures.roofline(block, name=f"roof-{place}")])
    if _is_part(block):
        head = f'<h2 id="part-{place}">{escape(block.title)}</h2>'
        return head + (_figure(block, place) if isinstance(block, Scatter) else "")
    return "\n".join(_block(block))


def _block(block: Block) -> Iterator[str]:
    match block:
        case Table(folded=True):
            yield _folded(f"{block.title} ({len(block.rows)})", _table(block))
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
            items = "".join(f'<li class="{line.tone}">{escape(line.text)}</li>' for line in block.items)
            if block.folded:
                yield _folded(f"{block.title} ({len(block.items)})", f"<ul>{items}</ul>")
            else:
                yield from _title(block.title)
                yield f"<ul>{items}</ul>"
        case Bars():
            yield from _title(block.title)
            yield html_pictures.bars(block)
        case Trend():
            yield from _title(block.title)
            yield html_pictures.trend(block)
        case Gallery():
            yield from _title(block.title)
            yield html_pictures.gallery(block)
        case _:
            pass


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _title(title: str) -> Iterator[str]:
    if title:
        yield f"<h3>{escape(title)}</h3>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_class(column)}>{escape(column.title)}</th>' for column in table.columns)
    rows = "\n".join(
        f"<tr>{''.join(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))}</tr>"
        for row in table.rows
    )
    dense = ' class="dense"' if len(table.columns) > _MANY else ""
    return (
        f'<div class="scroll"><table{dense}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _class(column: Column) -> str:
    return ' class="right"' if column.right else ""


def _cell(cell: Cell, column: Column) -> str:
    names = [
        name
        for name, wanted in (
            ("right", column.right),
            ("short", not column.right and len(cell.whole) <= _SHORT),
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


def _figure(scatter: Scatter, place: int) -> str:
    return "\n".join([html_pictures.scatter(scatter, name=f"plot-{place}"), *_block(scatter.table)])
