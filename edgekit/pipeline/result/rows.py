"""What several verbs tell of one artifact: gates, accuracy, drift, groups, flips, coverage, latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
            another runtime), "pruning" (float to the pruned float form on one runtime), "quantization"
            (float, or pruned, to candidate on one runtime), "whole" (the float reference to a candidate),
            "across" (artifacts of equal plan on two runtimes).
        accuracy: the task metric; its ``reference`` is the first's value.
        drift: one row for each output.
    """

    first: str
    second: str
    step: Literal["export", "runtime", "pruning", "quantization", "whole", "across"]
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
class TargetHere:
    """What this machine can do for one target.

    Attributes:
        compiles: whether artifacts of it can be made here.
        runs: whether they run here, on the device that the target names.
        stands_in: where numerics are checked where the device is absent; "" = nowhere.
        version: of the runtime; "" = not installed.
        reason: why it does not run; where it does, what that does not show; "" = nothing.
        remedy: what to type for it.
    """

    name: str
    compiles: bool
    runs: bool
    stands_in: str = ""
    version: str = ""
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class MachineRow:
    """The machine that measured."""

    key: str
    facts: Mapping[str, str]
