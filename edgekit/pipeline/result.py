"""What each verb found, as frozen rows of plain values: what ``report`` renders and ``--format json`` prints.

Rows hold numbers and words, never sessions, arrays or models, so that a result can be stored, compared and
rendered without any runtime. Latencies are milliseconds, sizes bytes, drops percentage points (positive =
worse than the float reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.errors import ExitCode
from edgekit.ir.contents import LayerCost, Quantization
from edgekit.pipeline.compile_result import CompileResult
from edgekit.spec import Precision, Rejection, TensorSpec

GateStatus = Literal["pass", "fail", "inconclusive", "not_measured", "waived"]
Status = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class GateRow:
    """One budget line: what was measured against what limit.

    Attributes:
        name: "accuracy", "size", "latency", "never_slower", "memory" or "coverage".
        status: outcome; "waived" passes although the limit is missed, and ``reason`` says who allowed it.
        measured: the measured value in words, with unit and interval.
        limit: the limit in words.
        reason: why the status is what it is.
        remedy: what to do next; "" where nothing is to be done.
        samples_needed: about how many samples would decide it; None where it is decided, or none would.
    """

    name: str
    status: GateStatus
    measured: str
    limit: str
    reason: str
    remedy: str = ""
    samples_needed: int | None = None


@dataclass(frozen=True)
class AccuracyRow:
    """The task metric on the evaluation set, paired with the float reference on the same samples.

    Attributes:
        unit: of the drop: "pp", or "%" of the reference's value for metrics without an upper bound.
        method: how the interval was found.
        label_agreement: share of samples with the reference's label.
        calibration_error: expected calibration error (ECE), 0 to 1; None where no class is scored.
        calibration_error_reference: the same of the float reference.
    """

    metric: str
    value: float
    reference: float
    drop_pp: float
    drop_low_pp: float
    drop_high_pp: float
    samples: int
    unit: str = "pp"
    method: str = ""
    label_agreement: float | None = None
    calibration_error: float | None = None
    calibration_error_reference: float | None = None


@dataclass(frozen=True)
class DriftRow:
    """How far one output is from the float reference's, over so many samples.

    Attributes:
        max_abs: largest difference, in the output's unit; ``max_steps`` in quantization steps of the output.
        flips: samples with another most likely class; None where the output has no classes.
        kl: mean KL divergence of the class probabilities, in nats.
    """

    output: str
    max_abs: float
    cosine: float
    sqnr_db: float
    max_steps: float | None = None
    flips: int | None = None
    kl: float | None = None
    samples: int = 0


@dataclass(frozen=True)
class PairRow:
    """One pair of the drift matrix: what is lost from the first to the second, on the same samples.

    Attributes:
        first: "the framework", "ONNX float", or target and precision ("litert-cpu fp32").
        second: likewise.
        step: what lies between the two: "export" (framework to ONNX), "runtime" (the same float numbers on
            another runtime), "quantization" (float to candidate on one runtime), "whole" (the float reference
            to a candidate), "across" (artifacts of equal plan on two runtimes).
        accuracy: the task metric; its ``reference`` is the first's value.
        drift: one row for each output.
    """

    first: str
    second: str
    step: Literal["export", "runtime", "quantization", "whole", "across"]
    accuracy: AccuracyRow | None
    drift: tuple[DriftRow, ...]


@dataclass(frozen=True)
class GroupRow:
    """What is lost within a class or a slice of the data.

    Attributes:
        kind: "class", or the name of the slice column.
        group: the class or the column's value.
        drop_low_pp: lower end of the interval, corrected for the number of groups (Holm).
        stands_out: whether that interval lies above what may be lost.
    """

    kind: str
    group: str
    samples: int
    value: float
    reference: float
    drop_pp: float
    drop_low_pp: float
    drop_high_pp: float
    unit: str = "pp"
    stands_out: bool = False


@dataclass(frozen=True)
class FlipRow:
    """One sample whose most likely class is another than the float reference's.

    Attributes:
        sample: its number in the data, from 0.
        label: the data's own.
        reference: the reference's class: its name where it is known, else its number.
        candidate: the candidate's.
        picture: a small PNG as a data URI; "" where the sample is no image or is not to be shown.
    """

    sample: int
    label: str
    reference: str
    candidate: str
    picture: str = ""


@dataclass(frozen=True)
class FlipPairRow:
    """So many samples of this class for the reference are of that class for the candidate."""

    reference: str
    candidate: str
    count: int


@dataclass(frozen=True)
class FlipsRow:
    """What became of the labels.

    Attributes:
        count: samples with another label than the float reference's.
        lost: of these, those that the reference has right.
        gained: those that the candidate has right.
        pairs: the most frequent first.
        shown: a few of them: those that were lost first.
    """

    samples: int
    count: int
    lost: int
    gained: int
    pairs: tuple[FlipPairRow, ...] = ()
    shown: tuple[FlipRow, ...] = ()


@dataclass(frozen=True)
class ElsewhereRow:
    """An operator that does not run on the device or in the type asked for; silent = nobody decided it."""

    node: str
    operator: str
    device: str
    precision: str
    silent: bool


@dataclass(frozen=True)
class CoverageRow:
    """How much of an artifact runs on the wanted device in the wanted precision.

    Attributes:
        share: from 0 to 1, of ``by``.
        operators: how many multiply and say in which type; ``covered`` of them run as asked.
        untold: how many more multiply and do not say it.
    """

    share: float
    by: Literal["MACs", "operators"]
    operators: int
    covered: int
    elsewhere: tuple[ElsewhereRow, ...] = ()
    untold: int = 0


@dataclass(frozen=True)
class LatencyRow:
    """Steady-state latency of one artifact at batch 1."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    runs: int
    stable: bool
    warning: str = ""
    raw_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class RatioRow:
    """Median latency divided by the baseline's, with its interval; below 1 is faster."""

    baseline: str
    value: float
    low: float
    high: float


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


