"""The results of the single verbs -> Pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import EXIT_CODE_MEANINGS, ExitCode
from edgekit.report import number, view_effects, view_energy, view_environment, view_profile, view_readiness
from edgekit.report.page import Block, Cell, Column, Facts, Heading, Line, Lines, Page, Table, Tone, is_empty
from edgekit.report.view_bench_parts import parts_of, subject
from edgekit.report.view_chain import chain_table
from edgekit.report.view_flips import flips_blocks, groups_chart
from edgekit.report.view_rows import (
    accuracy_cells,
    accuracy_items,
    drift_table,
    facts_of_machine,
    gates_table,
    groups_left_out,
    groups_table,
    matrix_table,
    ratio_value,
    rejections_lines,
    status_tone,
    tone_of,
)
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    from edgekit.pipeline.clean import CleanResult
    from edgekit.pipeline.compile_result import CompileResult
    from edgekit.pipeline.result import (
        BenchResult,
        BenchRow,
        CalibrateResult,
        DoctorResult,
        ExportResult,
        QuantizeResult,
        ValidatedRow,
        ValidateResult,
        VerifyResult,
    )
    from edgekit.pipeline.result.rows import TargetHere
    from edgekit.report.listing import InitResult, SchemasResult, TargetResult, TargetsResult


def _page(title: str, blocks: Sequence[Block], *, code: ExitCode | None = None) -> Page:
    """A page; the verdict is said where the result judges something."""
    filled = tuple(block for block in blocks if not is_empty(block))
    if code is None:
        return Page(title, "", "plain", filled)
    return Page(title, EXIT_CODE_MEANINGS[code] if code else "pass", tone_of(code), filled)


def view_export(result: ExportResult) -> Page:
    """What was written and how it compares with its framework."""
    data = f", {result.parity_from_data} of them batches of your data" if result.parity_from_data else ""
    limit = (
        "1 quantization step on 95 % of the values, 5 on 99.9 %"
        if result.quantized
        else f"{number.given(result.parity_tolerance)} of the output's range, same most likely class"
    )
    items = (
        ("model", str(result.path)),
        ("source", f"{result.source} ({result.framework})"),
        ("size", number.size(result.size_bytes)),
        ("opset", str(result.opset)),
        ("nodes", str(result.nodes)),
        ("inputs", _specs(result.inputs)),
        ("outputs", _specs(result.outputs)),
        ("parity", f"proved on {result.parity_cases} inputs{data}; limit: {limit}"),
    )
    notes = Lines("Notes", tuple(Line(text, "warn") for text in result.notes))
    return _page("Exported", (Facts("", items), _parity_table(result), notes))


def _parity_table(result: ExportResult) -> Table:
    """One row for each output; in steps where the model is quantized."""
    columns = [Column("output"), Column("largest difference", right=True)]
    columns += (
        [Column("steps, 95 %", right=True), Column("steps, 99.9 %", right=True)]
        if result.quantized
        else [Column("of its range", right=True), Column("float ulps", right=True)]
    )
    columns.append(Column("same class", right=True))
    rows = []
    for row in result.parity:
        figures = (row.steps_95, row.steps_999) if result.quantized else (row.relative, row.ulps)
        share = "" if row.label_agreement is None else f"{100 * row.label_agreement:.4g} %"
        cells = ["" if figure is None else number.significant(figure) for figure in figures]
        rows.append(
            tuple(Cell(text) for text in (row.output, number.significant(row.max_abs), *cells, share))
        )
    return Table("Parity with the framework", tuple(columns), tuple(rows))


def _specs(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))


def _findings(findings: Sequence[str]) -> Lines:
    return Lines("Findings", tuple(Line(text, "warn") for text in findings))


def view_calibrate(result: CalibrateResult) -> Page:
    """Where the ranges are and what they came from."""
    items = (
        ("ranges", str(result.path)),
        ("method", result.method),
        ("samples", str(result.samples)),
        ("tensors", str(result.tensors)),
        *((("histograms", str(result.counted)),) if result.counted else ()),
    )
    return _page("Calibrated", (Facts("", items), _findings(result.findings)))


def view_quantize(result: QuantizeResult) -> Page:
    """What became integer, what stayed float and why, and the gates where data was given."""
    items = (
        ("model", str(result.path)),
        ("target", result.target),
        ("precision", result.precision.value),
        ("size", f"{number.size(result.size_bytes)} (float: {number.size(result.float_size_bytes)})"),
        ("quantized operators", str(result.quantized)),
        ("left in float", str(len(result.left_float))),
        ("plan", result.plan_digest or number.ABSENT),
        *accuracy_items(result.accuracy),
    )
    blocks: tuple[Block, ...] = (
        Facts("", items),
        gates_table("Gates", [("", gate) for gate in result.gates]),
        Lines("Left in float", tuple(rejections_lines(result.left_float))),
        Lines("Notes", tuple(Line(text) for text in result.notes)),
        _findings(result.findings),
    )
    return _page("Quantized", blocks, code=result.exit_code if result.gates else None)


def view_compile(result: CompileResult) -> Page:
    """One row per artifact."""
    columns = (Column("target"), Column("precision"), Column("size", right=True), Column("artifact"))
    rows = tuple(
        (
            Cell(each.target),
            Cell(each.precision.value),
            Cell(number.size(each.size_bytes)),
            Cell(str(each.path)),
        )
        for each in result.artifacts
    )
    notes = tuple(Line(f"{each.target}: {note}") for each in result.artifacts for note in each.notes)
    notes += tuple(Line(note) for note in result.notes)
    blocks = (
        Table("", columns, rows),
        Lines("Targets without an artifact", tuple(_failed_targets(result))),
        Lines("Notes", notes),
        *view_readiness.blocks(result.readiness),
    )
    return _page("Compiled", blocks, code=result.exit_code or None)


def _failed_targets(result: CompileResult) -> Iterator[Line]:
    for each in result.failed:
        yield Line(
            f"{each.target}: {each.reason}" + (f"; next: {each.remedy}" if each.remedy else ""),
            tone_of(each.exit_code, ok="plain"),
        )
        yield from rejections_lines(each.rejections)


def view_validate(result: ValidateResult) -> Page:
    """The verdict on each artifact, and how far every pair is apart."""
    several = len(result.artifacts) > 1
    first = result.artifacts[0]
    items = [("reference", result.reference)]
    if not several:
        about = (("ran on", first.ran_on), *accuracy_items(first.accuracy))
        items = [("artifact", first.artifact), *items, *about]
    labelled = [(_file_name(row.artifact) if several else "", row) for row in result.artifacts]
    groups = [(label, group) for label, row in labelled for group in row.groups]
    blocks = (
        Facts("", tuple(items)),
        _validated_table(result) if several else Lines("", ()),
        gates_table("Gates", [(label, gate) for label, row in labelled for gate in row.gates]),
        drift_table(
            "Drift from the float reference", [(label, each) for label, row in labelled for each in row.drift]
        ),
        chain_table(result.matrix if several else ()),
        matrix_table(result.matrix if several else (), detail=False),
        *(block for label, row in labelled for block in _labels_of(row, label)),
        replace(groups_table(groups), folded=True),
        groups_left_out(groups),
        _findings(result.findings),
        Lines(
            "Ran on",
            tuple(Line(f"{label}: {row.ran_on}") for label, row in labelled) if several else (),
        ),
        Lines("Notes", tuple(_said(label, note) for label, row in labelled for note in row.notes)),
    )
    return _page("Validated", blocks, code=result.exit_code)


def _said(label: str, note: str) -> Line:
    """A note, behind the name of the artifact that it is about where there are several."""
    return Line(f"{label}: {note}" if label else note)


def _labels_of(row: ValidatedRow, label: str) -> Iterator[Block]:
    """What became of groups and labels; below the artifact's name where there are several."""
    blocks = [each for each in (groups_chart(row.groups), *flips_blocks(row.flips)) if not is_empty(each)]
    if label and blocks:
        yield Heading(label)
    yield from blocks


