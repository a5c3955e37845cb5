"""Artifacts -> the pairs of the drift matrix that matter; a pair's evaluations and drift -> PairRow.

    framework --export--> ONNX float --runtime--> each runtime's float --quantization--> its candidate
                          ONNX float ------------------- whole -------------------------> its candidate
                          candidates of equal plan on two runtimes: across

Other pairs say nothing new: they are sums of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.pipeline.evaluation import BOOTSTRAP_SEED, accuracy_row, agreement_of, drift_rows
from edgekit.pipeline.result import PairRow
from edgekit.spec import Artifact, Precision
from edgekit.validation.drift import Drift
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.statistics import paired_drop

REFERENCE = "ONNX float"
FRAMEWORK = "the framework"
Kind = Literal["export", "runtime", "quantization", "whole", "across"]


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


def name_of(artifact: Artifact) -> str:
    """Target and precision."""
    return f"{artifact.target} {artifact.precision}"


def pair_row(
    first: tuple[str, Evaluation], second: tuple[str, Evaluation], *, step: Kind, drift: Drift
) -> PairRow:
    """One pair as a row.

    Args:
        first: name and evaluation of the one that the other is held against.
        second: likewise.
        step: what lies between them.
        drift: of the second's outputs against the first's.
    """
    drop = paired_drop(first[1], second[1], seed=BOOTSTRAP_SEED)
    return PairRow(
        first=first[0],
        second=second[0],
        step=step,
        accuracy=accuracy_row(drop, agreement_of(drift), (first[1], second[1])),
        drift=drift_rows(drift.outputs),
    )
