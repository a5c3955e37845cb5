"""What `edgekit debug` found: layers, and the causes of what they lose."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.pipeline.result.rows import AccuracyRow, DriftRow
from edgekit.spec import Precision


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
