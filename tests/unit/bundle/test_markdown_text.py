"""Names out of a model are shown as they are, and are never markup."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from edgekit.bundle.markdown_text import python, table, text

HOSTILE = (
    "a|b",
    "`code`",
    "```\nblock",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "**bold** _em_ ~~gone~~",
    "[click](javascript:alert(1))",
    "![x](y)",
    "# heading",
    "- item",
    "1. item",
    "12) item",
    "+ item",
    "= setext",
    "&lt;b&gt; &amp;",
    "a\\",
    "\\|",
    "x\r\ny",
    "right-to-left \u202e mark, zero \u200b width, \u2028 line",
    "nul \x00, escape \x1b[31m",
)


def shown(value: str) -> str:
    """What a reader should see: unseen characters by their code."""
    codes = {ord(char): f"\\u{ord(char):04x}" for char in "\r\n\u202e\u200b\u2028\x00\x1b"}
    return value.translate(codes)


def rendered(markdown: str) -> str:
    """As GitHub renders it: CommonMark with tables and strikethrough, HTML let through."""
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(renderer.render(markdown))


def plain(markdown: str) -> str:
    """The paragraph's text; fails where there is any markup in it."""
    import html

    page = rendered(markdown).strip()
    assert page.startswith("<p>")
    assert page.endswith("</p>")
    inside = page.removeprefix("<p>").removesuffix("</p>")
    assert "<" not in inside
    return html.unescape(inside)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_paragraph_shows_the_text_and_nothing_else(value: str) -> None:
    assert plain(text(value)) == shown(value)


@pytest.mark.parametrize("value", ["<b>x</b>", "**x**", "# x", "- x", "1. x", "[x](y)", "~~x~~"])
def test_unescaped_it_would_be_markup(value: str) -> None:
    """The check itself goes red."""
    with pytest.raises(AssertionError):
        plain(value)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_cell_stays_one_cell(value: str) -> None:
    page = rendered(table(("name", "other"), [(value, "next")]))
    assert page.count("<td") == 2
    assert "<script" not in page
    assert "<img" not in page


@pytest.mark.parametrize(
    "value", ["digits-cnn.onnx", "1.0.0", "0.97", "float32 (batch, 1) NCHW", "a+b", "été"]
)
def test_ordinary_names_stay_readable(value: str) -> None:
    assert text(value) == value


@pytest.mark.parametrize("value", HOSTILE)
def test_a_literal_is_one_line_without_a_fence(value: str) -> None:
    import ast

    line = python(value)
    assert ast.literal_eval(line) == value
    assert line.isascii()
    assert "`" not in line
    assert "\n" not in line
