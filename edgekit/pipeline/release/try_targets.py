"""Plan x workbenches -> what each target's candidates came to, and its row of the result."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import (
    BackendCrashError,
    EdgekitError,
    MissingBackendError,
    NonFiniteOutputError,
    TargetRefusalError,
)
from edgekit.pipeline import embedding
from edgekit.pipeline.candidates import Outcome, try_target
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.open_choice import Measured
from edgekit.pipeline.plan import Plan, TargetPlan
from edgekit.pipeline.result import TargetRow
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import Embedding


def try_all(
    plan: Plan,
    benches: Mapping[tuple[Embedding, ...], Workbench],
    lock: Lock | None,
    *,
    measured: Mapping[str, Measured],
    timed: bool = True,
) -> tuple[dict[str, Outcome], tuple[TargetRow, ...]]:
    """Every target, also after one failed: the report names all reasons at once.

    Without ``timed`` no latency is measured here: somebody else does (``sweep``).
    """
    outcomes: dict[str, Outcome] = {}
    rows = []
    for target in plan.targets:
        name = target.target.name
        missed = benches[target.embed].missed
        if missed is not None:
            rows.append(TargetRow(name, chosen=None, reason=missed[0], exit_code=missed[1]))
            continue
        try:
            locked = lock.targets.get(name) if lock else None
            outcome = try_target(
                target, benches[target.embed], locked=locked, measured=measured.get(name), timed=timed
            )
        except (TargetRefusalError, MissingBackendError, NonFiniteOutputError, BackendCrashError) as error:
            rows.append(_failed_row(target, error))
            continue
        outcomes[name] = outcome
        choice = outcome.choice
        rows.append(
            TargetRow(
                target=name,
                chosen=choice.judged.row.precision if choice.judged else None,
                reason=choice.reason,
                exit_code=choice.exit_code,
                candidates=tuple(each.row for each in outcome.judged),
            )
        )
    return outcomes, tuple(rows)


def _failed_row(target: TargetPlan, error: EdgekitError) -> TargetRow:
    rejections = error.rejections if isinstance(error, TargetRefusalError) else ()
    rejections = tuple(map(embedding.with_remedy, rejections))
    return TargetRow(
        target=target.target.name,
        chosen=None,
        reason=error.what if rejections else str(error),  # reports list the rejections themselves
        exit_code=error.exit_code,
        rejections=rejections,
    )
