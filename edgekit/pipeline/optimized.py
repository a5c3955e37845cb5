"""Judged candidates of a pruned release -> what each step cost and gave: float, pruned, quantized.

All figures are those of the candidates' own proofs and of one interleaved measurement: nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from edgekit.errors import DataError
from edgekit.pipeline.candidates import Outcome
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.result import OptimizedRow
from edgekit.pipeline.search import is_pruned_float
from edgekit.validation.statistics import paired_drop

Step = Literal["float", "pruned", "quantized"]


def optimized_rows(outcomes: Mapping[str, Outcome]) -> tuple[OptimizedRow, ...]:
    """One row for each step on each target; () where nothing was pruned."""
    return tuple(row for outcome in outcomes.values() for row in _of_target(outcome))


def _of_target(outcome: Outcome) -> Iterator[OptimizedRow]:
    pruned = next((each for each in outcome.judged if is_pruned_float(each)), None)
    if pruned is None:
        return
    float_ = outcome.judged[0]
    yield _row("float", float_, None)
    yield _row("pruned", pruned, float_)
    others = [each for each in outcome.judged[1:] if each is not pruned]
    shipped = [each for each in others if each.row.shipped]
    for each in (shipped or others)[:1]:  # where none of them ships, the first that was tried
        yield _row("quantized", each, pruned)


def _row(step: Step, judged: Judged, before: Judged | None) -> OptimizedRow:
    row = judged.row
    return OptimizedRow(
        target=row.target,
        step=step,
        label=row.name,
        accuracy=row.accuracy,
        cost=_cost(before, judged) if before else None,
        latency=row.latency,
        ratio=row.ratio,
        faster=_faster(before, judged) if before else None,
        size_bytes=row.size_bytes,
        smaller=before.row.size_bytes / row.size_bytes if before else None,
        shipped=row.shipped,
    )


def _cost(before: Judged, after: Judged) -> float | None:
    """None where a relative drop has no value: against no error at all."""
    try:
        return paired_drop(before.proof.evaluation, after.proof.evaluation, seed=BOOTSTRAP_SEED).value_pp
    except DataError:
        return None


def _faster(before: Judged, after: Judged) -> float | None:
    """Ratio to float against ratio to float: they were measured in the same rounds."""
    if after.row.ratio is None or before.row.latency is None:
        return None
    return (before.row.ratio.value if before.row.ratio else 1.0) / after.row.ratio.value
