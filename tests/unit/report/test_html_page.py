"""The HTML report is one file, well formed, escaped, and holds what the result holds."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.pipeline.clean import CleanResult
from edgekit.pipeline.result import (
    RESULTS,
    DriftRow,
    FlipPairRow,
    FlipRow,
    FlipsRow,
    PairRow,
    ReleaseResult,
)
from edgekit.report import html, html_pictures, plot, view_chain, view_layers
from edgekit.report.listing import LISTINGS
from edgekit.report.page import (
    Bar,
    Bars,
    Cell,
    Column,
    Limit,
    Line,
    Lines,
    Page,
    Panel,
    Point,
    Scatter,
    Table,
    Value,
)
from tests.unit.report import rich_results

FOLDER = Path(__file__).parents[2] / "golden" / "report"
VOID = {"meta", "line", "circle", "polygon", "br", "img"}


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
    sources = [value or "" for key, value in tree.attributes if key in {"src", "href"}]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in sources)
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


def test_pictures_and_bars_are_there_where_there_are_figures_and_only_there() -> None:
    found = release("release_passing")
    assert "<svg" in report.render(found, "html")
    unmeasured = replace(
        found,
        targets=tuple(
            replace(row, candidates=tuple(replace(each, accuracy=None) for each in row.candidates))
            for row in found.targets
        ),
    )
    text = report.render(unmeasured, "html")
    assert "<svg" not in text
    assert 'class="bars"' not in text


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def flipped(count: int) -> FlipsRow:
    shown = (FlipRow(7, "<cat>", "<cat>", "dog", PIXEL), FlipRow(9, "ox", "dog", "ox"))[:count]
    return FlipsRow(900, count, lost=1, gained=1, pairs=(FlipPairRow("<cat>", "dog", 1),), shown=shown)


def with_flips(found: ReleaseResult, flips: FlipsRow) -> ReleaseResult:
    first, *rest = found.targets
    candidates = tuple(replace(each, flips=flips if each.shipped else None) for each in first.candidates)
    return replace(found, targets=(replace(first, candidates=candidates), *rest))


def test_flipped_samples_are_shown_with_what_they_are() -> None:
    text = report.render(with_flips(release("release_passing"), flipped(2)), "html")
    tree = parsed(text)
    assert text.count(f'<img src="{PIXEL}" alt="sample 7">') == 1
    assert tree.tags.count("img") == 1  # the other one has no picture
    words = " ".join(tree.text)
    assert (
        "2 of 900: 1 that float has right and the candidate wrong, 1 the other way, 0 wrong in both" in words
    )
    assert "<cat> → dog" in words
    assert "cat" not in tree.tags


def test_where_nothing_flipped_that_is_said_and_nothing_drawn() -> None:
    found = with_flips(release("release_passing"), replace(flipped(0), lost=0, gained=0, pairs=()))
    text = report.render(found, "html")
    assert "none of 900" in text
    assert 'class="tiles"' not in text


def test_a_name_with_markup_in_it_stays_text() -> None:
    evil = "<script>alert(1)</script>\"' onload=x"
    found = release("release_passing")
    first, *rest = found.targets
    pair = PairRow("ONNX float", evil, "whole", None, (DriftRow(evil, 1.0, 1.0, 40.0),))
    changed = replace(
        found,
        name=evil,
        findings=(evil,),
        targets=(replace(first, target=evil, reason=evil), *rest),
        matrix=(pair,),
        tools={evil: evil},
    )
    tree = parsed(report.render(changed, "html"))
    assert "script" not in tree.tags
    assert not [key for key, _ in tree.attributes if key.startswith("on")]
    assert sum(evil in text for text in tree.text) >= 8


def test_every_part_can_be_reached_from_the_top() -> None:
    tree = parsed(report.render(release("release_passing"), "html"))
    wanted = [value for key, value in tree.attributes if key == "href"]
    places = [f"#{value}" for key, value in tree.attributes if key == "id"]
    assert len(wanted) == len(set(wanted)) >= 6
    assert set(wanted) <= set(places)
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_every_result_is_well_formed(name: str) -> None:
    kind = "release" if name.startswith("release") else "inspect" if name.startswith("inspect") else name
    known = {**RESULTS, **LISTINGS, "clean": CleanResult}
    adapter: TypeAdapter[object] = TypeAdapter(known[kind])
    result = adapter.validate_python(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))
    parsed(report.render(result, "html"))


def test_a_full_release_has_every_part_in_order_with_the_verdict_first() -> None:
    text = report.render(rich_results.release(), "html")
    parsed(text)
    parts = [
        'class="verdict good">pass<',
        "<h3>Targets</h3>",
        ">All candidates</h2>",
        "<svg",
        "budget 1 pp",
        "Outside the picture: p95 ≤ 9000 ms.",
        "<summary>The same as a table",
        ">onnxruntime-cpu</h2>",
        "<h3>Gates</h3>",
        "<h3>Latency at batch 1</h3>",
        "Classes and slices: w8a8",
        "Flipped labels: w8a8",
        "data:image/png;base64,",
        ">Drift</h2>",
        "framework → ONNX float",
        ">Calibration</h2>",
        "one class has no sample",
        ">Provenance</h2>",
        "<h3>Machine</h3>",
    ]
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


def test_a_release_shows_flips_of_what_ships_alone() -> None:
    found = rich_results.release()
    shipped = sum(each.shipped for row in found.targets for each in row.candidates)
    assert report.render(found, "html").count("Flipped labels") == shipped
    tried = replace(
        found,
        targets=tuple(
            replace(row, candidates=tuple(replace(each, shipped=False) for each in row.candidates))
            for row in found.targets
        ),
    )
    assert report.render(tried, "html").count("Flipped labels") == sum(
        len(row.candidates) for row in found.targets
    )


def test_each_step_to_what_ships_has_its_loss() -> None:
    table = view_chain.chain_table(rich_results.release().matrix)
    assert [column.title for column in table.columns] == [
        "artifact",
        "framework → ONNX float",
        "ONNX float → runtime float",
        "runtime float → candidate",
        "ONNX float → candidate",
    ]
    assert [row[0].text for row in table.rows] == ["onnxruntime-cpu w8a8"]
    assert {cell.text for cell in table.rows[0][1:]} == {"+2.00 pp"}
    assert table.rows[0][1].note == "30.0 dB, 3 of 900 labels"


def test_layers_are_as_long_as_their_noise_and_name_their_cause() -> None:
    chart = view_layers.layers_chart(rich_results.debug().rows[0].layers)
    assert (chart.left, chart.right) == (60.0, 20.0)  # tens around 20 and 59 dB
    assert len(chart.bars) == 30
    assert "10 more" in chart.caption
    assert "range-clipped" in chart.bars[0].note
    assert [bar.tone for bar in chart.bars[:3]] == ["bad", "bad", "plain"]
    assert chart.bars[5].second is None  # exact: no noise to draw
    assert chart.bars[7].value is None  # not measured


def at(number: int, x: float, y: float) -> Point:
    return Point(number, f"p{number}", "good", Value(x, x, x), Value(y, y, y))


def drawn(points: tuple[Point, ...], limits: tuple[Limit, ...] = (), y_limits: tuple[Limit, ...] = ()) -> str:
    return plot.render(Panel("x", points, limits), y_title="y", y_limits=y_limits, name="p")


@pytest.mark.parametrize(
    "points",
    [
        (at(1, 1.0, 0.0),),
        (at(1, 0.5, 1e-9), at(2, 40.0, -3.0)),
        (at(1, math.inf, 0.1), at(2, 0.9, 0.1)),
        tuple(at(number, 1.0, 0.0) for number in range(1, 13)),
    ],
    ids=["one point", "far apart", "not finite", "all in one place"],
)
def test_plot_coordinates_are_inside_the_picture(points: tuple[Point, ...]) -> None:
    svg = drawn(points, (Limit(1.05, "limit"),), (Limit(1.0, "budget"),))
    numbers = [float(value) for value in re.findall(r'(?:cx|cy|x1|x2|y1|y2)="([^"]+)"', svg)]
    assert numbers
    assert all(math.isfinite(value) and 0 <= value <= 400 for value in numbers)
    parsed(svg)


def test_markers_do_not_cover_each_other() -> None:
    svg = drawn(tuple(at(number, 1.0 + number / 1000, 0.0) for number in range(1, 10)))
    bodies = re.findall(r'class="body" cx="([^"]+)" cy="([^"]+)"', svg)
    places = [(float(x), float(y)) for x, y in bodies]
    assert len(places) == 9
    assert min(math.dist(a, b) for a, b in itertools.combinations(places, 2)) > 17  # two radii


def test_a_limit_is_drawn_where_it_can_be_seen_and_named_where_it_cannot() -> None:
    points = (at(1, 1.0, 0.0), at(2, 2.0, 1.0))
    near, far = Limit(2.5, "near"), Limit(900.0, "far")
    svg = drawn(points, (near, far))
    assert svg.count('class="limit"') == 1
    assert "near" in svg
    assert "far" not in svg
    panel = Panel("x", points, (near, far))
    assert plot.left_out(panel, ()) == [far]
    block = Scatter("t", "y", (panel,), (), Table("", (), ()))
    assert "Outside the picture: far." in html_pictures.scatter(block, name="p")


@pytest.mark.parametrize(("vertical", "anchor"), [(0.1, "end"), (1.9, "start")])
def test_the_budget_is_named_where_no_other_line_is(vertical: float, anchor: str) -> None:
    points = (at(1, 0.0, 0.0), at(2, 2.0, 1.0))
    svg = drawn(points, (Limit(vertical, "float"),), (Limit(0.5, "budget"),))
    assert re.search(f'text-anchor="{anchor}">budget<', svg)


def test_a_picture_says_what_is_in_it() -> None:
    svg = drawn((at(1, 1.0, 0.0),))
    assert '<title id="p-title">y over x</title>' in svg
    assert '<desc id="p-text">1: p1</desc>' in svg
    assert 'aria-labelledby="p-title p-text"' in svg


@pytest.mark.parametrize(
    ("left", "right", "value", "expected"),
    [
        (0.0, 10.0, 5.0, "left:0.00%;width:50.00%"),
        (-10.0, 10.0, -5.0, "left:25.00%;width:25.00%"),
        (50.0, 10.0, 20.0, "left:0.00%;width:75.00%"),  # an axis that runs backwards
        (0.0, 10.0, 99.0, "left:0.00%;width:100.00%"),  # never out of its track
    ],
)
def test_a_bar_ends_where_its_figure_is(left: float, right: float, value: float, expected: str) -> None:
    bar = Bar("b", "words", Value(value, value, value))
    origin = 0.0 if left <= 0 else left
    text = html_pictures.bars(Bars("t", (bar,), left, right, origin))
    assert f'class="fill plain" style="{expected}"' in text
    assert "words" in text
