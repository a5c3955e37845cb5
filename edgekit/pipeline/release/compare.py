"""Targets' outcomes -> how they compare with each other: equal labels, and the drift matrix."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from edgekit.pipeline import matrix
from edgekit.pipeline.candidates import Outcome
from edgekit.pipeline.proof import Proof
from edgekit.pipeline.result import AgreementRow, PairRow
from edgekit.pipeline.search import is_pruned_float
from edgekit.pipeline.workbench import Workbench

Framework = tuple[str, Proof] | None


def agreement(outcomes: Mapping[str, Outcome]) -> tuple[AgreementRow, ...]:
    """Label agreement of every two artifacts of equal plan on different targets, shipped or not."""
    planned = [
        (name, judged)
        for name, outcome in outcomes.items()
        for judged in outcome.judged
        if judged.artifact.plan_digest and judged.proof.labels is not None
    ]
    rows = []
    for (first, one), (second, other) in itertools.combinations(planned, 2):
        if first == second or one.artifact.plan_digest != other.artifact.plan_digest:
            continue
        pair = [each.proof.labels for each in (one, other) if each.proof.labels is not None]
        rows.append(AgreementRow(first, second, float(np.mean(pair[0] == pair[1])), len(pair[0])))
    return tuple(rows)


def drift_matrix(
    outcomes: Mapping[str, Outcome], bench: Workbench, framework: Framework
) -> tuple[PairRow, ...]:
    """The drift matrix: each target's float variant, and what ships or, where nothing does, was tried."""
    columns = {
        name: matrix.Column(
            each.judged[0],
            (each.choice.judged,) if each.choice.judged else each.judged[1:],
            next(filter(is_pruned_float, each.judged), None),
        )
        for name, each in outcomes.items()
    }
    return matrix.of_release(columns, reference=bench.reference, framework=framework)
