"""SustainedResult -> minutes in a table and a picture, whether the machine held its speed, and its energy."""

from __future__ import annotations

from edgekit.errors import ExitCode
from edgekit.pipeline.result import MinuteRow, SustainedResult, SustainedRow
from edgekit.report import number, view_energy, view_environment
from edgekit.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Level,
    Line,
    Lines,
    Page,
    Table,
    Tone,
    Trend,
    TrendSample,
    Value,
    is_empty,
)
from edgekit.report.view_rows import facts_of_machine

_NOT_HEAT = {"W1", "W2", "W3", "W8"}
_TONES: dict[str, Tone] = {"": "warn", "throttled": "bad", "steady": "good", "undecided": "warn"}


def view(result: SustainedResult) -> Page:
    """One part for each device, then what disturbed it."""
    parts = [block for row in result.rows for block in _part(row, result)]
    trouble = [
        Line(
            f"{each.name}: {each.status}: {each.reason}" + (f"; next: {each.remedy}" if each.remedy else ""),
            "bad",
        )
        for each in result.devices
        if each.status != "complete"
    ]
    trouble += [Line(f"{each.artifact}: {each.kind}: {each.reason}", "bad") for each in result.failures]
    blocks: tuple[Block, ...] = (
        *parts,
        Lines("", tuple(trouble)),
        *view_energy.blocks([each for row in result.rows for each in row.energy]),
        *view_environment.blocks(result.environments, unstable=()),
        Lines("Ran on", tuple(Line(f"{_name(row)}: {row.ran_on}") for row in result.rows)),
        *(
            Facts(f"Device {each.name}", tuple(sorted(each.facts.items())), detail=True)
            for each in result.devices
        ),
        *(() if result.devices else (facts_of_machine(result.machine),)),
    )
    verdict, tone = _verdict(result)
    return Page("Sustained", verdict, tone, tuple(each for each in blocks if not is_empty(each)))


def _verdict(result: SustainedResult) -> tuple[str, Tone]:
    if result.exit_code is ExitCode.INTERRUPTED:
        return "interrupted: this is what had arrived", "warn"
    words = sorted({row.verdict for row in result.rows if row.verdict})
    return ", ".join(words), _TONES[words[0]] if len(words) == 1 else "warn"


def _name(row: SustainedRow) -> str:
    return f"{row.artifact} on {row.device}" if row.device else row.artifact


def _part(row: SustainedRow, result: SustainedResult) -> tuple[Block, ...]:
    sensors = [
        ("clock, MHz", "frequency_mhz"),
        ("hottest, C", "temperature_c"),
        ("power, W", "watts"),
    ]
    shown = [each for each in sensors if any(getattr(minute, each[1]) is not None for minute in row.minutes)]
    titles = ("p50, ms", "p95, ms", "inferences/s", *(title for title, _ in shown))
    columns = (Column(_unit(result)), *(Column(title, right=True) for title in titles))
    rows = tuple(
        (
            Cell(f"{minute.index + 1}" + ("" if minute.whole else " (part)")),
            Cell(number.significant(minute.p50_ms)),
            Cell(number.significant(minute.p95_ms)),
            Cell(number.significant(minute.per_s)),
            *(Cell(number.significant(getattr(minute, attribute))) for _, attribute in shown),
        )
        for minute in row.minutes
    )
    return Table(_name(row), columns, rows), Lines("", _said(row, result)), _picture(row, result)


def _unit(result: SustainedResult) -> str:
    return "minute" if result.minute_s == 60 else f"{result.minute_s:g} s"


def _said(row: SustainedRow, result: SustainedResult) -> tuple[Line, ...]:
    lines = []
    if row.factor is not None:
        factor = number.interval(row.factor.value, row.factor.low, row.factor.high)
        said = f"{row.verdict}: steady state / first {_unit(result)} = {factor}"
        lines.append(Line(said + _other_work(row, result), _TONES[row.verdict]))
    else:
        lines.append(Line(f"no throttle factor: it needs two whole {_unit(result)}s", "warn"))
    hidden = [
        word
        for word, attribute in (("clock", "frequency_mhz"), ("temperature", "temperature_c"))
        if all(getattr(minute, attribute) is None for minute in row.minutes)
    ]
    if hidden:
        lines.append(Line(f"no sensor here for: {', '.join(hidden)}", "muted"))
    if row.incomplete:
        count = sum(minute.whole for minute in row.minutes)
        lines.append(Line(f"{count} of {result.asked_minutes} minutes: {row.incomplete}", "warn"))
    return tuple(lines)


def _other_work(row: SustainedRow, result: SustainedResult) -> str:
    """A machine that shares its time slows down without any heat."""
    fired = {
        each.rule
        for environment in result.environments
        if environment.device == row.device
        for each in environment.disturbances
    }
    shared = row.verdict == "throttled" and fired & _NOT_HEAT
    return "; other work on the machine may be why (below)" if shared else ""


def _picture(row: SustainedRow, result: SustainedResult) -> Trend:
    whole = [minute for minute in row.minutes if minute.whole]
    levels: tuple[Level, ...] = ()
    if row.factor is not None and len(whole) > 1:
        first, count = whole[0], max(1, len(whole) // 3)
        steady = first.p50_ms * row.factor.value
        levels = (
            Level(0, 0, first.p50_ms),
            Level(
                len(whole) - count, len(whole) - 1, steady, f"x {row.factor.value:.2f}", _TONES[row.verdict]
            ),
        )
    return Trend(
        title=f"{_name(row)}: p50 by {_unit(result)}",
        x_title=_unit(result),
        y_title="p50, ms",
        samples=tuple(_sample(minute) for minute in row.minutes),
        levels=levels,
        caption="Points: median, from there up to p95. Lines: first minute and steady state.",
    )


def _sample(minute: MinuteRow) -> TrendSample:
    clock = f", {minute.frequency_mhz:.0f} MHz" if minute.frequency_mhz else ""
    heat = f", {minute.temperature_c:.0f} C" if minute.temperature_c else ""
    words = f"{minute.index + 1}: p50 {number.significant(minute.p50_ms)} ms{clock}{heat}"
    return TrendSample(
        words, Value(minute.p50_ms, minute.p50_ms, minute.p95_ms), "plain" if minute.whole else "warn"
    )
