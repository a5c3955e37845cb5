"""Rows that several results share -> cells, tables and lines: gates, drift, latency, ratio, rejections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.bundle.facts import NOT_STATED
from edgekit.errors import ExitCode
from edgekit.report import number
from edgekit.report.page import Cell, Column, Facts, Line, Lines, Table, Tone
from edgekit.spec import Rejection

if TYPE_CHECKING:
    from edgekit.pipeline.result import (
        AccuracyRow,
        CandidateRow,
        CoverageRow,
        DriftRow,
        GateRow,
        GroupRow,
        LatencyRow,
        MachineRow,
        PairRow,
        RatioRow,
    )

_STATUS_TONES: dict[str, Tone] = {
    "pass": "good",
    "ok": "good",
    "fail": "bad",
    "inconclusive": "warn",
    "not_measured": "warn",
    "waived": "warn",
    "not_run": "warn",
    "missing": "warn",
    "not usable": "warn",
}


def status_tone(status: str) -> Tone:
    """The tone of a gate's, a check's or a candidate's status."""
    return _STATUS_TONES[status]


def tone_of(code: ExitCode, *, ok: Tone = "good") -> Tone:
    """The tone of an exit code; ``ok`` where a success needs no emphasis."""
    if code is ExitCode.OK:
        return ok
    return "warn" if code in {ExitCode.INCONCLUSIVE, ExitCode.BACKEND_MISSING} else "bad"


def accuracy_cells(row: AccuracyRow | None) -> tuple[Cell, Cell]:
    """The metric's value, and its drop against the float reference with the interval."""
    if row is None:
        return Cell(number.ABSENT, "muted"), Cell(number.ABSENT, "muted")
    bounds = number.bounds(row.drop_low_pp, row.drop_high_pp, plus=True)
    drop = Cell(f"{number.signed(row.drop_pp)} {row.unit}", note=bounds)
    return Cell(number.significant(row.value, digits=4)), drop


def accuracy_items(row: AccuracyRow | None) -> tuple[tuple[str, str], ...]:
    """The metric, its drop with the interval, and how many labels stay; nothing where it was not measured."""
    if row is None:
        return ()
    drop = number.interval(row.drop_pp, row.drop_low_pp, row.drop_high_pp, unit=f" {row.unit}", plus=True)
    value, reference = (number.significant(each, digits=4) for each in (row.value, row.reference))
    items = [
        ("accuracy", f"{row.metric} {value} (float: {reference})"),
        ("drop", f"{drop} on {row.samples} samples" + (f", {row.method}" if row.method else "")),
    ]
    if row.label_agreement is not None:
        items.append(("agrees with float", f"{number.percent(row.label_agreement)} of labels"))
    if row.calibration_error is not None:
        float_error = number.percent(row.calibration_error_reference)
        items.append(("calibration error", f"{number.percent(row.calibration_error)} (float: {float_error})"))
    return tuple(items)


def latency_cell(row: LatencyRow | None) -> Cell:
    """``1.23 / 1.40``, or that nothing was measured; an unstable figure is marked."""
    if row is None:
        return Cell("not measured", "muted")
    text = f"{number.significant(row.p50_ms)} / {number.significant(row.p95_ms)}"
    return Cell(text) if row.stable else Cell(text, "warn", "(unstable)")


def coverage_cell(row: CoverageRow | None) -> Cell:
    """``100 % of MACs``: how much runs on the wanted device in the wanted precision."""
    if row is None:
        return Cell(number.ABSENT, "muted")
    silent = any(each.silent for each in row.elsewhere)
    return Cell(f"{number.percent(row.share)} of {row.by}", "warn" if silent else "plain")


def ratio_cell(row: CandidateRow | None) -> Cell:
    """The latency as a multiple of the baseline's with its interval."""
    if row is None or row.ratio is None:
        baseline = row is not None and row.role == "float" and row.latency is not None
        return Cell("baseline" if baseline else number.ABSENT, "muted")
    return ratio_value(row.ratio)


def ratio_value(row: RatioRow) -> Cell:
    """``0.62×`` with its interval."""
    return Cell(f"{number.significant(row.value)}×", note=number.bounds(row.low, row.high))


def gates_table(title: str, gates: Sequence[tuple[str, GateRow]], *, detail: bool = False) -> Table:
    """One row per gate; the label says whose gate it is ("" leaves the column out)."""
    labelled = any(label for label, _ in gates)
    columns = tuple(
        Column(name)
        for name in (
            *(("artifact",) if labelled else ()),
            "gate",
            "status",
            "measured",
            "limit",
            "reason",
            "next",
        )
    )
    rows = tuple(
        (
            *((Cell(label),) if labelled else ()),
            Cell(gate.name),
            Cell(gate.status.replace("_", " "), status_tone(gate.status)),
            Cell(gate.measured),
            Cell(gate.limit),
            Cell(gate.reason),
            Cell(gate.remedy or number.ABSENT),
        )
        for label, gate in gates
    )
    return Table(title, columns, rows, detail=detail)


