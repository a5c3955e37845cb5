"""Runners x labelled data -> drops, drifts and metrics as rows: what `quantize` and `validate` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import dataset
from edgekit.dataset import Dataset, DataSource
from edgekit.errors import InputError, NonFiniteOutputError
from edgekit.pipeline.known_outputs import KnownOutputs, Replay
from edgekit.pipeline.result import AccuracyRow, DriftRow, GroupRow
from edgekit.preprocess import Step
from edgekit.spec import Array, Progress, Runner, TensorSpec
from edgekit.validation.compare import Compared, Side, compare
from edgekit.validation.confidence import calibration_error
from edgekit.validation.drift import Drift, OutputDrift
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE, Evaluation
from edgekit.validation.groups import Group
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.own_metric import metric_named
from edgekit.validation.reference import check_reference, shuffled
from edgekit.validation.statistics import Drop, paired_drop

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Evaluated:
    """The candidate's loss, and how far its outputs are from the reference's."""

    drop: Drop
    accuracy: AccuracyRow
    drift: tuple[DriftRow, ...]


def load_labelled(
    source: str,
    inputs: tuple[TensorSpec, ...],
    *,
    samples: int | None = None,
    preprocess: tuple[Step, ...] = (),
    slices: tuple[str, ...] = (),
    held_bytes: int = 0,
) -> Dataset:
    """Labelled data that fits ``inputs``; relative paths start at the current folder.

    Raises:
        DataError: the data does not fit.
    """
    asked = DataSource(source, samples=samples, slices=slices)
    data = dataset.load(asked, inputs=inputs, base=Path.cwd(), preprocess=preprocess, held_bytes=held_bytes)
    dataset.check(data, inputs, labelled=True)
    return data


def evaluate_pair(
    reference: Runner,
    candidate: Runner,
    data: Dataset,
    *,
    metric: str,
    output_steps: Mapping[str, float],
    progress: Progress,
    expected: float | None = None,
    known: KnownOutputs | None = None,
) -> Evaluated:
    """Run both on the same samples; the reference should score ``expected``, where that is stated.

    Args:
        reference: the float model, or its ``known`` outputs.
        candidate: what is judged.
        data: of ``load_labelled``.
        metric: of the table, or the user's own.
        output_steps: one quantization step of the candidate's outputs, by name.
        progress: told about the samples.
        expected: what the reference should score.
        known: where the reference's outputs are kept for the next candidate.

    Raises:
        InputError: candidate and reference do not take and give the same tensors.
        DataError: the data does not fit.
        NonFiniteOutputError: the candidate's outputs are not finite.
    """
    check_same_interface(reference, candidate)
    fresh = known is not None and known.fits and not isinstance(reference, Replay)
    sides = (
        Side("float reference", reference, is_reference=True),
        Side("candidate", candidate, output_steps),
    )
    found = compare_on(
        data,
        sides,
        pairs=[(0, 1)],
        metric=metric_named(metric, base=Path.cwd()),
        mispaired=shuffled(data.labels) if data.labels is not None else None,
        keep=data.count if fresh else 0,
        progress=progress,
    )
    if known is not None and fresh:
        known.keep(found.kept[0])
    assert data.labels is not None  # noqa: S101  load_labelled has refused such data
    check_reference(evaluation_of(found, 0), data.labels, expected=expected)
    first, second = (evaluation_of(found, place) for place in (0, 1))
    drop = paired_drop(first, second, seed=BOOTSTRAP_SEED)
    away = found.drifts[0, 1]
    return Evaluated(drop, accuracy_row(drop, agreement_of(away), (first, second)), drift_rows(away.outputs))


def compare_on(
    data: Dataset,
    sides: Sequence[Side],
    *,
    pairs: Sequence[tuple[int, int]],
    metric: TaskMetric,
    output: str = "",
    mispaired: Array | None = None,
    keep: int = 0,
    progress: Progress,
) -> Compared:
    """``compare`` on checked, labelled data."""
    assert data.labels is not None  # noqa: S101  dataset.check has refused such data
    return compare(
        sides,
        pairs=pairs,
        metric=metric,
        batches=data.batches,
        labels=data.labels,
        count=data.count,
        output=output or None,
        mispaired=mispaired,
        keep=keep,
        progress=progress,
        batch_size=DEFAULT_BATCH_SIZE,
    )


def evaluation_of(found: Compared, place: int) -> Evaluation:
    """The evaluation of the side at ``place``.

    Raises:
        NonFiniteOutputError: it has none.
    """
    evaluation = found.evaluations[place]
    if isinstance(evaluation, NonFiniteOutputError):
        raise evaluation
    return evaluation


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


def accuracy_row(
    drop: Drop, agreement: float | None, pair: tuple[Evaluation, Evaluation] | None = None
) -> AccuracyRow:
    """A drop as a row; ``pair`` is reference and candidate, for their calibration errors."""
    errors = [
        calibration_error(np.asarray(each.confidence, np.float64))
        for each in pair or ()
        if each.confidence is not None
    ]
    reference, candidate = errors if len(errors) == 2 else (None, None)
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
        calibration_error=candidate,
        calibration_error_reference=reference,
    )


def agreement_of(away: Drift) -> float | None:
    """Share of equal labels, where there is one output and it has classes."""
    return away.outputs[0].label_agreement if len(away.outputs) == 1 else None


MOST_GROUPS = 50  # rows of a result: the largest losses; of a thousand classes the rest says little


def group_rows(groups: Sequence[Group], standing_out: Sequence[Group]) -> tuple[GroupRow, ...]:
    """Classes and slices as rows, the largest loss first."""
    return tuple(
        GroupRow(
            kind=each.kind,
            group=each.name,
            samples=each.samples,
            value=each.candidate,
            reference=each.reference,
            drop_pp=each.drop,
            drop_low_pp=each.low,
            drop_high_pp=each.high,
            unit=each.unit,
            stands_out=each in standing_out,
        )
        for each in groups[:MOST_GROUPS]
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
            flips=each.flips,
            kl=each.kl,
            samples=each.samples,
        )
        for each in outputs
    )