def _file_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _validated_table(result: ValidateResult) -> Table:
    columns = (
        Column("artifact", cut=True),
        Column("status"),
        Column("accuracy", right=True),
        Column("drop", right=True),
        Column("agrees with float", right=True),
    )
    rows = tuple(
        (
            Cell(_file_name(row.artifact)),
            Cell(row.status, status_tone(row.status)),
            *accuracy_cells(row.accuracy),
            Cell(number.percent(row.accuracy.label_agreement if row.accuracy else None)),
        )
        for row in result.artifacts
    )
    return Table("", columns, rows)


_BENCH_TONES: dict[str, Tone] = {
    "": "plain",
    "baseline": "muted",
    "faster": "good",
    "slower": "bad",
    "undecided": "warn",
}


def view_bench(result: BenchResult) -> Page:
    """One row per artifact, measured interleaved."""
    titles = ("p50, ms", "p90, ms", "p95, ms", "p99, ms", "95 % interval of p50", "runs", "ratio")
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles), Column("verdict"))
    if result.devices:
        columns = (Column("device"), *columns)
    warnings = [
        Line(f"{subject(row, result.rows)}: {row.latency.warning}", "warn")
        for row in result.rows
        if row.latency.warning
    ]
    ran_on = [Line(f"{subject(row, result.rows)}: {row.ran_on}") for row in result.rows]
    table = Table("", columns, tuple(_bench_row(row, result) for row in result.rows))
    machine = [
        Facts(f"Device {device.name}", tuple(sorted(device.facts.items())), detail=True)
        for device in result.devices
    ]
    blocks = (
        *((table,) if result.rows or not result.devices else ()),
        *view_effects.blocks(result.rows),
        *parts_of(result.rows),
        Lines("", tuple(_bench_trouble(result))),
        Lines("", tuple(warnings)),
        *view_environment.blocks(
            [each for each in result.environments if any(row.device == each.device for row in result.rows)],
            unstable=[row.device for row in result.rows if row.latency.warning],
        ),
        *view_energy.blocks(result.energy),
        *view_profile.blocks(result),
        Lines("Ran on", tuple(ran_on)),
        *(machine or (facts_of_machine(result.machine),)),
    )
    judged = any(row.ratio is not None for row in result.rows)
    return _page("Measured", blocks, code=result.exit_code if judged or result.exit_code else None)


