"""Targets' rows -> the same with what a reader compares them by: limits, the Pareto front, flipped samples.

Nothing here decides anything: what ships is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.dataset import Dataset
from edgekit.pipeline.candidates import Outcome
from edgekit.pipeline.flips import Classes, Labelled, flips
from edgekit.pipeline.latency import LIMIT
from edgekit.pipeline.pareto import beaten_by
from edgekit.pipeline.result import FlipsRow, TargetRow
from edgekit.validation.budget import Budget


def complete(
    rows: Sequence[TargetRow],
    outcomes: Mapping[str, Outcome],
    *,
    budgets: Mapping[str, Budget],
    data: Dataset,
    reference: Classes | None,
    classes: Sequence[str],
    pictures: bool,
) -> tuple[TargetRow, ...]:
    """Fill in what the choice itself does not need.

    Args:
        rows: one for each target.
        outcomes: by target; without those that could not be tried.
        budgets: by target.
        data: the evaluation set.
        reference: (samples,) most likely classes of the float reference; None where it gives none.
        classes: names of the classes, where they are known.
        pictures: whether flipped samples that are images are shown.
    """
    found = _flips(outcomes, data, reference, classes=classes, pictures=pictures)
    return tuple(
        replace(
            row,
            limits=_limits(budgets[row.target]),
            candidates=tuple(
                replace(each, beaten_by=better, flips=found.get(f"{row.target} {each.name}"))
                for each, better in zip(row.candidates, beaten_by(row.candidates), strict=True)
            ),
        )
        for row in rows
    )


def _limits(budget: Budget) -> dict[str, float]:
    limits = {
        "max_drop_pp": budget.max_drop_pp,
        "max_size_bytes": budget.max_size_bytes,
        "max_latency_ms": budget.max_latency_ms,
        "max_memory_bytes": budget.max_memory_bytes,
        "min_coverage": budget.min_coverage,
        "max_group_drop_pp": budget.max_group_drop_pp,
        "never_slower": LIMIT if budget.never_slower else None,
    }
    return {name: float(limit) for name, limit in limits.items() if limit is not None}


def _flips(
    outcomes: Mapping[str, Outcome],
    data: Dataset,
    reference: Classes | None,
    *,
    classes: Sequence[str],
    pictures: bool,
) -> dict[str, FlipsRow]:
    """Of what ships; where nothing does, of everything that was tried."""
    if reference is None:
        return {}
    sides = {
        f"{name} {each.row.name}": Labelled(reference, each.proof.labels)
        for name, outcome in outcomes.items()
        for each in outcome.judged
        if each.proof.labels is not None
        and (each.row.shipped or (outcome.choice.judged is None and each.row.role == "candidate"))
    }
    return flips(sides, data, classes=classes, pictures=pictures)
