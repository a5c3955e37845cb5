"""What `edgekit prune` made and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ExitCode
from edgekit.pipeline.result.rows import AccuracyRow, GateRow, LatencyRow, RatioRow


@dataclass(frozen=True)
class WidthRow:
    """Channels of one group that go together.

    Attributes:
        group: the weight that makes them.
        channels: before.
        kept: after.
        readers: layers that read them, as far as they were asked; 0 = magnitude decided.
    """

    group: str
    channels: int
    kept: int
    readers: int


@dataclass(frozen=True)
class KeptRow:
    """Channels of one weight that no pruning of this model may touch."""

    weight: str
    channels: int
    reason: str


@dataclass(frozen=True)
class RepairRow:
    """One layer that was solved anew: squared error as a part of its output's variance, on samples held back.

    Attributes:
        layer: name of the node.
        before: as cut out.
        bias_only: with its bias moved.
        after: solved.
    """

    layer: str
    before: float
    bias_only: float
    after: float


@dataclass(frozen=True)
class SparseRow:
    """One layer with zeros: squared error as a part of its output's variance, on samples held back.

    Attributes:
        layer: name of the node.
        weights: how many it has.
        zeros: how many of them are zero.
        before: with as many of its smallest weights set to zero and its bias moved.
        after: solved.
    """

    layer: str
    weights: int
    zeros: int
    before: float
    after: float


@dataclass(frozen=True)
class DenseRow:
    """One layer that got no zeros, and why."""

    layer: str
    weights: int
    reason: str


@dataclass(frozen=True)
class CellRow:
    """One row of the table that widths are chosen by: one group at one width, the rest as it was.

    Attributes:
        saving: part of the model's latency that it saves, the mean of all targets.
        error: what it costs at the outputs, as a part of their variance; None where it saves nothing, and
            nobody asked.
    """

    group: str
    kept: int
    saving: float
    error: float | None


@dataclass(frozen=True)
class PruneSpeedRow:
    """Latencies of the float and the pruned model on one target, measured alternately."""

    target: str
    reference: LatencyRow
    pruned: LatencyRow
    ratio: RatioRow


@dataclass(frozen=True)
class PruneStepRow:
    """One step of the search.

    Attributes:
        aimed: how many times faster the table was asked to make it.
        measured: how many times faster it was, on the slowest of the targets.
        kept: part of the channels that were left.
        said: what came of it.
    """

    aimed: float
    measured: float
    kept: float
    said: str


@dataclass(frozen=True)
class RefinedRow:
    """What moving all weights together gave.

    Attributes:
        passes: over the calibration data; 0 where the layers' solution stayed.
        before: squared error at the outputs as a part of their variance, on samples not learned from.
        after: likewise.
        why: the reason where it was not done, or not taken.
    """

    passes: int
    before: float
    after: float
    why: str = ""


@dataclass(frozen=True)
class PruneResult:
    """A smaller model. ``path`` was written unless a gate failed.

    Attributes:
        importance: what decided which channels go: "obs", "activation", "taylor" or "magnitude"; "zeros, 2:4"
            where single weights became zero.
        samples: of the calibration data that were used.
        parameters: floating-point numbers in the pruned model; those that are not zero.
        macs: multiply-accumulates of one inference; None where a size is unknown, and for zeros.
        compressed_bytes: of the weights, deflated; None where channels went.
        output_error: mean squared difference from the float model's outputs, as a part of their variance, on
            calibration samples.
        speeds: one row for each target that was measured.
        table: what the widths were chosen by; () for --keep.
        search: its path; () for --keep.
        recovered: epochs of distillation; 0 = none.
        refined: None where it was not asked for, or recovery stood in its place.
    """

    path: Path
    importance: str
    samples: int
    parameters: int
    float_parameters: int
    macs: int | None
    float_macs: int | None
    size_bytes: int
    float_size_bytes: int
    output_error: float
    widths: tuple[WidthRow, ...]
    kept: tuple[KeptRow, ...] = ()
    repairs: tuple[RepairRow, ...] = ()
    compressed_bytes: int | None = None
    float_compressed_bytes: int | None = None
    sparse: tuple[SparseRow, ...] = ()
    dense: tuple[DenseRow, ...] = ()
    speeds: tuple[PruneSpeedRow, ...] = ()
    table: tuple[CellRow, ...] = ()
    search: tuple[PruneStepRow, ...] = ()
    recovered: int = 0
    refined: RefinedRow | None = None
    gates: tuple[GateRow, ...] = ()
    accuracy: AccuracyRow | None = None
    notes: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.OK
    schema: str = "edgekit/prune-result/1"