def _bench_trouble(result: BenchResult) -> list[Line]:
    """Devices that gave not everything, and artifacts that did not run there."""
    devices = [
        Line(
            f"{each.name}: {each.status}: {each.reason}" + (f"; next: {each.remedy}" if each.remedy else ""),
            "bad",
        )
        for each in result.devices
        if each.status != "complete"
    ]
    failures = [
        Line(
            f"{each.artifact}{f' on {each.device}' if each.device else ''}: {each.kind}: {each.reason}"
            + (f"; next: {each.remedy}" if each.remedy else ""),
            "bad",
        )
        for each in result.failures
    ]
    return [*devices, *failures]


def _bench_row(row: BenchRow, result: BenchResult) -> tuple[Cell, ...]:
    found = row.latency
    tone: Tone = "plain" if found.stable else "warn"
    return (
        *((Cell(row.device),) if result.devices else ()),
        Cell(subject(replace(row, device=""), result.rows)),
        *(
            Cell(number.significant(value), tone)
            for value in (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms)
        ),
        Cell(f"{number.significant(found.low_ms)} to {number.significant(found.high_ms)}", tone),
        Cell(str(found.runs)),
        ratio_value(row.ratio) if row.ratio else Cell(number.ABSENT, "muted"),
        Cell(row.verdict or number.ABSENT, _BENCH_TONES[row.verdict]),
    )


def view_verify(result: VerifyResult) -> Page:
    """One row per check of the bundle."""
    columns = tuple(Column(title) for title in ("check", "subject", "status", "detail"))
    rows = tuple(
        (
            Cell(row.check),
            Cell(row.subject),
            Cell(row.status.replace("_", " "), status_tone(row.status)),
            Cell(row.detail),
        )
        for row in result.rows
    )
    blocks: tuple[Block, ...] = (Table("", columns, rows),)
    if result.origin or result.first_difference:
        origin = Line(f"signature: {result.origin}", "muted")
        first = Line(f"first difference: {result.first_difference}", "bad")
        said_of_it = (*((origin,) if result.origin else ()), *((first,) if result.first_difference else ()))
        blocks = (*blocks, Lines("", said_of_it))
    if result.device is not None:
        said = ", ".join(f"{name}: {value}" for name, value in result.device.facts.items())
        lines = [Line(f"golden vectors were replayed on {result.device.name} ({said})", "muted")]
        if "emulated" in result.device.facts:
            lines.append(Line("it is emulated: numerics hold, times would mean nothing", "warn"))
        blocks = (*blocks, Lines("", tuple(lines)))
    return _page(f"Verified {result.bundle}", blocks, code=result.exit_code)


def view_doctor(result: DoctorResult) -> Page:
    """What this machine can do, and what to type for what it cannot."""
    columns = tuple(Column(title) for title in ("name", "status", "version", "used for", "next"))
    rows = tuple(
        (
            Cell(row.name),
            Cell(row.status, status_tone(row.status)),
            Cell(row.version or number.ABSENT),
            Cell(row.used_for),
            Cell(row.remedy or number.ABSENT),
        )
        for row in result.rows
    )
    machine = facts_of_machine(result.machine, detail=False)
    cache = Facts("", (("cache", str(result.cache)),))
    return _page("This machine", (Table("", columns, rows), *_here(result.targets), machine, cache))


