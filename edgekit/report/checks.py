"""Result -> Checks: every gate that was judged, as rows that a CI understands; what JUnit and SARIF share.

    release    the gates of what ships (where nothing does, of every candidate), and "ships" for each target
    validate   the gates of every artifact
    bench      every artifact against the baseline
    diff       every figure of every target
    debug      every artifact, its causes as findings
    sweep      every row, and the gates of those that do not pass

A row is red (fail, inconclusive, error) in some target exactly where the exit code is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.result import (
    BenchResult,
    CandidateRow,
    CauseRow,
    DebugResult,
    DiffResult,
    GateRow,
    PruneResult,
    ReleaseResult,
    SweepResult,
    SweepRow,
    TargetRow,
    ValidateResult,
)
from edgekit.report import number, view_effects
from edgekit.report.view_bench_parts import subject
from edgekit.spec import Rejection

Outcome = Literal["pass", "fail", "inconclusive", "error", "skipped", "waived"]
RED: frozenset[str] = frozenset({"fail", "inconclusive", "error"})
_OUTCOMES: Mapping[str, Outcome] = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "not_measured": "skipped",
    "waived": "waived",
}
# the key of [budget] that a gate is about
_KEYS: Mapping[str, str] = {
    "accuracy": "max_drop_pp",
    "groups": "max_group_drop_pp",
    "size": "max_size_bytes",
    "latency": "max_latency_ms",
    "never_slower": "never_slower",
    "memory": "max_memory_bytes",
    "coverage": "min_coverage",
    "baseline_accuracy": "baseline_max_drop_pp",
    "baseline_latency": "baseline_max_latency",
    "baseline_size": "baseline_max_size",
}


@dataclass(frozen=True)
class Check:
    """One thing that was judged.

    Attributes:
        target: what it is about; the artifact where no target is known.
        artifact: which candidate of it; "" for the target as a whole.
        name: of the gate, or "ships".
        file: where it can be changed: the recipe, or the artifact.
        line: in that file, from 1; None where it has none.
    """

    target: str
    artifact: str
    name: str
    outcome: Outcome
    measured: str = ""
    limit: str = ""
    reason: str = ""
    remedy: str = ""
    file: str = ""
    line: int | None = None

    @property
    def text(self) -> str:
        """Everything in one sentence."""
        who = " ".join(part for part in (self.target, self.artifact) if part)
        figures = ", ".join(
            part for part in (self.measured, f"limit: {self.limit}" if self.limit else "") if part
        )
        text = f"{who}: {self.name} {self.outcome}"
        text += f" ({figures})" if figures else ""
        text += f": {self.reason}" if self.reason else ""
        return f"{text}; next: {self.remedy}" if self.remedy else text


@dataclass(frozen=True)
class Checks:
    """All that a result judged; ``file`` is what its findings are about."""

    title: str
    verb: str
    rows: tuple[Check, ...]
    exit_code: ExitCode
    findings: tuple[str, ...] = ()
    file: str = ""


def checks(result: object) -> Checks:
    """The checks of a result.

    Raises:
        InputError: it judges nothing.
    """
    kind = type(result)
    if kind not in CHECKED:
        raise InputError(
            f"{kind.__name__} judges nothing",
            why="JUnit, SARIF and CSV reports list what was judged",
            remedy="use --report json, markdown or html",
        )
    return CHECKED[kind](result)


def of_release(result: ReleaseResult) -> Checks:
    """One row for each gate of what ships, and one for each target."""
    rows = tuple(row for target in result.targets for row in _of_target(result, target))
    title = f"{result.name} {result.version}"
    return Checks(title, "release", rows, result.exit_code, result.findings, result.recipe)


def _of_target(result: ReleaseResult, target: TargetRow) -> Iterator[Check]:
    if target.readiness:
        yield from _of_check(result, target)
        return
    for candidate in subjects(target):
        for gate in candidate.gates:
            key = _KEYS.get(gate.name, "")
            yield _of_gate(
                gate,
                target=target.target,
                artifact=candidate.name,
                file=result.recipe,
                line=_line(result, f"target.{target.target}.budget.{key}", f"budget.{key}", target.target),
            )
    yield Check(
        target=target.target,
        artifact="",
        name="ships",
        outcome=_outcome_of(target.exit_code),
        reason="; ".join((target.reason, *map(_rejection, target.rejections))),
        file=result.recipe,
        line=_line(result, target.target),
    )


def of_sweep(result: SweepResult) -> Checks:
    """One row for each row, and its gates where it does not pass."""
    rows = tuple(check for row in result.rows for check in _of_row(row, result.matrix))
    return Checks(
        f"sweep of {result.matrix}", "sweep", rows, result.exit_code, result.findings, result.matrix
    )


def _of_row(row: SweepRow, file: str) -> Iterator[Check]:
    if row.artifact is not None and row.status != "pass":
        for gate in row.artifact.gates:
            yield _of_gate(gate, target=row.id, artifact=row.artifact.name, file=file, line=None)
    reason = "; ".join((row.reason, *map(_rejection, row.rejections)))
    yield Check(
        target=row.id, artifact="", name="row", outcome=_outcome_of(row.exit_code), reason=reason, file=file
    )


def _of_check(result: ReleaseResult, target: TargetRow) -> Iterator[Check]:
    """What a device that is not here would take: judged by nobody."""
    for row in target.readiness:
        yield Check(
            target=target.target,
            artifact=row.precision.value,
            name="readiness",
            outcome="skipped",
            measured=row.sentence,
            reason=row.marked,
            file=result.recipe,
            line=_line(result, target.target),
        )


def _rejection(found: Rejection) -> str:
    return f"{found.node}: {found.reason}" if found.node else found.reason


def subjects(target: TargetRow) -> tuple[CandidateRow, ...]:
    """What a target is judged by: what ships, else what was to ship, else all there is."""
    shipped = tuple(each for each in target.candidates if each.shipped)
    wanted = tuple(each for each in target.candidates if each.role == "candidate")
    return shipped or wanted or target.candidates


def _line(result: ReleaseResult, *places: str) -> int | None:
    """The first of the places that the recipe has: a key, else the target's table, else the first line."""
    if not result.recipe:
        return None
    for place in (*places, f"target.{places[-1]}"):
        if place in result.lines:
            return result.lines[place]
    return 1