@dataclass(frozen=True)
class AgreementRow:
    """How often two targets' artifacts of equal plan give the same label on the evaluation set."""

    first: str
    second: str
    agreement: float
    samples: int


@dataclass(frozen=True)
class MachineRow:
    """The machine that measured."""

    key: str
    facts: Mapping[str, str]


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
    schema: str = "edgekit/release-result/2"

    @property
    def status(self) -> str:
        """The exit code's name in lower case."""
        return self.exit_code.name.lower()


@dataclass(frozen=True)
class ParityRow:
    """How far one output of an export is from its framework's.

    Attributes:
        max_abs: largest absolute difference, in the output's own unit.
        relative: the same as a part of the output's range.
        ulps: the same in units in the last place at the output's largest magnitude; None for integers.
        label_agreement: share of rows with the same most likely class; None where there are no classes.
        steps_95: 95th percentile in quantization steps; None for a float model.
        steps_999: 99.9th percentile.
    """

    output: str
    max_abs: float
    relative: float
    ulps: float | None = None
    label_agreement: float | None = None
    steps_95: float | None = None
    steps_999: float | None = None


@dataclass(frozen=True)
class ExportResult:
    """An exported model and how it compares with its framework.

    Attributes:
        parity: one row for each output.
        parity_tolerance: largest ``relative`` that passes.
        parity_cases: how many inputs were compared.
        parity_from_data: how many of them are batches of the calibration data.
        quantized: whether the source came quantized.
        notes: what the front end wants the user to know.
    """

    path: Path
    source: str
    framework: str
    opset: int
    nodes: int
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: tuple[ParityRow, ...]
    parity_tolerance: float
    parity_cases: int
    parity_from_data: int = 0
    quantized: bool = False
    notes: tuple[str, ...] = ()
    schema: str = "edgekit/export-result/1"


@dataclass(frozen=True)
class CalibrateResult:
    """Ranges on disk; ``counted`` tensors have a histogram behind their range."""

    path: Path
    method: str
    samples: int
    tensors: int
    findings: tuple[str, ...] = ()
    counted: int = 0
    schema: str = "edgekit/calibrate-result/1"


