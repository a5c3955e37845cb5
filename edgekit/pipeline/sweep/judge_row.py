"""Candidates of a row + what its device measured -> the one that the row shows, and its verdict.

    gates of accuracy, size, ... (as made)  +  latency, never_slower, memory (as measured)  ->  verdict_of

J1  of the candidates whose gates all pass the fastest is the row's
J2  where none passes: the first that is only open, else the first; the row says what it misses
J3  a row whose lock names a candidate shows that one
J4  float is held against float by nobody: never_slower is no gate of a float row
J5  what a device did not measure is said as "not measured", and fails only under require_measured
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekit.errors import ExitCode
from edgekit.pipeline.judge import gate_rows, speed_of
from edgekit.pipeline.latency import Timed
from edgekit.pipeline.lock import LockedScheme
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.result import CandidateRow, GateRow
from edgekit.spec import Precision, from_json
from edgekit.validation.budget import Budget, Gate, Verdict, judge, verdict_of
from edgekit.validation.resources import resource_gates

MEASURED = frozenset({"latency", "never_slower", "memory"})
"""The gates that the device decides."""


@dataclass(frozen=True)
class Made:
    """A candidate as ``work`` gave it: ``document`` has the artifact and its files' digests."""

    label: str
    scheme: LockedScheme
    row: CandidateRow
    document: Mapping[str, Any]

    @property
    def is_float(self) -> bool:
        """Whether it is the target's float variant."""
        return self.row.role == "float"


def made_of(documents: Sequence[Mapping[str, Any]]) -> tuple[Made, ...]:
    """The candidates of a reply; the float variant is the first."""
    return tuple(
        Made(
            each["label"],
            LockedScheme.model_validate(each["scheme"]),
            from_json(CandidateRow, each["row"]),
            {"artifact": each["artifact"], "files": each["files"]},
        )
        for each in documents
    )


def of_row(made: Sequence[Made], precision: Precision, *, locked: LockedScheme | None) -> tuple[Made, ...]:
    """The candidates that a row chooses from (J3); a pruned row's float is the pruned one."""
    rest = tuple(
        each for each in made[1:] if (each.row.precision is Precision.FP32) == (precision is Precision.FP32)
    )
    if precision is Precision.FP32:
        return rest or (made[0],)
    if locked is None:
        return rest
    return tuple(each for each in rest if each.scheme.scheme.label == locked.scheme.label) or rest


def to_measure(candidates: Sequence[Made], plan: TargetPlan) -> tuple[Made, ...]:
    """Those that are worth a bench: inside every budget so far, or else the first."""
    kept = tuple(each for each in candidates if _promising(held(each.row, None, plan=plan, why="")[0]))
    return kept or tuple(candidates[:1])


def _promising(row: CandidateRow) -> bool:
    return all(gate.status in {"pass", "waived"} for gate in row.gates if gate.name not in MEASURED)


def held(
    row: CandidateRow, timed: Timed | None, *, plan: TargetPlan, why: str
) -> tuple[CandidateRow, Verdict]:
    """The candidate with the gates that ``timed`` decides judged anew; ``why`` says why it is None."""
    budget = plan.budget
    asked = Budget(
        max_latency_ms=budget.max_latency_ms,
        never_slower=budget.never_slower and row.role != "float",  # J4
        max_memory_bytes=budget.max_memory_bytes,
        require_measured=budget.require_measured,
        on_inconclusive=budget.on_inconclusive,
    )
    fresh = (
        *judge(
            asked,
            latency_p95_ms=timed.latency.p95_ms if timed else None,
            speed=speed_of(timed.ratio) if timed and timed.ratio else None,
            unmeasured=why,
        ).gates,
        *resource_gates(
            asked, memory_bytes=timed.memory_bytes if timed else None, coverage=None, unmeasured=why
        ),
    )
    if plan.waiving is not None:
        fresh = plan.waiving(fresh, target=row.target)
    verdict = verdict_of((*(_gate(each) for each in row.gates if each.name not in MEASURED), *fresh))
    judged = replace(
        row,
        status=verdict.status,
        gates=gate_rows(verdict),
        latency=replace(timed.latency, raw_ms=()) if timed else None,  # bench.json keeps the samples
        ratio=timed.ratio if timed else None,
        memory_bytes=timed.memory_bytes if timed else None,
    )
    return judged, verdict


def _gate(row: GateRow) -> Gate:
    return Gate(
        row.name,
        row.status,
        row.measured,
        row.limit,
        row.reason,
        row.remedy,
        samples_needed=row.samples_needed,
    )


@dataclass(frozen=True)
class Shown:
    """What a row shows."""

    made: Made
    row: CandidateRow
    exit_code: ExitCode
    reason: str
    remedy: str


def shown(candidates: Sequence[Made], timed: Mapping[str, Timed], *, plan: TargetPlan, why: str) -> Shown:
    """J1 and J2."""
    found = []
    for each in candidates:
        row, verdict = held(each.row, timed.get(each.label), plan=plan, why=why)
        found.append(Shown(each, row, verdict.exit_code, *_reason(row, verdict)))
    order = {"pass": 0, "inconclusive": 1, "fail": 2}
    best = min(order[each.row.status] for each in found)
    kept = [each for each in found if order[each.row.status] == best]
    if best:
        return kept[0]
    return min(kept, key=lambda each: each.row.latency.p50_ms if each.row.latency else float("inf"))


def _reason(row: CandidateRow, verdict: Verdict) -> tuple[str, str]:
    """The gate that decides, in words, and what to do about it."""
    missed = [gate for gate in verdict.gates if gate.status in {"fail", "inconclusive"}]
    if missed:
        gate = next((g for g in missed if g.status == "fail"), missed[0])
        word = "missed" if gate.status == "fail" else "open"
        said = f"{gate.name} {word}: {gate.measured or 'not measured'} ({gate.limit}); {gate.reason}"
        return said, gate.remedy
    waived = [gate.name for gate in verdict.gates if gate.status == "waived"]
    if waived:
        return f"inside the budget but for what is waived: {', '.join(waived)}", ""
    return f"inside the budget; {row.caveat}" if row.caveat else "inside the budget", ""
