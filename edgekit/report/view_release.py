"""ReleaseResult -> Page: one row per target, why it was chosen, and in reports the whole proof.

The terminal gets the short form (blocks without ``detail``); markdown and HTML get every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgekit.errors import EXIT_CODE_MEANINGS, ExitCode
from edgekit.pipeline.result import CandidateRow, GateRow, ReleaseResult, TargetRow
from edgekit.report import number, view_readiness
from edgekit.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Line,
    Lines,
    Page,
    Table,
    Tone,
    is_empty,
)
from edgekit.report.view_chain import chain_table
from edgekit.report.view_flips import flips_blocks, groups_chart
from edgekit.report.view_latency import latency_table
from edgekit.report.view_optimized import optimized_table, pruning_blocks
from edgekit.report.view_package import packages_lines, packages_table
from edgekit.report.view_pareto import scatter
from edgekit.report.view_rows import (
    accuracy_cells,
    coverage_cell,
    drift_table,
    facts_of_machine,
    gates_table,
    groups_table,
    latency_cell,
    licenses_facts,
    matrix_table,
    ratio_cell,
    rejections_lines,
    status_tone,
    tone_of,
    tools_facts,
)

# What a target's share of the exit code means in a table's cell.
OUTCOMES: dict[ExitCode, str] = {
    ExitCode.OK: "pass",
    ExitCode.INTERNAL: "crashed",
    ExitCode.BAD_INPUT: "bad input",
    ExitCode.ACCURACY_GATE: "accuracy fails",
    ExitCode.LATENCY_OR_SIZE_GATE: "latency, size or memory fails",
    ExitCode.TARGET_REFUSES: "refused",
    ExitCode.BACKEND_MISSING: "not here",
    ExitCode.INCONCLUSIVE: "inconclusive",
    ExitCode.VERIFICATION_FAILED: "verification fails",
    ExitCode.INTERRUPTED: "interrupted",
}
_SHOWN_REJECTIONS = 5  # a terminal's screen; reports hold all
_DIGEST_SHOWN = 16  # enough to tell plans apart; the JSON holds all of it


def view(result: ReleaseResult) -> Page:
    """The whole release."""
    blocks: list[Block] = [_targets_table(result), _reasons(result), optimized_table(result)]
    blocks += [_problems(row) for row in result.targets if row.exit_code is not ExitCode.OK]
    blocks += [_waived(result), _not_measured(result)]
    blocks += view_readiness.blocks([each for row in result.targets for each in row.readiness])
    blocks += [_findings(result), _where(result)]
    blocks += [packages_table(result.packages, title="Packages"), packages_lines(result.packages)]
    blocks.append(scatter(result))
    for row in result.targets:
        blocks += [] if row.readiness else _proof(row)
    blocks += [*_drift(result), _agreement(result), *pruning_blocks(result), *_calibration(result)]
    blocks += [Heading("Provenance"), *_provenance(result)]
    return Page(
        title=f"{result.name} {result.version}",
        verdict=EXIT_CODE_MEANINGS[result.exit_code] if result.exit_code else "pass",
        tone=tone_of(result.exit_code),
        blocks=tuple(block for block in blocks if not is_empty(block)),
    )


def _shipped(row: TargetRow) -> CandidateRow | None:
    return next((each for each in row.candidates if each.shipped), None)


def _float(row: TargetRow) -> CandidateRow | None:
    return next((each for each in row.candidates if each.role == "float"), None)


def _targets_table(result: ReleaseResult) -> Table:
    found = {each.accuracy.metric for row in result.targets for each in row.candidates if each.accuracy}
    columns = (
        Column("target"),
        Column("precision"),
        Column("size", right=True),
        Column(f"accuracy ({', '.join(sorted(found))})" if found else "accuracy", right=True),
        Column("drop", right=True),
        Column("float p50/p95, ms", right=True),
        Column("candidate p50/p95, ms", right=True),
        Column("ratio", right=True),
        Column("verdict"),
    )
    rows = tuple(
        _target_row(row, _float(row), each) for row in result.targets for each in _candidates_to_show(row)
    )
    return Table("Targets", columns, rows)


def _candidates_to_show(row: TargetRow) -> list[CandidateRow | None]:
    """What ships; where nothing does, what was tried; where nothing was tried, one empty line."""
    shipped = _shipped(row)
    if shipped:
        return [shipped]
    return [each for each in row.candidates if each.role == "candidate"] or [None]


def _target_row(
    row: TargetRow, reference: CandidateRow | None, each: CandidateRow | None
) -> tuple[Cell, ...]:
    accuracy, drop = accuracy_cells(each.accuracy if each else None)
    return (
        Cell(row.target),
        Cell(each.name if each else number.ABSENT),
        Cell(number.size(each.size_bytes if each else None)),
        accuracy,
        drop,
        latency_cell(reference.latency if reference else None),
        latency_cell(each.latency if each else None),
        ratio_cell(each),
        Cell("not run here", "warn")
        if row.readiness
        else Cell(OUTCOMES[row.exit_code], tone_of(row.exit_code)),
    )


def _reasons(result: ReleaseResult) -> Lines:
    return Lines(
        "",
        tuple(
            Line(f"{row.target}: {row.reason}", tone_of(row.exit_code, ok="plain")) for row in result.targets
        ),
    )


def _problems(row: TargetRow) -> Lines:
    """The gates that did not pass and the reasons of a refusal, each with what to do next."""
    items = [
        Line(_gate_sentence(each, gate), status_tone(gate.status))
        for each in row.candidates
        for gate in each.gates
        if gate.status in {"fail", "inconclusive"}
    ]
    items += rejections_lines(row.rejections[:_SHOWN_REJECTIONS])
    hidden = len(row.rejections) - _SHOWN_REJECTIONS
    if hidden > 0:
        items.append(Line(f"and {hidden} more; `--format json` lists all", "muted"))
    return Lines(f"{row.target}: what stands in the way", tuple(items))


def _gate_sentence(candidate: CandidateRow, gate: GateRow) -> str:
    text = f"{candidate.name}: {gate.name} is {gate.measured}, limit {gate.limit}: {gate.reason}"
    return f"{text}; next: {gate.remedy}" if gate.remedy else text


def _waived(result: ReleaseResult) -> Lines:
    """Every gate that is missed and may be: of what ships, or of all where nothing does."""
    items = [
        Line(f"{row.target}: {_gate_sentence(each, gate)}", "warn")
        for row in result.targets
        for each in row.candidates
        for gate in each.gates
        if gate.status == "waived" and (each.shipped or _shipped(row) is None)
    ]
    return Lines("Waived", tuple(items))


def _not_measured(result: ReleaseResult) -> Lines:
    return Lines("Not shown on this machine", tuple(_absences(result)))


def _absences(result: ReleaseResult) -> Iterator[Line]:
    for row in result.targets:
        said: set[str] = set()
        for each in row.candidates:
            wanting = [each.caveat] if each.caveat else []
            wanting += [_gap(gate, each.caveat) for gate in each.gates if gate.status == "not_measured"]
            for text in wanting:
                if text not in said:
                    said.add(text)
                    yield Line(f"{row.target}: {text}", "warn")


def _gap(gate: GateRow, caveat: str) -> str:
    """Which gate has no measurement; the reason only where the caveat has not said it already."""
    return (
        f"{gate.name} was not judged" if caveat and caveat in gate.reason else f"{gate.name}: {gate.reason}"
    )


def _findings(result: ReleaseResult) -> Lines:
    return Lines("Findings", tuple(Line(text, "warn") for text in result.findings))


def _where(result: ReleaseResult) -> Facts:
    bundle = str(result.bundle) if result.bundle else "none was written"
    lock = f"{result.lock}: {result.lock_reason}" if result.lock_reason else result.lock
    beside = (("archive", f"{bundle}.tar, {bundle}.evidence.tar"), ("digest", f"{bundle}.sha256"))
    return Facts("Written", (("bundle", bundle), *(beside if result.bundle else ()), ("lock", lock)))


def _proof(row: TargetRow) -> list[Block]:
    """Everything that is known about one target."""
    labelled = [(_label(each), each) for each in row.candidates]
    notes = [Line(f"{label}: {note}") for label, each in labelled for note in each.notes]
    warnings = [
        Line(f"{label}: {each.latency.warning}", "warn")
        for label, each in labelled
        if each.latency and each.latency.warning
    ]
    groups = [(label, group) for label, each in labelled for group in each.groups]
    blocks: list[Block] = [
        Heading(row.target),
        Lines("", (Line(row.reason, tone_of(row.exit_code, ok="plain")),), detail=True),
        _candidates_table(row),
        gates_table("Gates", [(label, gate) for label, each in labelled for gate in each.gates], detail=True),
        latency_table([(label, each.latency, each.ratio) for label, each in labelled]),
        *_what_became_of_labels(row),
        drift_table(
            "Drift from the float reference",
            [(label, drift) for label, each in labelled for drift in each.drift],
            detail=True,
        ),
        replace(groups_table(groups, detail=True), folded=True),
        _files_table(row),
        Lines("Notes", (*warnings, *notes), detail=True),
        Lines("What stands in the way", tuple(rejections_lines(row.rejections)), detail=True),
    ]
    blocks += [
        Lines(f"Left in float: {label}", tuple(rejections_lines(each.left_float)), detail=True, folded=True)
        for label, each in labelled
    ]
    return blocks


def _what_became_of_labels(row: TargetRow) -> Iterator[Block]:
    """Groups and flips of what ships; where nothing does, of everything that was tried."""
    shipped = _shipped(row)
    limit = row.limits.get("max_group_drop_pp", row.limits.get("max_drop_pp"))
    for each in (shipped,) if shipped else row.candidates:
        yield groups_chart(each.groups, whose=_label(each), limit=limit)
        yield from flips_blocks(each.flips, whose=_label(each))


def _label(each: CandidateRow) -> str:
    return f"{each.name} ({each.role})" if each.role == "float" else each.name


def _candidates_table(row: TargetRow) -> Table:
    columns = (
        Column("artifact"),
        Column("status"),
        Column("size", right=True),
        Column("accuracy", right=True),
        Column("drop", right=True),
        Column("p50/p95, ms", right=True),
        Column("ratio", right=True),
        Column("memory", right=True),
        Column("runs as asked", right=True),
        Column("agrees with float", right=True),
    )
    return Table("Candidates", columns, tuple(_candidate_row(each) for each in row.candidates), detail=True)


def _candidate_row(each: CandidateRow) -> tuple[Cell, ...]:
    accuracy, drop = accuracy_cells(each.accuracy)
    tone: Tone = status_tone(each.status)
    return (
        Cell(_label(each) + (", ships" if each.shipped else "")),
        Cell(each.status, tone),
        Cell(number.size(each.size_bytes)),
        accuracy,
        drop,
        latency_cell(each.latency),
        ratio_cell(each),
        Cell(number.size(each.memory_bytes)),
        coverage_cell(each.coverage),
        Cell(number.percent(each.accuracy.label_agreement if each.accuracy else None)),
    )


def _files_table(row: TargetRow) -> Table:
    columns = tuple(map(Column, ("artifact", "file", "sha256", "ran on", "plan")))
    rows = tuple(
        (
            Cell(_label(each)),
            Cell(each.file),
            Cell(each.sha256),
            Cell(each.ran_on or number.ABSENT),
            Cell(each.plan_digest[:_DIGEST_SHOWN] or number.ABSENT),
        )
        for each in row.candidates
    )
    return Table("Files", columns, rows, detail=True, folded=True)


def _drift(result: ReleaseResult) -> tuple[Block, ...]:
    """From the framework to what ships, step by step, and below it every output of every pair."""
    if not result.matrix:
        return ()
    return Heading("Drift"), chain_table(result.matrix), replace(matrix_table(result.matrix), folded=True)


def _calibration(result: ReleaseResult) -> tuple[Block, ...]:
    found = result.calibration
    if found is None:
        return ()
    learned = "taken from the lock" if found.from_lock else "learned in this release"
    items = (
        ("data", found.source or number.ABSENT),
        ("samples", str(found.samples)),
        ("method", found.method),
        ("values with a range", f"{found.tensors}, {learned}"),
    )
    nothing = "nothing was looked at" if found.from_lock else "nothing stood out"
    lines = [Line(text, "warn") for text in found.findings] or [Line(nothing, "muted")]
    return Heading("Calibration"), Facts("", items, detail=True), Lines("", tuple(lines), detail=True)


def _agreement(result: ReleaseResult) -> Table:
    columns = (
        Column("first"),
        Column("second"),
        Column("same label", right=True),
        Column("samples", right=True),
    )
    rows = tuple(
        (Cell(each.first), Cell(each.second), Cell(number.percent(each.agreement)), Cell(str(each.samples)))
        for each in result.agreement
    )
    return Table("Agreement of artifacts with an equal plan", columns, rows, detail=True)


def _provenance(result: ReleaseResult) -> tuple[Block, ...]:
    methods = {each.accuracy.method for row in result.targets for each in row.candidates if each.accuracy}
    stated = tuple(Line(f"Intervals of accuracy drops: {text}.") for text in sorted(methods) if text)
    return (
        Lines("", stated, detail=True),
        *licenses_facts(result.licenses, detail=True),
        facts_of_machine(result.machine),
        tools_facts(result.tools),
    )