def _here(found: Sequence[TargetHere]) -> Iterator[Block]:
    """One row per target, and below it why it does not run and what to type for it."""
    if not found:
        return
    columns = tuple(Column(title) for title in ("target", "compiles here", "runs here", "version"))
    rows = tuple(
        (
            Cell(each.name),
            Cell("yes" if each.compiles else "no", "good" if each.compiles else "muted"),
            Cell(_runs(each), "good" if each.runs else "muted"),
            Cell(each.version or number.ABSENT),
        )
        for each in found
    )
    yield Table("Targets", columns, rows)
    lines = [
        line
        for each in found
        if each.reason
        for line in (
            Line(f"{each.name}: {each.reason}"),
            *((Line(f"  next: {each.remedy}", "muted"),) if each.remedy else ()),
        )
    ]
    yield Lines("Why not, and what to type", tuple(lines))


def _runs(found: TargetHere) -> str:
    if found.runs:
        return "yes: numerics only" if found.reason else "yes"
    return f"no: numerics on the {found.stands_in.upper()}" if found.stands_in else "no"


def view_targets(result: TargetsResult) -> Page:
    """One row per target."""
    columns = tuple(Column(title) for title in ("target", "precisions", "file", "install", "what it is"))
    rows = tuple(
        (
            Cell(each.name),
            Cell(", ".join(precision.value for precision in each.ladder)),
            Cell(f".{each.extension}" if each.extension else number.ABSENT),
            Cell(f"edgekit[{each.extra}]" if each.extra else "edgekit"),
            Cell(each.summary),
        )
        for each in result.targets
    )
    marked = Lines(
        "Not run here",
        tuple(Line(f"{each.name}: {each.marked}", "warn") for each in result.targets if each.marked),
    )
    hint = Lines("", (Line("`edgekit targets show NAME` shows one with its kernels", "muted"),))
    return _page("Targets", (Table("", columns, rows), marked, *_here(result.here), hint))


def view_target(result: TargetResult) -> Page:
    """One target's file, and one row per quantized kernel."""
    kernels = result.target["kernel"]
    titles = ("pattern", "weight", "activation", "output", "constraints", "requires")
    rows = tuple(tuple(Cell(_words(kernel[title])) for title in titles) for kernel in kernels)
    support = (result.target["readiness"] or {}).get("support", ())
    sources = dict.fromkeys(str(row["source"]) for row in (*kernels, *support))
    quirks = tuple(Line(f"{row['says']} [{row['source']}]") for row in result.target["quirk"])
    blocks = (
        Facts("", tuple(_named(result.target))),
        Table("Kernels", tuple(map(Column, titles)), rows),
        _support(support),
        Lines("What surprises", quirks),
        Lines("Learned from", tuple(map(Line, sources))),
    )
    return _page(result.name, blocks)


def _support(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What a device that is not here takes, of a check target."""
    titles = ("operators", "ranks", "constants", "types", "weights", "attributes", "unchecked")
    cells = tuple(tuple(Cell(_words(row[title])) for title in titles) for row in rows)
    return Table("Would take, not run here", tuple(map(Column, titles)), cells)


def _named(target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys and values of a target without its kernels; a table's keys come after its name."""
    for key, value in target.items():
        if key == "readiness":
            shown = {name: each for name, each in (value or {}).items() if name != "support"}
            yield from ((f"readiness {name}", _words(each)) for name, each in shown.items() if _words(each))
        elif isinstance(value, dict):
            yield from ((f"{key} {name}", _words(each)) for name, each in value.items() if _words(each))
        elif key not in {"kernel", "quirk"} and _words(value):
            yield key, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_words(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)


def view_init(result: InitResult) -> Page:
    """What was written and what to type next."""
    written = Lines("", tuple(Line(str(path)) for path in result.files))
    command = f"edgekit release {result.folder / 'edgekit.toml'} -o dist/"
    return _page("Written", (written, Lines("Next", (Line(command),))))


def view_clean(result: CleanResult) -> Page:
    """What was removed."""
    items = (("cache", str(result.path)), ("freed", number.size(result.size_bytes)))
    return _page("Cleaned", (Facts("", items),))


def view_schemas(result: SchemasResult) -> Page:
    """The names that `edgekit schema` takes."""
    return _page("Schemas", (Lines("", tuple(Line(name) for name in result.names)),))