def _outcome_of(code: ExitCode) -> Outcome:
    match code:
        case ExitCode.OK:
            return "pass"
        case ExitCode.INCONCLUSIVE:
            return "inconclusive"
        case ExitCode.BACKEND_MISSING | ExitCode.INTERNAL:
            return "error"
        case _:
            return "fail"


def _of_gate(gate: GateRow, *, target: str, artifact: str, file: str, line: int | None) -> Check:
    return Check(
        target=target,
        artifact=artifact,
        name=gate.name,
        outcome=_OUTCOMES[gate.status],
        measured=gate.measured,
        limit=gate.limit,
        reason=gate.reason,
        remedy=gate.remedy,
        file=file,
        line=line,
    )


def of_validate(result: ValidateResult) -> Checks:
    """One row for each gate of each artifact; two of one target and precision have their files as names."""
    kinds = [(row.target, row.precision) for row in result.artifacts]
    twice = {kind for kind in kinds if kinds.count(kind) > 1}
    rows = tuple(
        _of_gate(
            gate,
            target=row.target or row.artifact,
            artifact=row.artifact if (row.target, row.precision) in twice else row.precision,
            file=row.artifact,
            line=None,
        )
        for row in result.artifacts
        for gate in row.gates
    )
    return Checks(f"against {result.reference}", "validate", rows, result.exit_code, result.findings)


def of_prune(result: PruneResult) -> Checks:
    """One row for each gate, and one for the speed on each target."""
    gates = tuple(
        _of_gate(gate, target="", artifact="pruned", file=str(result.path), line=None)
        for gate in result.gates
    )
    speeds = tuple(
        Check(
            target=row.target,
            artifact="pruned",
            name="latency",
            outcome="pass",
            measured=f"{1 / row.ratio.value:.2f} times faster",
            reason="measured alternately with the float model",
            file=str(result.path),
        )
        for row in result.speeds
    )
    return Checks("against the float model", "prune", (*gates, *speeds), result.exit_code, result.notes)


