"""The HTML report is one file, well formed, escaped, and holds what the result holds."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.pipeline.result import ReleaseResult
from edgekit.report import html, plot
from edgekit.report.page import Cell, Column, Line, Lines, Page, Point, Scatter, Table

FOLDER = Path(__file__).parents[2] / "golden" / "report"
VOID = {"meta", "line", "circle", "br"}


def release(name: str) -> ReleaseResult:
    return TypeAdapter(ReleaseResult).validate_python(
        json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    )


class Tree(HTMLParser):
    """Notes tags that are not closed in order, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(text: str) -> Tree:
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert not tree.open
    return tree


@pytest.mark.parametrize("name", ["release_passing", "release_failing"])
def test_one_well_formed_file_without_network_and_script(name: str) -> None:
    text = report.render(release(name), "html")
    tree = parsed(text)
    assert "script" not in tree.tags
    assert not [value for key, value in tree.attributes if key in {"src", "href"} and value]
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_all_that_a_reader_looks_for_is_there() -> None:
    found = release("release_passing")
    words = " ".join(parsed(report.render(found, "html")).text)
    for row in found.targets:
        assert row.reason in words
        for each in row.candidates:
            assert each.file in words
            assert each.sha256 in words
            for gate in each.gates:
                assert gate.reason in words
    for value in (*found.machine.facts.values(), *found.tools.values(), found.lock_reason):
        assert value in words
    assert "not run on a GPU here" in words


def test_text_is_escaped() -> None:
    evil = '<b>&"x'
    table = Table(evil, (Column(evil),), ((Cell(evil, note=evil),),))
    page = Page(evil, evil, "bad", (table, Lines(evil, (Line(evil),))))
    tree = parsed(html.render(page))
    assert "b" not in tree.tags
    # title, heading, verdict; table title, column, cell and note; lines title and line
    assert sum(text.count(evil) for text in tree.text) == 9


def test_the_plot_is_there_where_there_are_points_and_only_there() -> None:
    assert "<svg" in report.render(release("release_passing"), "html")
    found = release("release_passing")
    unmeasured = replace(
        found,
        targets=tuple(
            replace(row, candidates=tuple(replace(each, ratio=None) for each in row.candidates))
            for row in found.targets
        ),
    )
    assert "<svg" not in report.render(unmeasured, "html")


def point(x: float, y: float) -> Point:
    return Point("p", "good", x, x, x, y, y, y)


@pytest.mark.parametrize(
    "points",
    [(point(1.0, 0.0),), (point(0.5, 1e-9), point(40.0, -3.0)), (point(math.inf, 0.1), point(0.9, 0.1))],
    ids=["one point on the reference", "far apart", "not finite"],
)
def test_plot_coordinates_are_inside_the_picture(points: tuple[Point, ...]) -> None:
    svg = plot.render(Scatter("t", "x", "y", 1.0, 0.0, points))
    numbers = [float(value) for value in re.findall(r'(?:cx|cy|x1|x2|y1|y2)="([^"]+)"', svg)]
    assert numbers
    assert all(math.isfinite(value) and 0 <= value <= 560 for value in numbers)
