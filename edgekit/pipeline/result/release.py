"""What `edgekit release` found: targets, their candidates, and what they agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.errors import ExitCode
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.pipeline.result.package import PackageRow
from edgekit.pipeline.result.prune import PruneResult
from edgekit.pipeline.result.rows import (
    AccuracyRow,
    CoverageRow,
    DriftRow,
    FlipsRow,
    GateRow,
    GroupRow,
    LatencyRow,
    MachineRow,
    PairRow,
    RatioRow,
    Status,
)
from edgekit.spec import Precision, Rejection


@dataclass(frozen=True)
class CandidateRow:
    """One artifact of one target, proved or refused.

    Attributes:
        role: "float" (the target's own float variant, the baseline) or "candidate".
        label: the candidate's name among the target's others: its precision, or "w8a8-mixed" where some
            operators stay float for the sake of accuracy, "w8a8-partial" for the sake of speed.
        ran_on: what really computed the numbers, e.g. "onnxruntime 1.31.1, CPUExecutionProvider, 1 thread".
        caveat: what could not be shown here, e.g. "not run on a GPU here"; "" = nothing.
        shipped: whether this is the artifact in the bundle.
        memory_bytes: peak while it ran, less what was held before it was loaded; None where not measured.
        coverage: None where the runtime did not say what it runs.
        flips: labels that changed, of what ships and, where nothing does, of what was tried; None without
            classes.
        beaten_by: a candidate of the same target that is nowhere worse (median latency, size, drop) and
            somewhere better; "" = it is on the Pareto front.
    """

    target: str
    precision: Precision
    role: Literal["float", "candidate"]
    file: str
    sha256: str
    size_bytes: int
    plan_digest: str
    status: Status
    gates: tuple[GateRow, ...]
    accuracy: AccuracyRow | None = None
    drift: tuple[DriftRow, ...] = ()
    latency: LatencyRow | None = None
    ratio: RatioRow | None = None
    ran_on: str = ""
    caveat: str = ""
    shipped: bool = False
    notes: tuple[str, ...] = ()
    left_float: tuple[Rejection, ...] = ()
    label: str = ""
    memory_bytes: int | None = None
    coverage: CoverageRow | None = None
    groups: tuple[GroupRow, ...] = ()
    flips: FlipsRow | None = None
    beaten_by: str = ""

    @property
    def name(self) -> str:
        """The label, or the precision where there is none."""
        return self.label or self.precision.value


@dataclass(frozen=True)
class TargetRow:
    """What a release did for one target.

    Attributes:
        chosen: precision of the artifact that ships; None where nothing does.
        reason: why that one, in a sentence.
        exit_code: 0, or what the target contributes to the release's exit code.
        rejections: why the target refuses the model (exit code 5), or is not here (6).
        readiness: of a check target: what a device that is not here would take; nothing of it ships.
        limits: the budget's figures by their keys in the recipe; ``never_slower`` is the largest multiple of
            float's latency that is not slower.
    """

    target: str
    chosen: Precision | None
    reason: str
    exit_code: ExitCode
    candidates: tuple[CandidateRow, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    readiness: tuple[ReadinessRow, ...] = ()


@dataclass(frozen=True)
class AgreementRow:
    """How often two targets' artifacts of equal plan give the same label on the evaluation set."""

    first: str
    second: str
    agreement: float
    samples: int


@dataclass(frozen=True)
class CalibrationRow:
    """What the ranges were learned from.

    Attributes:
        source: the data set, as the recipe names it; "" where the lock's ranges were used and none is named.
        tensors: values that have a range.
        from_lock: whether the lock's ranges were used: then nothing was looked at, and nothing found.
        findings: what calibration noticed about the data; the release's findings have them too.
    """

    source: str
    method: str
    samples: int
    tensors: int
    from_lock: bool
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizedRow:
    """One step from the float model to what ships, on one target: what it cost and what it gave.

    Attributes:
        step: "float", "pruned" or "quantized".
        label: the candidate's name.
        accuracy: against the float reference; its ``drop_pp`` is that of all steps so far.
        cost: what this step alone loses of the metric, in the unit of ``accuracy``; None for the first.
        latency: None where it is not measured here.
        faster: how many times faster than the step before; None for the first, or not measured.
        smaller: how many times smaller than the step before.
        shipped: whether it is what ships; a step on the way may be it, where the next one broke a budget.
    """

    target: str
    step: Literal["float", "pruned", "quantized"]
    label: str
    accuracy: AccuracyRow | None
    cost: float | None
    latency: LatencyRow | None
    ratio: RatioRow | None
    faster: float | None
    size_bytes: int
    smaller: float | None
    shipped: bool = False


@dataclass(frozen=True)
class ReleaseResult:
    """A release: the bundle, and per target the choice with its proof.

    Attributes:
        bundle: folder of the bundle; None for a dry run or where nothing ships.
        lock: "followed", "written" or "updated", and why in ``lock_reason``.
        exit_code: the gravest of the targets'.
        inputs: digests of what it was made from and judged on.
        recipe: the recipe's path as it was given; "" where it is not known.
        lines: the line of each of its keys ("budget.max_drop_pp", "target.litert-cpu").
        calibration: None where no candidate needed ranges.
        licenses: SPDX expression of the model and of each data set; "NOASSERTION" where the recipe has none.
        packages: what was made of the bundle beside it; a bundle's own report is written before them.
        pruning: what [optimize] prune did; None where there is none, or the lock's file was taken.
        optimized: step by step what it cost and gave, on each target; () without pruning.
    """

    name: str
    version: str
    bundle: Path | None
    targets: tuple[TargetRow, ...]
    exit_code: ExitCode
    lock: Literal["followed", "written", "updated", "none"]
    lock_reason: str
    machine: MachineRow
    agreement: tuple[AgreementRow, ...] = ()
    findings: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    matrix: tuple[PairRow, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    calibration: CalibrationRow | None = None
    licenses: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[PackageRow, ...] = ()
    pruning: PruneResult | None = None
    optimized: tuple[OptimizedRow, ...] = ()
    schema: str = "edgekit/release-result/2"

    @property
    def status(self) -> str:
        """The exit code's name in lower case."""
        return self.exit_code.name.lower()