@dataclass(frozen=True)
class QuantizeResult:
    """A quantized ONNX file; ``accuracy`` only where evaluation data was given."""

    path: Path
    target: str
    precision: Precision
    plan_digest: str
    quantized: int
    left_float: tuple[Rejection, ...]
    size_bytes: int
    float_size_bytes: int
    gates: tuple[GateRow, ...] = ()
    accuracy: AccuracyRow | None = None
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    schema: str = "edgekit/quantize-result/1"


@dataclass(frozen=True)
class ValidatedRow:
    """One artifact held against the reference and a budget.

    Attributes:
        artifact: as it was named, or its file in the bundle or folder that was named.
        target: "" where the file does not say.
        accuracy: None where its outputs are not finite; the gate says so.
        groups: classes and slices, the largest loss first.
        notes: what was matched by position.
        flips: labels that changed; None without classes.
    """

    artifact: str
    target: str
    precision: str
    status: Status
    exit_code: ExitCode
    gates: tuple[GateRow, ...]
    accuracy: AccuracyRow | None
    drift: tuple[DriftRow, ...]
    ran_on: str
    groups: tuple[GroupRow, ...] = ()
    notes: tuple[str, ...] = ()
    flips: FlipsRow | None = None


@dataclass(frozen=True)
class ValidateResult:
    """Artifacts held against one reference and a budget; the reference ran once.

    Attributes:
        status: the gravest of the artifacts'.
        exit_code: likewise.
        matrix: drift of every pair that matters.
        findings: what a reader should know though no gate failed.
    """

    reference: str
    status: Status
    exit_code: ExitCode
    artifacts: tuple[ValidatedRow, ...]
    matrix: tuple[PairRow, ...] = ()
    findings: tuple[str, ...] = ()
    schema: str = "edgekit/validate-result/2"

    @property
    def only(self) -> ValidatedRow:
        """The first artifact: all there is where one was named."""
        return self.artifacts[0]

    @property
    def gates(self) -> tuple[GateRow, ...]:
        """The first artifact's gates."""
        return self.only.gates

    @property
    def accuracy(self) -> AccuracyRow:
        """The first artifact's accuracy.

        Raises:
            ValueError: its outputs are not finite.
        """
        if self.only.accuracy is None:
            raise ValueError(f"{self.only.artifact} has no accuracy: its outputs are not finite")
        return self.only.accuracy

    @property
    def drift(self) -> tuple[DriftRow, ...]:
        """The first artifact's drift."""
        return self.only.drift

    @property
    def notes(self) -> tuple[str, ...]:
        """The first artifact's notes."""
        return self.only.notes


@dataclass(frozen=True)
class BenchRow:
    """One artifact's latency; ``verdict`` against the baseline where there is one.

    Attributes:
        device: as the user named it; "" = this machine.
        memory_bytes: peak, less what was held before it was loaded; None where not measured.
    """

    artifact: str
    ran_on: str
    latency: LatencyRow
    ratio: RatioRow | None = None
    verdict: Literal["", "baseline", "faster", "slower", "undecided"] = ""
    device: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True)
class DeviceRow:
    """One device that `bench` was told to use.

    Attributes:
        status: "incomplete": it was lost while it measured, and its rows hold what had arrived.
        reason: why it is not complete.
        facts: what it said of itself.
    """

    name: str
    status: Literal["complete", "incomplete", "missing"]
    reason: str = ""
    remedy: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedRow:
    """An artifact that did not run to its end on a device; the others' results stand."""

    artifact: str
    device: str
    kind: Literal["missing", "error", "crash", "timeout"]
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class BenchResult:
    """Interleaved latencies; exit code 4 where a candidate is slower than the baseline, 7 where undecided.

    On devices also: 1 where an artifact's native code died, 2 where a runtime refused a file, 6 where a
    device or a runtime is missing, 7 where data is incomplete.
    """

    rows: tuple[BenchRow, ...]
    machine: MachineRow
    exit_code: ExitCode
    devices: tuple[DeviceRow, ...] = ()
    failures: tuple[FailedRow, ...] = ()
    schema: str = "edgekit/bench-result/1"


