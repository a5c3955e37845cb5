"""What `edgekit inspect` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.ir.contents import LayerCost, Quantization
from edgekit.pipeline.result.rows import AccuracyRow, RatioRow
from edgekit.spec import Precision, Rejection, TensorSpec


@dataclass(frozen=True)
class TargetFit:
    """Whether a target would take a model.

    Attributes:
        status: "would_take", "would_leave" = a check, of a device that is not here; "not_installed" = its
            back end is not here; "not_checked" = it could not be asked.
        reason: why it was not asked, or what its answer does not show.
        remedy: what to type so that it can be asked.
        rejections: every reason for a refusal.
    """

    target: str
    status: Literal["takes", "refuses", "would_take", "would_leave", "not_installed", "not_checked"]
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
class TransformationRow:
    """One transformation on the way from the source to an artifact of a bundle.

    Attributes:
        action: "exported", "canonicalized", "pruned", "restored", "quantized", "compiled", ...
        inputs: name -> digest of what it took.
        outputs: likewise, of what it gave.
        using: likewise, of what decided how: plan, ranges, calibration data.
        tools: name -> version.
        details: in words, by name.
    """

    target: str
    action: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    using: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


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
        provenance: how they came about, artifact by artifact, from the source to the file.
        licenses: SPDX expression of the model, of each data set and of each tool of a bundle; "NOASSERTION"
            where nobody stated one.
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
    provenance: tuple[TransformationRow, ...] = ()
    licenses: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: str = "edgekit/inspect-result/1"
