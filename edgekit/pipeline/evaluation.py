"""Two runners x labelled data -> drop, drift and metric as rows: what `quantize` and `validate` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit import dataset
from edgekit.dataset import DataSource
from edgekit.errors import InputError
from edgekit.pipeline.result import AccuracyRow, DriftRow
from edgekit.preprocess import Step
from edgekit.spec import Progress, Runner
from edgekit.validation.drift import OutputDrift, drift
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE, evaluate
from edgekit.validation.statistics import Drop, paired_drop

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Evaluated:
    """The candidate's loss, and how far its outputs are from the reference's."""

    drop: Drop
    accuracy: AccuracyRow
    drift: tuple[DriftRow, ...]


def evaluate_pair(
    reference: Runner,
    candidate: Runner,
    *,
    source: str,
    metric: str,
    samples: int | None,
    output_steps: Mapping[str, float],
    progress: Progress,
    preprocess: tuple[Step, ...] = (),
) -> Evaluated:
    """Run both on the same samples.

    Raises:
        InputError: candidate and reference do not take and give the same tensors.
        DataError: the data does not fit.
    """
    check_same_interface(reference, candidate)
    asked = DataSource(source, samples=samples)
    data = dataset.load(asked, inputs=reference.inputs, base=Path.cwd(), preprocess=preprocess)
    dataset.check(data, reference.inputs, labelled=True)
    assert data.labels is not None  # noqa: S101  check has just refused such data
    size = batch_size(reference, candidate)
    found = [
        evaluate(
            runner,
            metric=metric,
            batches=data.batches,
            labels=data.labels,
            count=data.count,
            progress=progress,
            batch_size=size,
            who=who,
        )
        for who, runner in (("reference", reference), ("candidate", candidate))
    ]
    drop = paired_drop(found[0], found[1], seed=BOOTSTRAP_SEED)
    away = drift(
        reference,
        candidate,
        batches=data.batches,
        count=data.count,
        output_steps=output_steps,
        batch_size=size,
    )
    agreement = away.outputs[0].label_agreement if len(away.outputs) == 1 else None
    return Evaluated(drop, accuracy_row(drop, agreement), drift_rows(away.outputs))


def batch_size(*runners: Runner) -> int:
    """The batch that all of them take: the smallest fixed one (a converter's 1, mostly), else the default."""
    fixed = [
        spec.shape[0]
        for runner in runners
        for spec in runner.inputs
        if spec.shape and isinstance(spec.shape[0], int)
    ]
    return min([DEFAULT_BATCH_SIZE, *(size for size in fixed if isinstance(size, int))])


def check_same_interface(reference: Runner, candidate: Runner) -> None:
    """Raise InputError unless both have the same inputs and outputs by name and element type."""
    for kind, one, other in (
        ("inputs", reference.inputs, candidate.inputs),
        ("outputs", reference.outputs, candidate.outputs),
    ):
        wanted = {spec.name: spec.dtype for spec in one}
        have = {spec.name: spec.dtype for spec in other}
        if wanted != have:
            raise InputError(
                f"the artifact's {kind} are {have}, and the reference's are {wanted}",
                why="they are compared name by name",
                remedy="give the model that the artifact was made from as --reference",
            )


def accuracy_row(drop: Drop, agreement: float | None) -> AccuracyRow:
    """A drop as a row."""
    return AccuracyRow(
        metric=drop.metric,
        value=drop.candidate,
        reference=drop.reference,
        drop_pp=drop.value_pp,
        drop_low_pp=drop.low_pp,
        drop_high_pp=drop.high_pp,
        samples=drop.count,
        unit=drop.unit,
        method=drop.method,
        label_agreement=agreement,
    )


def drift_rows(outputs: tuple[OutputDrift, ...]) -> tuple[DriftRow, ...]:
    """Drift per output as rows."""
    return tuple(
        DriftRow(
            output=each.output,
            max_abs=each.max_abs,
            cosine=each.cosine,
            sqnr_db=each.sqnr_db,
            max_steps=each.max_steps,
        )
        for each in outputs
    )
