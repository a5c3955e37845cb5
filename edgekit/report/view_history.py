"""HistoryResult -> a table of series with their sparklines, the changes, and a picture of each series."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.result import HistoryResult, LevelChangeRow, RunRow, SeriesRow
from edgekit.report import number
from edgekit.report.page import (
    Block,
    Cell,
    Column,
    Heading,
    Level,
    Line,
    Lines,
    Page,
    Table,
    Tone,
    Trend,
    TrendSample,
    Value,
)

_BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_SHOWN = 20  # runs of a sparkline
_FEW = 8  # runs below which none is left out of a sparkline's span
_LEAST_SPAN = 0.04  # of the median: below it a sparkline would show noise as mountains


def view(result: HistoryResult) -> Page:
    """Series first, then what changed in them; pictures where they can be drawn."""
    columns = (
        Column("artifact", cut=True),
        *(Column(title) for title in ("runtime", "conditions", "machine")),
        Column("runs", right=True),
        Column("p50, ms", right=True),
        Column("trend"),
        Column("last change"),
    )
    table = Table("", columns, tuple(_row(each) for each in result.series))
    changes = [(series, change) for series in result.series for change in series.changes]
    unread = (
        (Line(f"lines that are torn or of another format, and were passed over: {result.unread}", "warn"),)
        if result.unread
        else ()
    )
    pictures: list[Block] = [_picture(each) for each in result.series if len(each.runs) > 1]
    blocks: tuple[Block, ...] = (
        table,
        Lines("", unread),
        _changes(changes),
        *((Heading("Series"), *pictures) if pictures else ()),
    )
    return Page(f"History {result.file.name}", "", "plain", tuple(each for each in blocks if _filled(each)))


def _filled(block: Block) -> bool:
    return not (isinstance(block, Table) and not block.rows) and not (
        isinstance(block, Lines) and not block.items
    )


def _row(series: SeriesRow) -> tuple[Cell, ...]:
    last = series.runs[-1]
    return (
        Cell(series.artifact),
        Cell(f"{series.runtime} {last.version}".strip()),
        Cell(_conditions(series)),
        Cell(_machine(series)),
        Cell(str(len(series.runs))),
        Cell(number.significant(last.p50_ms), "plain" if last.stable else "warn"),
        Cell(sparkline([run.p50_ms for run in series.runs])),
        _last_change(series),
    )


def _conditions(series: SeriesRow) -> str:
    """Threads, and what is not as always."""
    batch = f"batch {series.batch}" if series.batch != 1 else ""
    pinned = f"cores {series.cores}" if series.cores else ""
    threads = f"{series.threads} thread{'' if series.threads == '1' else 's'}" if series.threads else ""
    return ", ".join(filter(None, (threads, batch, pinned))) or number.ABSENT


def _machine(series: SeriesRow) -> str:
    return f"{series.device} ({series.machine})" if series.device else series.machine


def _last_change(series: SeriesRow) -> Cell:
    if not series.changes:
        return Cell("none", "muted")
    change = series.changes[-1]
    return Cell(_percent(change), _tone(change), _day(change.at))


def _percent(change: LevelChangeRow) -> str:
    return f"{100 * (change.ratio - 1):+.1f} %"


def _tone(change: LevelChangeRow) -> Tone:
    return "bad" if change.ratio > 1 else "good"


def _day(at: str) -> str:
    return at.partition("T")[0]


def sparkline(values: Sequence[float]) -> str:
    """The last runs as blocks of eight heights; one that is far off is as high as the highest other."""
    shown = list(values)[-_SHOWN:]
    ordered = sorted(shown)
    cut = 1 if len(ordered) >= _FEW else 0
    low, high = ordered[cut], ordered[len(ordered) - 1 - cut]
    middle, span = (low + high) / 2, max(high - low, _LEAST_SPAN * ordered[len(ordered) // 2]) or 1.0
    steps = [(min(max(each, low), high) - middle) / span + 0.5 for each in shown]
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(each * len(_BLOCKS)))] for each in steps)


def _changes(found: Sequence[tuple[SeriesRow, LevelChangeRow]]) -> Table:
    columns = (
        Column("artifact", cut=True),
        *(Column(title) for title in ("runtime", "from run", "at")),
        *(Column(title, right=True) for title in ("before, ms", "after, ms")),
        *(Column(title) for title in ("change", "what else changed then")),
    )
    rows = tuple(
        (
            Cell(series.artifact),
            Cell(series.runtime),
            Cell(str(change.index + 1)),
            Cell(_day(change.at)),
            Cell(number.significant(change.before_ms)),
            Cell(number.significant(change.after_ms)),
            Cell(_percent(change), _tone(change), _interval(change)),
            Cell(", ".join(change.with_it) or "nothing that was written"),
        )
        for series, change in found
    )
    return Table("Changes of level", columns, rows)


def _interval(change: LevelChangeRow) -> str:
    ends = " to ".join(f"{100 * (each - 1):+.1f}" for each in (change.low, change.high))
    return f"[{ends} %]"


def _picture(series: SeriesRow) -> Trend:
    runs = series.runs
    return Trend(
        title=f"{series.artifact}: {series.runtime}, {_conditions(series)}, {_machine(series)}",
        x_title="run",
        y_title="p50, ms",
        samples=tuple(_sample(place, run) for place, run in enumerate(runs)),
        levels=_levels(series),
        names=(_day(runs[0].at), _day(runs[-1].at)),
        caption=_caption(series),
    )


def _sample(place: int, run: RunRow) -> TrendSample:
    said = number.interval(run.p50_ms, run.low_ms, run.high_ms, unit=" ms")
    disturbed = f", disturbed: {', '.join(run.disturbances)}" if run.disturbances else ""
    unstable = "" if run.stable else ", unstable"
    words = f"run {place + 1}, {run.at}: {said}, {run.runtime} {run.version}{unstable}{disturbed}"
    tone: Tone = "plain" if run.stable and not run.disturbances else "warn"
    return TrendSample(words, Value(run.p50_ms, run.low_ms, run.high_ms), tone)


def _levels(series: SeriesRow) -> tuple[Level, ...]:
    starts = [0, *(change.index for change in series.changes), len(series.runs)]
    ordered = sorted(run.p50_ms for run in series.runs)
    whole = ordered[len(ordered) // 2]  # a line for all, where nothing changed
    values = [series.changes[0].before_ms if series.changes else whole]
    values += [change.after_ms for change in series.changes]
    labels = ["", *(_percent(change) for change in series.changes)]
    tones: list[Tone] = ["plain", *(_tone(change) for change in series.changes)]
    return tuple(
        Level(starts[i], starts[i + 1] - 1, values[i], labels[i], tones[i]) for i in range(len(values))
    )


def _caption(series: SeriesRow) -> str:
    hollow = any(not run.stable or run.disturbances for run in series.runs)
    said = ["Points: median of a run with its interval; lines: median of a level."]
    if hollow:
        said.append("Hollow: unstable or disturbed.")
    return " ".join(said)
