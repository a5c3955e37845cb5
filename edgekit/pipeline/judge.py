"""Proof, latency and budget -> CandidateRow: one artifact's figures and gates as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekit.pipeline.baseline import Baseline
from edgekit.pipeline.came import Variant
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED, accuracy_row, group_rows
from edgekit.pipeline.latency import LIMIT, Timed
from edgekit.pipeline.proof import Place, Proof
from edgekit.pipeline.result import CandidateRow, CoverageRow, ElsewhereRow, GateRow, RatioRow
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.snapshot import of_candidate
from edgekit.spec import Artifact
from edgekit.validation.budget import Budget, Speed, Verdict, judge, verdict_of
from edgekit.validation.coverage import Coverage
from edgekit.validation.group_gate import group_gates, outstanding
from edgekit.validation.groups import Group
from edgekit.validation.resources import resource_gates
from edgekit.validation.statistics import paired_drop
from edgekit.validation.waiver import Waiving


@dataclass(frozen=True, eq=False)
class Judged:
    """One artifact with everything that was found out about it; ``graph``: digest of what was compiled."""

    artifact: Artifact
    proof: Proof
    row: CandidateRow
    verdict: Verdict
    scheme: Scheme
    graph: str = ""


def candidate(
    artifact: Artifact,
    variant: Variant,
    proof: Proof,
    *,
    reference: Proof,
    budget: Budget,
    place: Place,
    timed: Timed | None,
    role: Literal["float", "candidate"],
    scheme: Scheme,
    coverage: Coverage | None = None,
    waiving: Waiving | None = None,
    baseline: Baseline | None = None,
    groups: tuple[Group, ...] = (),
) -> Judged:
    """Hold one artifact against the float reference and the budget."""
    drop = paired_drop(reference.evaluation, proof.evaluation, seed=BOOTSTRAP_SEED)
    measured = judge(
        budget,
        drop=drop,
        size_bytes=artifact.size_bytes,
        latency_p95_ms=timed.latency.p95_ms if timed else None,
        speed=speed_of(timed.ratio) if timed and timed.ratio else None,
        unmeasured=place.caveat,
    )
    resources = resource_gates(
        budget,
        memory_bytes=timed.memory_bytes if timed else None,
        coverage=coverage,
        unmeasured=place.caveat,
    )
    pair = (reference.evaluation, proof.evaluation)
    accuracy = accuracy_row(drop, _agreement(proof, reference), pair)
    latency = timed.latency if timed else None
    now = of_candidate(artifact, accuracy, proof.evaluation, latency)
    regressions = baseline.gates(now, budget) if baseline else ()
    gates = (*measured.gates, *group_gates(budget, groups), *resources, *regressions)
    verdict = verdict_of(waiving(gates, target=artifact.target) if waiving else gates)
    row = CandidateRow(
        target=artifact.target,
        precision=artifact.precision,
        role=role,
        label=scheme.label,
        file=artifact.files[0].path,
        sha256=artifact.files[0].sha256,
        size_bytes=artifact.size_bytes,
        plan_digest=artifact.plan_digest,
        status=verdict.status,
        gates=gate_rows(verdict),
        accuracy=accuracy,
        drift=proof.drift,
        latency=latency,
        ratio=timed.ratio if timed else None,
        ran_on=proof.ran_on,
        caveat=place.caveat,
        notes=(*artifact.notes, *variant.notes),
        left_float=variant.left_float,
        memory_bytes=timed.memory_bytes if timed else None,
        coverage=_coverage_row(coverage),
        groups=group_rows(groups, outstanding(budget, groups)),
    )
    return Judged(artifact, proof, row, verdict, scheme, graph=variant.digest)


def _coverage_row(found: Coverage | None) -> CoverageRow | None:
    if found is None:
        return None
    nodes = tuple(
        ElsewhereRow(each.node, each.operator, each.device, each.precision, each.silent)
        for each in found.elsewhere
    )
    return CoverageRow(found.share, found.by, found.operators, found.covered, nodes, found.untold)


def speed_of(ratio: RatioRow) -> Speed:
    """A ratio as the gate reads it: decided by the interval's bounds, never by its middle."""
    not_slower: Literal["yes", "no", "undecided"] = "undecided"
    if ratio.high <= LIMIT:
        not_slower = "yes"
    elif ratio.low > LIMIT:
        not_slower = "no"
    return Speed(not_slower, ratio.value, ratio.low, ratio.high)


def gate_rows(verdict: Verdict) -> tuple[GateRow, ...]:
    """The gates as rows."""
    return tuple(
        GateRow(
            gate.name,
            gate.status,
            gate.measured,
            gate.limit,
            gate.reason,
            gate.remedy,
            gate.samples_needed,
        )
        for gate in verdict.gates
    )


def _agreement(proof: Proof, reference: Proof) -> float | None:
    if proof.labels is None or reference.labels is None:
        return None
    return float(np.mean(proof.labels == reference.labels))