def drift_table(title: str, rows: Sequence[tuple[str, DriftRow]], *, detail: bool = False) -> Table:
    """One row per output: how far it is from the float reference's."""
    labelled = any(label for label, _ in rows)
    columns = (
        *((Column("artifact"),) if labelled else ()),
        Column("output"),
        Column("max abs", right=True),
        Column("max steps", right=True),
        Column("cosine", right=True),
        Column("SQNR, dB", right=True),
        Column("KL, nats", right=True),
        Column("labels flipped", right=True),
    )
    cells = tuple(
        (
            *((Cell(label),) if labelled else ()),
            Cell(row.output),
            Cell(number.significant(row.max_abs)),
            Cell(number.significant(row.max_steps)),
            Cell(number.significant(row.cosine, digits=6)),
            Cell(number.significant(row.sqnr_db)),
            Cell(number.significant(row.kl)),
            Cell(flips_text(row)),
        )
        for label, row in rows
    )
    return Table(title, columns, cells, detail=detail)


def flips_text(row: DriftRow) -> str:
    """``3 of 256``, or that there are no classes."""
    return number.ABSENT if row.flips is None else f"{row.flips} of {row.samples}"


def matrix_table(rows: Sequence[PairRow], *, detail: bool = True) -> Table:
    """One row per pair and output: what is lost from the first to the second."""
    columns = (
        Column("from"),
        Column("to"),
        Column("step"),
        Column("drop", right=True),
        Column("output"),
        Column("max abs", right=True),
        Column("cosine", right=True),
        Column("SQNR, dB", right=True),
        Column("KL, nats", right=True),
        Column("labels flipped", right=True),
    )
    cells = tuple(
        (
            Cell(pair.first),
            Cell(pair.second),
            Cell(pair.step),
            accuracy_cells(pair.accuracy)[1],
            Cell(row.output),
            Cell(number.significant(row.max_abs)),
            Cell(number.significant(row.cosine, digits=6)),
            Cell(number.significant(row.sqnr_db)),
            Cell(number.significant(row.kl)),
            Cell(flips_text(row)),
        )
        for pair in rows
        for row in pair.drift
    )
    return Table("Drift matrix", columns, cells, detail=detail)


SHOWN_GROUPS = 5  # a terminal's share; reports hold all


def groups_table(rows: Sequence[tuple[str, GroupRow]], *, detail: bool = False) -> Table:
    """One row per class or slice, the largest loss first."""
    labelled = any(label for label, _ in rows)
    columns = (
        *((Column("artifact"),) if labelled else ()),
        Column("group"),
        Column("samples", right=True),
        Column("float", right=True),
        Column("candidate", right=True),
        Column("drop, corrected for the number of groups", right=True),
    )
    cells = tuple(
        (
            *((Cell(label),) if labelled else ()),
            Cell(f"{row.kind} {row.group}"),
            Cell(str(row.samples)),
            Cell(number.significant(row.reference, digits=4)),
            Cell(number.significant(row.value, digits=4)),
            Cell(
                f"{number.signed(row.drop_pp)} {row.unit}",
                "bad" if row.stands_out else "plain",
                number.bounds(row.drop_low_pp, row.drop_high_pp, plus=True),
            ),
        )
        for label, row in sorted(rows, key=lambda pair: -pair[1].drop_pp)
    )
    return Table("Classes and slices", columns, cells, detail=detail, brief=SHOWN_GROUPS)


def groups_left_out(rows: Sequence[tuple[str, GroupRow]]) -> Lines:
    """What the short form of the table leaves out; none of those loses more than the last one shown."""
    hidden = len(rows) - SHOWN_GROUPS
    text = f"and {hidden} more, which lose no more than these; `--report html` has all"
    return Lines("", (Line(text, "muted"),) if hidden > 0 else (), short=True)


def rejections_lines(rejections: Sequence[Rejection]) -> list[Line]:
    """One sentence per rejection: node, reason, what to do."""
    return [
        Line(
            (f"{each.node}: " if each.node else "")
            + f"{each.reason} [{each.rule}]"
            + (f"; next: {each.remedy}" if each.remedy else "")
        )
        for each in rejections
    ]


def facts_of_machine(machine: MachineRow, *, detail: bool = True) -> Facts:
    """The machine that measured."""
    return Facts("Machine", (("key", machine.key), *sorted(machine.facts.items())), detail=detail)


def licenses_facts(licenses: Mapping[str, str], *, detail: bool = False) -> tuple[Facts, ...]:
    """Licences of model, data and tools; nothing where none are known."""
    if not licenses:
        return ()
    shown = {NOT_STATED: f"{NOT_STATED} (nobody stated one)"}
    items = tuple((name, shown.get(words, words)) for name, words in licenses.items())
    return (Facts("Licences", items, detail=detail),)


def tools_facts(tools: Mapping[str, str]) -> Facts:
    """Tool versions."""
    return Facts("Tools", tuple(sorted(tools.items())), detail=True)