def of_bench(result: BenchResult) -> Checks:
    """One row for each artifact and device: slower than the baseline is a failure; and what did not run."""
    outcomes: Mapping[str, Outcome] = {"slower": "fail", "undecided": "inconclusive"}
    rows = tuple(
        Check(
            target=subject(row, result.rows),
            artifact="",
            name="latency",
            outcome=outcomes.get(row.verdict, "pass"),
            measured=f"p50 {number.significant(row.latency.p50_ms)} ms",
            limit=f"not slower than {row.ratio.baseline}" if row.ratio else "",
            reason=(
                f"{number.interval(row.ratio.value, row.ratio.low, row.ratio.high)} times the baseline"
                if row.ratio and row.effect is None
                else view_effects.sentence(row)
            ),
            file=row.artifact,
        )
        for row in result.rows
    )
    lost = tuple(
        Check(
            target=device.name,
            artifact="",
            name="device",
            outcome="error" if device.status == "missing" else "inconclusive",
            reason=device.reason,
            file="devices.toml",
        )
        for device in result.devices
        if device.status != "complete"
    )
    failed = tuple(
        Check(
            target=f"{each.artifact} on {each.device}" if each.device else each.artifact,
            artifact="",
            name="runs",
            outcome="error",
            reason=f"{each.kind}: {each.reason}",
            file=each.artifact,
        )
        for each in result.failures
    )
    return Checks("latency", "bench", (*rows, *lost, *failed), result.exit_code)


def of_diff(result: DiffResult) -> Checks:
    """One row for each figure of each target, and for each target that is gone."""
    outcomes: Mapping[str, Outcome] = {
        "worse": "fail",
        "undecided": "inconclusive",
        "not_comparable": "skipped",
    }
    rows = [
        Check(
            target=row.target,
            artifact="",
            name=each.figure,
            outcome=outcomes.get(each.verdict, "pass"),
            measured=f"{each.old or 'not known'} -> {each.new or 'not known'}",
            reason=f"{each.change} {each.verdict.replace('_', ' ')}: {each.reason}".strip(": "),
            file=result.new.source,
        )
        for row in result.targets
        for each in row.changes
    ]
    rows += [
        Check(row.target, "", "present", "inconclusive", reason="the new one has no such target")
        for row in result.targets
        if row.status == "removed"
    ]
    if not rows and result.exit_code is not ExitCode.OK:
        rows.append(Check(result.new.source, "", "present", "inconclusive", reason="no target to compare"))
    title = f"{result.old.source} -> {result.new.source}"
    return Checks(title, "diff", tuple(rows), result.exit_code, result.findings, result.new.source)


def of_debug(result: DebugResult) -> Checks:
    """One row for each artifact; it judges nothing, so its causes are findings."""
    rows = tuple(
        Check(
            target=row.target or row.artifact,
            artifact=row.precision.value if row.target else "",
            name="causes",
            outcome="pass",
            measured=f"{len(row.layers)} layers",
            reason="; ".join(cause.name for cause in row.causes) or "no cause was found",
            file=row.artifact,
        )
        for row in result.rows
    )
    findings = tuple(
        f"{row.target or row.artifact}: {_cause(cause)}" for row in result.rows for cause in row.causes
    )
    return Checks(f"against {result.reference}", "debug", rows, ExitCode.OK, findings, result.artifact)


def _cause(found: CauseRow) -> str:
    where = f" at {found.where}" if found.where else ""
    return f"{found.name}{where}: {found.says}; next: {found.remedy}"


# result type -> its checks; each takes exactly that type
CHECKED: Mapping[type, Callable[[Any], Checks]] = {
    ReleaseResult: of_release,
    ValidateResult: of_validate,
    BenchResult: of_bench,
    PruneResult: of_prune,
    DiffResult: of_diff,
    DebugResult: of_debug,
    SweepResult: of_sweep,
}
