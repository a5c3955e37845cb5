"""ReleaseResult -> Scatter: accuracy drop over latency and size, every candidate of every target.

One panel for each figure: latency as a multiple of float's on the same target, milliseconds, size. Shapes are
targets; float is hollow, what ships has a ring, what another candidate of its target beats is pale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgekit.pipeline.result import CandidateRow, ReleaseResult
from edgekit.report import number
from edgekit.report.page import Cell, Column, Limit, Panel, Point, Scatter, Table, Value
from edgekit.report.view_rows import accuracy_cells, latency_cell, ratio_cell, status_tone

_SHAPES = ("circle", "square", "diamond", "triangle")
_KB, _MB = 1000.0, 1e6
Figure = Callable[[CandidateRow], Value | None]


@dataclass(frozen=True)
class _Placed:
    """A candidate with its number in the picture."""

    number: int
    shape: int
    target: str
    row: CandidateRow


def scatter(result: ReleaseResult) -> Scatter:
    """The picture and the table behind it; without panels where nothing was measured."""
    placed = list(_placed(result))
    unit, divisor = ("MB", _MB) if any(each.row.size_bytes >= _MB for each in placed) else ("kB", _KB)
    p95 = any("max_latency_ms" in row.limits for row in result.targets)
    float_line = (Limit(1.0, "float"),) if any(_ratio(each.row) for each in placed) else ()
    panels = (
        _panel("latency ÷ float's (left is faster)", placed, _ratio, "×", (*float_line, *_slower(result))),
        _panel(
            f"{'p95' if p95 else 'p50'} latency, ms",
            placed,
            _p95 if p95 else _p50,
            "",
            _limits(result, "max_latency_ms", 1.0, lambda limit: f"p95 ≤ {limit:g} ms"),
        ),
        _panel(
            f"size, {unit}",
            placed,
            lambda row: _exact(row.size_bytes / divisor),
            "",
            _limits(result, "max_size_bytes", divisor, lambda limit: f"≤ {limit:g} {unit}"),
        ),
    )
    units = {each.row.accuracy.unit for each in placed if each.row.accuracy}
    unit_of_drop = units.pop() if len(units) == 1 else "pp"
    return Scatter(
        title="All candidates",
        y_title=f"accuracy drop, {unit_of_drop} (down is better)",
        panels=tuple(panel for panel in panels if len(panel.points) > 1),
        limits=_limits(result, "max_drop_pp", 1.0, lambda limit: f"budget {limit:g} {unit_of_drop}"),
        table=_table(placed),
        names=tuple(f"{each.target} {_name(each.row)}" for each in placed),
        caption=tuple(_caption(result)),
    )


def _placed(result: ReleaseResult) -> Iterator[_Placed]:
    number = 0
    for shape, row in enumerate(result.targets):
        for each in row.candidates:
            number += 1
            yield _Placed(number, shape, row.target, each)


def _panel(
    title: str, placed: list[_Placed], figure: Figure, suffix: str, limits: tuple[Limit, ...]
) -> Panel:
    points = []
    for each in placed:
        x, accuracy = figure(each.row), each.row.accuracy
        if x is None or accuracy is None:
            continue
        points.append(
            Point(
                number=each.number,
                words=_words(each, number.significant(x.value) + suffix),
                tone="plain" if each.row.role == "float" else status_tone(each.row.status),
                x=x,
                y=Value(accuracy.drop_pp, accuracy.drop_low_pp, accuracy.drop_high_pp),
                shape=each.shape,
                is_float=each.row.role == "float",
                ships=each.row.shipped,
                beaten=bool(each.row.beaten_by),
            )
        )
    return Panel(title, tuple(points), limits, suffix)


def _words(each: _Placed, figure: str) -> str:
    accuracy = each.row.accuracy
    drop = f", drop {number.signed(accuracy.drop_pp)} {accuracy.unit}" if accuracy else ""
    return f"{each.target} {each.row.name}: {figure}{drop}"


def _name(row: CandidateRow) -> str:
    said = (("float", row.role == "float"), ("ships", row.shipped))
    words = [word for word, holds in said if holds]
    return f"{row.name} ({', '.join(words)})" if words else row.name


def _exact(value: float) -> Value:
    return Value(value, value, value)


def _ratio(row: CandidateRow) -> Value | None:
    if row.role == "float" and row.latency:
        return _exact(1.0)
    return Value(row.ratio.value, row.ratio.low, row.ratio.high) if row.ratio else None


def _p50(row: CandidateRow) -> Value | None:
    return Value(row.latency.p50_ms, row.latency.low_ms, row.latency.high_ms) if row.latency else None


def _p95(row: CandidateRow) -> Value | None:
    return _exact(row.latency.p95_ms) if row.latency else None


def _limits(
    result: ReleaseResult, key: str, divisor: float, words: Callable[[float], str]
) -> tuple[Limit, ...]:
    """Each limit once; with the targets' names where they differ."""
    found: dict[float, list[str]] = {}
    for row in result.targets:
        if key in row.limits:
            found.setdefault(row.limits[key] / divisor, []).append(row.target)
    return tuple(
        Limit(value, words(value) + (f" ({', '.join(names)})" if len(found) > 1 else ""))
        for value, names in found.items()
    )


def _slower(result: ReleaseResult) -> tuple[Limit, ...]:
    found = {row.limits["never_slower"] for row in result.targets if "never_slower" in row.limits}
    return tuple(Limit(value, f"≤ {value:g}×") for value in sorted(found))


def _caption(result: ReleaseResult) -> Iterator[str]:
    tried = [row for row in result.targets if row.candidates]
    if len(tried) > 1:
        shapes = ", ".join(
            f"{_SHAPES[shape % len(_SHAPES)]}: {row.target}"
            for shape, row in enumerate(result.targets)
            if row.candidates
        )
        yield f"{shapes}."
    yield (
        "Hollow: float. Ringed: ships. Pale: another candidate of the same target is nowhere worse in "
        "latency, size and drop. Bars are 95 % intervals, dashed lines the recipe's limits."
    )


def _table(placed: list[_Placed]) -> Table:
    columns = (
        Column("no."),
        Column("artifact"),
        Column("status"),
        Column("drop", right=True),
        Column("p50/p95, ms", right=True),
        Column("ratio", right=True),
        Column("size", right=True),
        Column("Pareto front"),
    )
    return Table(
        "The same as a table", columns, tuple(_row(each) for each in placed), detail=True, folded=True
    )


def _row(each: _Placed) -> tuple[Cell, ...]:
    row = each.row
    front = Cell(f"beaten by {row.beaten_by}", "muted") if row.beaten_by else Cell("yes")
    return (
        Cell(str(each.number)),
        Cell(f"{each.target} {_name(row)}"),
        Cell(row.status, status_tone(row.status)),
        accuracy_cells(row.accuracy)[1],
        latency_cell(row.latency),
        ratio_cell(row),
        Cell(number.size(row.size_bytes)),
        front,
    )