@dataclass(frozen=True)
class VerifyRow:
    """One check of a bundle."""

    check: str
    subject: str
    status: Literal["pass", "fail", "not_run"]
    detail: str = ""


@dataclass(frozen=True)
class VerifyResult:
    """A bundle re-hashed and replayed."""

    bundle: Path
    rows: tuple[VerifyRow, ...]
    exit_code: ExitCode
    schema: str = "edgekit/verify-result/1"


@dataclass(frozen=True)
class TargetFit:
    """Whether a target would take a model.

    Attributes:
        status: "not_installed" = its back end is not here; "not_checked" = it could not be asked.
        reason: why it was not asked, or what its answer does not show.
        remedy: what to type so that it can be asked.
        rejections: every reason for a refusal.
    """

    target: str
    status: Literal["takes", "refuses", "not_installed", "not_checked"]
    reason: str = ""
    remedy: str = ""
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class BundledRow:
    """One artifact of a bundle: what it is, and what the evidence says that it does.

    Attributes:
        macs: None where the file could not be looked into (``note`` says why).
        accuracy: task metric; None where nothing was measured.
        p50_ms: median latency on the machine that wrote the evidence.
        ratio: latency as a multiple of the float variant's.
        ran_on: what measured it.
    """

    target: str
    precision: Precision
    file: str
    size_bytes: int
    operators: int | None = None
    parameters: int | None = None
    macs: int | None = None
    accuracy: AccuracyRow | None = None
    p50_ms: float | None = None
    ratio: RatioRow | None = None
    ran_on: str = ""
    note: str = ""


@dataclass(frozen=True)
class InspectResult:
    """What is inside a file, an artifact folder or a bundle.

    Attributes:
        operators: how many of each type.
        versions: operator -> its versions, where the format has them.
        layers: every operator with its cost, in the file's order (``ir.cost`` states the convention).
        macs: multiply-accumulates of one inference at batch 1; the sum of what is known, None for a bundle.
        parameters: None for a bundle.
        peak_bytes: most bytes of activations alive at once; None where it is not known.
        quantization: how much is integer; None where the question does not arise.
        targets: whether each shipped target would take it; empty for a compiled file.
        bundled: the artifacts of a bundle.
        notes: what the reader wants the user to know.
    """

    path: Path
    kind: str
    facts: Mapping[str, str]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    parameters: int | None = None
    parameter_bytes: int | None = None
    macs: int | None = None
    peak_bytes: int | None = None
    layers: tuple[LayerCost, ...] = ()
    quantization: Quantization | None = None
    targets: tuple[TargetFit, ...] = ()
    bundled: tuple[BundledRow, ...] = ()
    notes: tuple[str, ...] = ()
    schema: str = "edgekit/inspect-result/1"


@dataclass(frozen=True)
class DoctorRow:
    """One thing that edgekit can use, and whether it is here."""

    name: str
    status: Literal["ok", "missing", "not usable"]
    version: str
    used_for: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorResult:
    """What this machine can do."""

    rows: tuple[DoctorRow, ...]
    machine: MachineRow
    cache: Path
    schema: str = "edgekit/doctor-result/1"


@dataclass(frozen=True)
class ChangeRow:
    """One figure of one target, old and new.

    Attributes:
        figure: "precision", "plan", "accuracy", "latency", "size", "memory" or "coverage".
        old: in words; "" where it is not known.
        new: likewise.
        change: in words, with the interval where there is one; "" where the two cannot be compared.
        verdict: "undecided" = the interval straddles what is allowed, or nothing is known about what counts;
            "not_comparable" = not known, and without a vote; "changed" = different, neither better nor worse.
        reason: how it was compared, or why not.
    """

    figure: str
    old: str
    new: str
    change: str
    verdict: Literal["better", "worse", "same", "undecided", "not_comparable", "changed"]
    reason: str = ""


@dataclass(frozen=True)
class DiffRow:
    """What changed for one target; ``status`` is the gravest of its changes, or that one side lacks it."""

    target: str
    status: Literal["better", "worse", "same", "undecided", "added", "removed"]
    changes: tuple[ChangeRow, ...] = ()


