"""Artifacts -> the pairs of the drift matrix that matter; a pair's evaluations and drift -> PairRow.

    framework --export--> ONNX float --runtime--> each runtime's float --quantization--> its candidate
                                                  where it is pruned:  --pruning--> --quantization-->
                          ONNX float ------------------- whole -------------------------> its candidate
                          candidates of equal plan on two runtimes: across

Other pairs say nothing new: they are sums of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgekit.errors import DataError
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED, accuracy_row, agreement_of, drift_rows
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.proof import Proof, drift_of
from edgekit.pipeline.result import AccuracyRow, PairRow
from edgekit.spec import Artifact, Precision
from edgekit.validation.drift import Drift
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.statistics import paired_drop

REFERENCE = "ONNX float"
Kind = Literal["export", "runtime", "pruning", "quantization", "whole", "across"]


@dataclass(frozen=True)
class Pair:
    """Two places among (the float reference, artifact 1, artifact 2, ...)."""

    first: int
    second: int
    step: Kind


def pairs_of(artifacts: Sequence[Artifact]) -> tuple[Pair, ...]:
    """The pairs among the float reference (place 0) and ``artifacts`` (places 1, 2, ...)."""
    placed = list(enumerate(artifacts, start=1))
    found = [Pair(0, place, "runtime" if _is_float(each) else "whole") for place, each in placed]
    for (a, one), (b, other) in itertools.permutations(placed, 2):
        if _is_float(one) and not _is_float(other) and one.target == other.target:
            found.append(Pair(a, b, "quantization"))
    for (a, one), (b, other) in itertools.combinations(placed, 2):
        if one.plan_digest and one.plan_digest == other.plan_digest and one.target != other.target:
            found.append(Pair(a, b, "across"))
    return tuple(found)


def _is_float(artifact: Artifact) -> bool:
    return artifact.precision is Precision.FP32 and not artifact.plan_digest


def pair_row(
    first: tuple[str, Evaluation], second: tuple[str, Evaluation], *, step: Kind, drift: Drift | None
) -> PairRow:
    """One pair as a row.

    Args:
        first: name and evaluation of the one that the other is held against.
        second: likewise.
        step: what lies between them.
        drift: of the second's outputs against the first's; None where they were not kept.
    """
    return PairRow(
        first=first[0],
        second=second[0],
        step=step,
        accuracy=_accuracy(first[1], second[1], drift),
        drift=drift_rows(drift.outputs) if drift else (),
    )


def _accuracy(first: Evaluation, second: Evaluation, drift: Drift | None) -> AccuracyRow | None:
    """The drop between the two; None where it has no value: a relative one against no error at all."""
    try:
        drop = paired_drop(first, second, seed=BOOTSTRAP_SEED)
    except DataError:
        return None
    return accuracy_row(drop, agreement_of(drift) if drift else None, (first, second))


@dataclass(frozen=True, eq=False)
class Column:
    """What one target contributes: its float variant, and what ships or, where nothing does, was tried.

    Attributes:
        pruned: the pruned float form, where there is one.
    """

    baseline: Judged
    chosen: tuple[Judged, ...]
    pruned: Judged | None = None


def of_release(
    columns: Mapping[str, Column], *, reference: Proof, framework: tuple[str, Proof] | None
) -> tuple[PairRow, ...]:
    """The matrix of a release, out of proofs: nothing runs.

    Args:
        columns: by target name.
        reference: of the float truth.
        framework: its name and its proof on the first samples; None where the source is an ONNX file.
    """
    rows = []
    if framework is not None:
        name, proof = framework
        count = proof.evaluation.count
        drift = drift_of(proof.kept(), reference.kept(), {})
        onnx = (REFERENCE, first_samples(reference.evaluation, count))
        rows.append(pair_row((name, proof.evaluation), onnx, step="export", drift=drift))
    for column in columns.values():
        rows += _of_target(column)
    rows += _across([each for column in columns.values() for each in column.chosen])
    return tuple(rows)


def _of_target(column: Column) -> Iterator[PairRow]:
    start, pruned = column.baseline, column.pruned
    yield _known(start, step="runtime")
    if pruned is not None and any(each.scheme.pruned for each in column.chosen):
        yield _between(start, pruned, step="pruning")
    for each in column.chosen:
        if each is start or each.row.role == "float":
            continue
        if each is not pruned:
            before = pruned if pruned is not None and each.scheme.pruned else start
            yield _between(before, each, step="quantization")
        yield _known(each, step="whole")


def _known(judged: Judged, *, step: Kind) -> PairRow:
    """Against the float truth: the candidate's own row has both figures already."""
    return PairRow(REFERENCE, _label(judged), step, judged.row.accuracy, judged.row.drift)


def _between(one: Judged, other: Judged, *, step: Kind) -> PairRow:
    return pair_row(
        (_label(one), one.proof.evaluation),
        (_label(other), other.proof.evaluation),
        step=step,
        drift=drift_of(one.proof.kept(), other.proof.kept(), other.artifact.output_steps),
    )


def _across(chosen: Sequence[Judged]) -> Iterator[PairRow]:
    for one, other in itertools.combinations(chosen, 2):
        same = one.artifact.plan_digest and one.artifact.plan_digest == other.artifact.plan_digest
        if same and one.artifact.target != other.artifact.target:
            yield _between(one, other, step="across")


def _label(judged: Judged) -> str:
    return f"{judged.row.target} {judged.row.name}"


def first_samples(evaluation: Evaluation, count: int) -> Evaluation:
    """The evaluation of the first ``count`` samples.

    Raises:
        DataError: the metric has no value on them.
    """
    if count >= evaluation.count:
        return evaluation
    statistics = {name: array[:count] for name, array in evaluation.statistics.items()}
    return replace(
        evaluation,
        value=evaluation.row.value(statistics),
        statistics=statistics,
        count=count,
        confidence=None if evaluation.confidence is None else evaluation.confidence[:count],
        mispaired=None,
    )
