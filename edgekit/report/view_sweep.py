"""SweepResult -> Page: the rows that nobody beats, pictures, a table of all, and why which did not pass.

Rows are compared within a group: one metric on one data set, measured on one device. Each group has its
picture: the metric over latency, size and memory. Shapes are targets; float is hollow, the Pareto front has a
ring, what another row beats is pale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgekit.errors import EXIT_CODE_MEANINGS
from edgekit.pipeline.result import CandidateRow, SweepResult, SweepRow
from edgekit.report import number
from edgekit.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Line,
    Lines,
    Page,
    Panel,
    Point,
    Scatter,
    Table,
    Tone,
    Value,
    is_empty,
)
from edgekit.report.view_rows import (
    accuracy_cells,
    facts_of_machine,
    latency_cell,
    ratio_cell,
    rejections_lines,
    tone_of,
)

_SHAPES = ("circle", "square", "diamond", "triangle")
_KB, _MB = 1000.0, 1e6
_TONES: dict[str, Tone] = {
    "pass": "good",
    "fail": "bad",
    "error": "bad",
    "refused": "bad",
    "timed out": "bad",
}
_WORDS = {"missing": "device missing"}
_CAPTION = (
    "Hollow: float. Ringed: on the Pareto front. Pale: another row is nowhere worse in latency, size, memory "
    "and metric, or it misses a budget (red). Bars are 95 % intervals."
)
Figure = Callable[[CandidateRow], Value | None]


@dataclass(frozen=True)
class _Group:
    """Rows that are compared, with the number that each has in picture and table."""

    title: str
    rows: tuple[tuple[int, SweepRow], ...]


def view(result: SweepResult) -> Page:
    """The whole sweep."""
    names = _names(result.rows)
    groups = _groups(result)
    front = [row for row in result.rows if row.front]
    blocks: list[Block] = [
        _table("On the Pareto front", front, names),
        *(_scatter(group, result, names) for group in groups),
        _table("All rows", list(result.rows), names, detail=True),
        _reasons(result, names),
        Lines("Left out", tuple(Line(each) for each in result.left_out), detail=True),
        Lines("Findings", tuple(Line(each, "warn") for each in result.findings)),
        Facts("This sweep", tuple(_facts(result))),
        *(facts_of_machine(each) for each in result.machines.values()),
    ]
    return Page(
        f"Sweep of {result.matrix}",
        _verdict(result),
        tone_of(result.exit_code),
        tuple(block for block in blocks if not is_empty(block)),
    )


def _verdict(result: SweepResult) -> str:
    count = Counter(row.status for row in result.rows)
    parts = [f"{each} {_WORDS.get(status, status)}" for status, each in count.items()]
    front = sum(row.front for row in result.rows)
    gravest = f"; {EXIT_CODE_MEANINGS[result.exit_code]}" if result.exit_code else ""
    return f"{len(result.rows)} rows: {', '.join(parts)}; {front} on the front{gravest}"


def _names(rows: Sequence[SweepRow]) -> dict[str, str]:
    """A number, and what tells rows apart: target and precision, the rest where it differs."""
    recipes, devices = {row.recipe for row in rows}, {row.device for row in rows}
    threads, prunes = {row.threads for row in rows}, {row.prune for row in rows}
    return {
        row.id: " ".join(
            part
            for part in (
                f"{place}.",
                row.recipe if len(recipes) > 1 else "",
                row.target,
                str(row.precision),
                row.prune if len(prunes) > 1 else "",
                f"t{row.threads}" if len(threads) > 1 and row.threads is not None else "",
                f"on {row.device}" if len(devices) > 1 else "",
            )
            if part
        )
        for place, row in enumerate(rows, start=1)
    }


def _groups(result: SweepResult) -> tuple[_Group, ...]:
    found: dict[tuple[str, str, str], list[tuple[int, SweepRow]]] = {}
    for place, row in enumerate(result.rows, start=1):
        if row.artifact is not None and row.artifact.accuracy is not None:
            key = (row.artifact.accuracy.metric, row.data, row.device)
            found.setdefault(key, []).append((place, row))
    several = len(found) > 1
    return tuple(
        _Group(
            f"{metric} on {device}, {', '.join(dict.fromkeys(row.recipe for _, row in rows))}"
            if several
            else "All rows in pictures",
            tuple(rows),
        )
        for (metric, _, device), rows in found.items()
    )


def _table(title: str, rows: Sequence[SweepRow], names: dict[str, str], *, detail: bool = False) -> Table:
    columns = (
        Column("row"),
        Column("status"),
        Column("metric", right=True),
        Column("drop", right=True),
        Column("p50/p95, ms", right=True),
        Column("ratio", right=True),
        Column("size", right=True),
        Column("memory", right=True),
        *((Column("Pareto front"),) if detail else ()),
    )
    return Table(title, columns, tuple(_cells(row, names, detail=detail) for row in rows), detail=detail)


def _cells(row: SweepRow, names: dict[str, str], *, detail: bool) -> tuple[Cell, ...]:
    artifact = row.artifact
    value, drop = accuracy_cells(artifact.accuracy if artifact else None)
    front = Cell("yes", "good") if row.front else Cell(number.ABSENT, "muted")
    if row.beaten_by:
        front = Cell(f"beaten by {names[row.beaten_by].partition('.')[0]}", "muted")
    return (
        Cell(names[row.id]),
        Cell(_WORDS.get(row.status, row.status), _TONES.get(row.status, "warn")),
        value,
        drop,
        latency_cell(artifact.latency if artifact else None),
        ratio_cell(artifact),
        Cell(number.size(artifact.size_bytes) if artifact else number.ABSENT),
        Cell(number.size(artifact.memory_bytes) if artifact and artifact.memory_bytes else number.ABSENT),
        *((front,) if detail else ()),
    )


def _scatter(group: _Group, result: SweepResult, names: dict[str, str]) -> Scatter:
    targets = tuple(dict.fromkeys(row.target for row in result.rows))
    artifacts = [row.artifact for _, row in group.rows if row.artifact]
    unit, divisor = ("MB", _MB) if any(each.size_bytes >= _MB for each in artifacts) else ("kB", _KB)
    better = "up" if group.rows[0][1].higher_is_better else "down"
    first = artifacts[0].accuracy
    metric = (first.metric + (", %" if first.unit == "pp" else "")) if first else ""
    panels = (
        _panel("p50 latency, ms (left is faster)", group, _p50, targets, names),
        _panel(f"size, {unit}", group, lambda row: _exact(row.size_bytes / divisor), targets, names),
        _panel("memory at the peak, MB", group, _memory, targets, names),
    )
    used = [name for name in targets if any(row.target == name for _, row in group.rows)]
    shapes = ", ".join(f"{_SHAPES[targets.index(name) % len(_SHAPES)]}: {name}" for name in used)
    return Scatter(
        title=group.title,
        y_title=f"{metric} ({better} is better)",
        panels=tuple(panel for panel in panels if len(panel.points) > 1),
        limits=(),
        table=_numbers(group, names),
        caption=(
            f"{shapes}.",
            _CAPTION,
        ),
    )


def _panel(
    title: str, group: _Group, figure: Figure, targets: tuple[str, ...], names: dict[str, str]
) -> Panel:
    points = []
    for place, row in group.rows:
        artifact = row.artifact
        x = figure(artifact) if artifact else None
        if artifact is None or artifact.accuracy is None or x is None:
            continue
        y = _metric(row)
        points.append(
            Point(
                number=place,
                words=", ".join(
                    (names[row.id], number.significant(x.value), number.significant(y.value, digits=4))
                ),
                tone="plain" if artifact.role == "float" else _TONES.get(row.status, "warn"),
                x=x,
                y=y,
                shape=targets.index(row.target),
                is_float=artifact.role == "float",
                ships=row.front,
                beaten=not row.front,
            )
        )
    return Panel(title, tuple(points))


def _metric(row: SweepRow) -> Value:
    """The metric with the interval that the paired drop gives it, where the drop is in its own unit."""
    accuracy = row.artifact.accuracy if row.artifact else None
    assert accuracy is not None  # noqa: S101  the caller has looked
    if accuracy.unit != "pp" or not row.higher_is_better:
        return _exact(accuracy.value)
    ends = (100 * accuracy.reference - drop for drop in (accuracy.drop_high_pp, accuracy.drop_low_pp))
    return Value(100 * accuracy.value, *ends)


def _exact(value: float) -> Value:
    return Value(value, value, value)


def _p50(row: CandidateRow) -> Value | None:
    return Value(row.latency.p50_ms, row.latency.low_ms, row.latency.high_ms) if row.latency else None


def _memory(row: CandidateRow) -> Value | None:
    return None if row.memory_bytes is None else _exact(row.memory_bytes / _MB)


def _numbers(group: _Group, names: dict[str, str]) -> Table:
    columns = (Column("row"), Column("artifact"))
    rows = tuple(
        (Cell(names[row.id]), Cell(row.artifact.file if row.artifact else number.ABSENT))
        for _, row in group.rows
    )
    return Table("The numbers", columns, rows, detail=True, folded=True)


def _reasons(result: SweepResult, names: dict[str, str]) -> Lines:
    """Why which row did not pass."""
    lines: list[Line] = []
    for row in result.rows:
        if row.status == "pass":
            continue
        said = f"{row.reason}; next: {row.remedy}" if row.remedy else row.reason
        lines.append(Line(f"{names[row.id]}: {said}", _TONES.get(row.status, "warn")))
        lines += rejections_lines(row.rejections)
    return Lines("Rows that do not pass", tuple(lines), brief=6)


def _facts(result: SweepResult) -> Iterator[tuple[str, str]]:
    before = sum(row.before for row in result.rows)
    yield "rows, locks and artifacts", str(result.out)
    yield "done by", result.scheduler
    if before:
        yield "done before", f"{before} of {len(result.rows)} rows"
    if result.lost:
        yield "workers lost", f"{result.lost}; their tasks began again"
    yield "work", f"{number.significant(sum(row.seconds for row in result.rows))} s, without what was cached"