@dataclass(frozen=True)
class SideRow:
    """One side of a comparison."""

    source: str
    kind: str
    model: str
    version: str


@dataclass(frozen=True)
class DiffResult:
    """Two releases held against each other; the gravest target decides ``verdict`` and ``exit_code``."""

    old: SideRow
    new: SideRow
    verdict: Literal["better", "worse", "same", "undecided"]
    exit_code: ExitCode
    targets: tuple[DiffRow, ...]
    findings: tuple[str, ...] = ()
    schema: str = "edgekit/diff-result/1"


@dataclass(frozen=True)
class CauseRow:
    """One named cause of a loss.

    Attributes:
        name: "outlier-channel", "range-clipped", ...
        where: the value, input or output that it is about; "" = the whole model.
        says: the evidence, with its numbers.
        remedy: what to do.
        score: 0 to 1.
        edit: key of the recipe that ``--apply`` writes, as TOML: ``optimize.quantize.method = "percentile"``;
            "" = no recipe can do it.
    """

    name: str
    where: str
    says: str
    remedy: str
    score: float
    edit: str = ""


@dataclass(frozen=True)
class LayerRow:
    """One kernel's end: what it does to the numbers, and what that does to the model.

    Attributes:
        name: of the value, in the canonical float model.
        node: of the float model that makes it.
        kernel: what the runtime says that it runs; "" = unknown.
        integer: whether it computes in integers.
        own_sqnr_db: candidate against what the float model computes from the candidate's inputs.
        own_steps: the own error's root mean square in quantization steps; None = float.
        total_sqnr_db: candidate against the float model.
        clipped: share of the float model's values that the integers cannot hold.
        used: share of what they can hold that the float model's values span.
        damage_sqnr_db: of the model's outputs where only this layer's own error is in; None = not measured.
        flips: share of labels that change then.
        drop_pp: loss of the task metric then; None without labels.
        causes: names.
        disturbed: looking at it changed the kernel.
    """

    name: str
    node: str
    op_type: str
    kernel: str
    integer: bool
    own_sqnr_db: float
    own_steps: float | None
    total_sqnr_db: float
    clipped: float
    used: float
    damage_sqnr_db: float | None
    flips: float | None
    drop_pp: float | None
    causes: tuple[str, ...] = ()
    disturbed: bool = False


@dataclass(frozen=True)
class DebugRow:
    """One artifact: its layers, the most damaging first.

    Attributes:
        samples: how many were looked at.
        accuracy: on these samples; None without labels.
        flips: share of samples with another label; None without an output of scores.
        causes: the likeliest first.
        unmatched: tensors of the artifact for which the float model has no place.
        notes: how it was looked at.
    """

    artifact: str
    target: str
    precision: Precision
    ran_on: str
    samples: int
    accuracy: AccuracyRow | None
    flips: float | None
    drift: tuple[DriftRow, ...]
    layers: tuple[LayerRow, ...]
    causes: tuple[CauseRow, ...] = ()
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DebugResult:
    """Per-layer drift of one or more artifacts.

    Attributes:
        top: how many layers the text shows.
        applied: changes that were written into a recipe, as TOML; empty without ``--apply``.
        recipe: the recipe that they were written into; "" without.
        notes: artifacts that could not be looked at.
    """

    artifact: str
    reference: str
    rows: tuple[DebugRow, ...]
    top: int = 10
    applied: tuple[str, ...] = ()
    recipe: str = ""
    notes: tuple[str, ...] = ()
    schema: str = "edgekit/debug-result/1"


RESULTS: dict[str, type] = {
    "release": ReleaseResult,
    "export": ExportResult,
    "calibrate": CalibrateResult,
    "quantize": QuantizeResult,
    "compile": CompileResult,
    "validate": ValidateResult,
    "debug": DebugResult,
    "bench": BenchResult,
    "verify": VerifyResult,
    "inspect": InspectResult,
    "diff": DiffResult,
    "doctor": DoctorResult,
}
