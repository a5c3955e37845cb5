"""Evidence x damage x causes -> the row of one artifact, its layers in the order of their damage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf

from edgekit.pipeline.debug.damage import Damage, Measured
from edgekit.pipeline.debug.looking import Looking
from edgekit.pipeline.evaluation import accuracy_row, drift_rows
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import CauseRow, DebugRow, LayerRow
from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit, RecipeValue
from edgekit.validation.layers import KernelEvidence


def row(looking: Looking, evidence: Evidence, measured: Measured, causes: Sequence[Cause]) -> DebugRow:
    """Everything that was found out about one artifact."""
    damages = {damage.value: damage for damage in measured.damages}
    layers = [_layer(kernel, damages.get(kernel.name), causes) for kernel in evidence.kernels]
    place = {name: number for number, name in enumerate(damages)}
    # what was not measured has less own error than everything that was
    layers.sort(key=lambda each: (place.get(each.name, len(place)), each.own_sqnr_db))
    artifact = looking.artifact
    return DebugRow(
        artifact=artifact.path.name,
        target=artifact.target,
        precision=artifact.precision,
        ran_on=describe(looking.facts),
        samples=looking.count,
        accuracy=None
        if measured.accuracy is None
        else accuracy_row(measured.accuracy, _same(measured.flips)),
        flips=measured.flips,
        drift=drift_rows(evidence.outputs),
        layers=tuple(layers),
        causes=tuple(_cause(cause) for cause in causes),
        unmatched=evidence.unmatched,
        notes=(*looking.notes, *((measured.note,) if measured.note else ())),
    )


def _same(flips: float | None) -> float | None:
    return None if flips is None else 1.0 - flips


def _layer(kernel: KernelEvidence, damage: Damage | None, causes: Sequence[Cause]) -> LayerRow:
    params = kernel.params
    step = params.scale[0] if params is not None and len(params.scale) == 1 else None
    harmless = kernel.own.rms == 0.0
    return LayerRow(
        name=kernel.name,
        node=kernel.node,
        op_type=kernel.op_type,
        kernel=kernel.kernel,
        integer=kernel.integer,
        own_sqnr_db=kernel.own.sqnr_db,
        own_steps=None if step is None else kernel.own.rms / step,
        total_sqnr_db=kernel.total.sqnr_db,
        clipped=kernel.figures.clipped_low + kernel.figures.clipped_high,
        used=kernel.figures.used,
        damage_sqnr_db=damage.sqnr_db if damage is not None else (inf if harmless else None),
        flips=None if damage is None else damage.flips,
        drop_pp=None if damage is None else damage.drop_pp,
        causes=tuple(cause.name for cause in causes if cause.where == kernel.name),
        disturbed=kernel.disturbed,
    )


def _cause(cause: Cause) -> CauseRow:
    return CauseRow(
        name=cause.name,
        where=cause.where,
        says=cause.says,
        remedy=cause.remedy,
        score=cause.score,
        edit="" if cause.edit is None else toml(cause.edit),
    )


def toml(edit: RecipeEdit) -> str:
    """One line of TOML that says the change: ``optimize.quantize.method = "percentile"``."""
    return f"{'.'.join(edit.path)} = {_value(edit.value)}"


def _value(value: RecipeValue) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)
