"""`release`: recipe -> bundle. The only module that knows the order of the stages.

plan -> export -> data -> lock -> prune -> ranges -> reference -> targets -> agreement -> bundle -> lock ->
packages
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from edgekit import settings
from edgekit.bundle.sign import Origin, Signer
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode
from edgekit.pipeline import cache as caches
from edgekit.pipeline import embedded_bench, open_choice, recipe_lines
from edgekit.pipeline import lock as locks
from edgekit.pipeline import plan as plans
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.candidates import Outcome
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.embedding import Embedded
from edgekit.pipeline.facts import stated_licenses
from edgekit.pipeline.gravest import gravest
from edgekit.pipeline.optimized import optimized_rows
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.prune import for_release
from edgekit.pipeline.ranges import shared_samples
from edgekit.pipeline.release import embedding_cost, readiness
from edgekit.pipeline.release import framework as frameworks
from edgekit.pipeline.release.compare import agreement, drift_matrix
from edgekit.pipeline.release.complete_rows import complete
from edgekit.pipeline.release.deliver import Inside, deliver
from edgekit.pipeline.release.locking import Locking, follow, new_lock, with_evidence
from edgekit.pipeline.release.packages import check_packages, with_packages
from edgekit.pipeline.release.start import start
from edgekit.pipeline.release.try_targets import try_all
from edgekit.pipeline.result import ReleaseResult
from edgekit.pipeline.workbench import Workbench
from edgekit.pipeline.write import write_text
from edgekit.spec import Progress

Render = Callable[[ReleaseResult], Mapping[str, bytes]]
"""Result -> report file name -> content; handed down, because reports stand above the pipeline."""


@blames_model
def release(
    recipe: Path,
    *,
    out: Path,
    targets: tuple[str, ...] = (),
    update: bool = False,
    dry_run: bool = False,
    use_cache: bool = True,
    cache_dir: Path | None = None,
    progress: Progress,
    render: Render | None = None,
    today: date | None = None,
    signer: Signer | None = None,
    evidence: tuple[Path, ...] = (),
    evidence_origin: Origin | None = None,
    allow_fallback: bool = False,
) -> ReleaseResult:
    """Run the whole job; ``today`` is the day that waivers are held against, ``signer`` signs the bundle.

    ``evidence`` is what devices measured of candidates, and ``evidence_origin`` must have signed it.
    ``allow_fallback``: targets on a GPU may leave operators to the CPU; they are listed.

    Raises:
        EdgekitError: bad input. Gates that fail, targets that refuse or are not here are in the result.
    """
    plan = plans.make(
        recipe, only=targets, today=today or datetime.now(UTC).date(), allow_fallback=allow_fallback
    )
    check_packages(plan)
    measured = open_choice.of_files(evidence, plan=plan, origin=evidence_origin)

    def find(inputs: Mapping[str, str], used: Mapping[str, str]) -> Locking:
        return with_evidence(follow(plan, inputs, used, update=update), measured)

    with caches.opened(cache_dir or settings.cache_dir(), use=use_cache) as cache:
        started = start(plan, find=find, cache=cache, progress=progress)
        canonical, bench, benches = started.canonical, started.bench, started.benches
        locking, prepared, inputs = started.locking, started.prepared, started.inputs
        learning, judging, names = started.learning, started.judging, started.names
        pruned = started.pruned
        table = plan.recipe.data.evaluation
        outcomes, rows = try_all(plan, benches, locking.lock, measured=measured)
        framework = frameworks.prove(plan.request, canonical, bench, live=started.live)
        rows = complete(
            rows,
            outcomes,
            budgets={each.target.name: each.budget for each in plan.targets},
            data=judging,
            reference=bench.reference.labels,
            classes=names.names if names else (),
            pictures=table.pictures,
        )
        rows = (*rows, *(readiness.checked(each, bench) for each in plan.checks))
        shipped = {name: o.choice.judged for name, o in outcomes.items() if o.choice.judged is not None}
        result = ReleaseResult(
            name=plan.recipe.model.name,
            version=plan.recipe.model.version,
            bundle=None,
            targets=rows,
            exit_code=gravest(row.exit_code for row in rows),
            lock="none" if dry_run and locking.lock is None else locking.state,
            lock_reason="a dry run writes none" if dry_run and locking.lock is None else locking.reason,
            machine=machine_row(),
            agreement=agreement(outcomes),
            matrix=drift_matrix(outcomes, bench, framework),
            findings=(
                *canonical.notes,
                *prepared.findings,
                *_shared(learning, judging, cache),
                *(
                    embedded_bench.finding(bench, benches[asked], each)
                    for asked, each in started.insides.items()
                ),
                *embedding_cost.costs(plan, shipped, benches),
                *(finding for outcome in outcomes.values() for finding in outcome.findings),
                *_useless_waivers(plan, outcomes),
            ),
            tools=started.tools,
            inputs=inputs,
            recipe=_from_here(plan.path),
            lines=_lines(plan),
            calibration=prepared.row,
            licenses=stated_licenses(plan),
            pruning=pruned.result if pruned else None,
            optimized=optimized_rows(outcomes),
        )
        if dry_run or result.exit_code is not ExitCode.OK or not shipped:
            return result
        lock = new_lock(
            locking,
            inputs=inputs,
            used_tools=started.tools,
            made_of=(prepared.used, pruned),
            outcomes=outcomes,
        )
        progress.stage("write the bundle")
        done = deliver(
            plan,
            canonical,
            result=result,
            shipped=shipped,
            waiting={name: each.candidates for name, each in outcomes.items() if not each.chosen_by},
            around=started.around,
            inside={
                each.target.name: _inside(started.insides[each.embed], benches[each.embed], prepared.used)
                for each in plan.targets
                if each.embed
            },
            data=judging,
            prepared=prepared.used,
            pruned=pruned,
            lock_text=lock.text(),
            out=out,
            signer=signer,
            render=render,
        )
        if pruned is not None:
            for_release.keep_beside_lock(plan, pruned)
        write_text(plan.path.with_name(locks.NAME), lock.text())
        return with_packages(done, plan, out=out, progress=progress)


def _inside(embedded: Embedded, bench: Workbench, used: Prepared | None) -> Inside:
    """What the bundle says of a model with steps inside; its ranges are those of the file ranges.json."""
    prepared = replace(bench.prepared(), ranges=used.ranges) if used is not None else None
    return Inside(embedded.processing, bench.canonical, prepared, bench.pruned)


def _from_here(path: Path) -> str:
    """Relative to the working folder where it is below it: a CI knows its checkout, and no other folder."""
    whole = path.resolve()
    return (whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole).as_posix()


def _lines(plan: Plan) -> dict[str, int]:
    """The line of each key of the recipe, targets by the names that the result calls them."""
    names = {place: table.name for place, table in enumerate(plan.recipe.target)}
    for each in plan.targets:
        names |= {place: each.target.name for place, name in names.items() if name == each.named}
    return recipe_lines.named(recipe_lines.lines_of(plan.path.read_text("utf-8")), names)


def _shared(learning: Dataset | None, judging: Dataset, cache: Cache) -> tuple[str, ...]:
    """The finding that the model is judged on what its ranges were learned from, if it is."""
    return shared_samples(learning, judging, cache=cache) if learning is not None else ()


def _useless_waivers(plan: Plan, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    gates = {
        name: [(gate.name, gate.status) for each in outcome.judged for gate in each.verdict.gates]
        for name, outcome in outcomes.items()
    }
    known = dict.fromkeys([*gates, *(table.name for table in plan.recipe.target)])
    return plan.waiving.findings(gates, targets=tuple(known))
