"""Check targets of a recipe -> their rows of a release: one for each precision, none of which ships.

Their precisions are made as any candidate's are, from the same ranges, so what is asked about is what would
be deployed. Nothing is proved, timed or judged, and the exit code is not theirs.
"""

from __future__ import annotations

from edgekit.errors import ExitCode
from edgekit.pipeline import variant
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.readiness import check
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.pipeline.result import TargetRow
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import Precision


def checked(plan: TargetPlan, bench: Workbench) -> TargetRow:
    """The row of a check: what it would take of each precision of its ladder, or of the one that is named."""
    name, found = plan.target.name, dict[Precision, ReadinessRow]()
    wanted = plan.target.ladder if plan.precision is Precision.AUTO else (plan.precision,)
    for precision in wanted:
        bench.progress.stage(f"{name}: check {precision}")
        prepared = bench.prepared() if precision.is_static and not bench.canonical.quantized else None
        made = variant.make(
            bench.pruned or bench.canonical,
            plan.target,
            Scheme(precision),
            prepared,
            overrides=plan.overrides,
        )
        found[made.precision] = check(made, plan.target, sizes=plan.sizes)
    rows = tuple(found.values())
    said = "; ".join(f"{row.precision}: {row.sentence}" for row in rows)
    return TargetRow(
        target=name,
        chosen=None,
        reason=f"{plan.target.marked}; {said}",
        exit_code=ExitCode.OK,
        readiness=rows,
    )
