"""Page -> GitHub-flavoured markdown, fit for a pull-request comment or ``$GITHUB_STEP_SUMMARY``.

Table syntax: GitHub Flavored Markdown specification, section 4.10. The plot is left to HTML.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.errors import EXIT_CODE_MEANINGS, EdgekitError, ExitCode
from edgekit.report.page import Bars, Block, Facts, Gallery, Heading, Lines, Page, Roofline, Scatter, Table

# characters that would start markup or end a cell; "<" would start an HTML tag
_ESCAPES = str.maketrans(
    {
        "|": "\\|",
        "<": "&lt;",
        ">": "&gt;",
        "*": "\\*",
        "_": "\\_",
        "`": "\\`",
        "[": "\\[",
        "]": "\\]",
        "\n": " ",
    }
)


def render(page: Page, *, everything: bool = True) -> str:
    """The whole page, or its short form without details."""
    return "\n\n".join(_parts(page, everything=everything)) + "\n"


def render_error(error: EdgekitError, code: ExitCode, *, verb: str) -> str:
    """Why there is no result."""
    lines = [f"# edgekit {verb}", f"**Error, exit code {int(code)} ({_escaped(EXIT_CODE_MEANINGS[code])})**"]
    lines += [_escaped(error.what)]
    lines += [
        f"- {name}: {_escaped(text)}"
        for name, text in (("why", error.why), ("next", error.remedy), ("more", error.more))
        if text
    ]
    return "\n\n".join(lines) + "\n"


def _parts(page: Page, *, everything: bool) -> Iterator[str]:
    yield f"# {_escaped(page.title)}"
    if page.verdict:
        yield f"**Verdict: {_escaped(page.verdict)}**"
    for block in page.blocks:
        if everything or not block.detail:
            yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(title=title):
            yield f"## {_escaped(title)}"
        case Table():
            yield from _title(block.title)
            yield _table(block)
        case Facts():
            yield from _title(block.title)
            yield "\n".join(f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.items)
        case Lines(short=True):
            pass
        case Lines():
            yield from _title(block.title)
            yield "\n".join(f"- {_escaped(line.text)}" for line in block.items)
        case Scatter() | Bars() | Gallery() | Roofline():
            pass


def _title(title: str) -> Iterator[str]:
    if title:
        yield f"### {_escaped(title)}"


def _table(table: Table) -> str:
    head = [_escaped(column.title) for column in table.columns]
    rule = ["--:" if column.right else ":--" for column in table.columns]
    rows = [[_escaped(cell.whole) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").translate(_ESCAPES)
