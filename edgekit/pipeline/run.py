"""`release`: recipe -> bundle. The only module that knows the order of the stages.

plan -> export -> data -> lock -> prune -> ranges -> reference -> targets -> agreement -> bundle -> lock ->
packages
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit import dataset, settings
from edgekit.bundle.processing import Processing
from edgekit.bundle.sign import Origin, Signer
from edgekit.dataset import Dataset, DataSource
from edgekit.errors import (
    BackendCrashError,
    EdgekitError,
    ExitCode,
    MissingBackendError,
    NonFiniteOutputError,
    RecipeError,
    TargetRefusalError,
)
from edgekit.pipeline import baseline as baselines
from edgekit.pipeline import cache as caches
from edgekit.pipeline import (
    embedded_bench,
    embedding,
    embedding_cost,
    labels,
    matrix,
    open_choice,
    prepare,
    processing,
    readiness_release,
    recipe_lines,
)
from edgekit.pipeline import framework as frameworks
from edgekit.pipeline import info as infos
from edgekit.pipeline import lock as locks
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline import workbench as workbenches
from edgekit.pipeline.baseline import Baseline
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.candidates import Outcome, try_target
from edgekit.pipeline.complete_rows import complete
from edgekit.pipeline.deliver import Inside, deliver
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.embedded_bench import Sides
from edgekit.pipeline.embedding import Embedded
from edgekit.pipeline.facts import stated_licenses
from edgekit.pipeline.gravest import gravest
from edgekit.pipeline.labels import Labels
from edgekit.pipeline.lock import Lock, LockedTarget
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.open_choice import Measured
from edgekit.pipeline.optimized import optimized_rows
from edgekit.pipeline.plan import Plan, TargetPlan
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.proof import Proof
from edgekit.pipeline.prove import ParityData
from edgekit.pipeline.prune import for_release
from edgekit.pipeline.prune.for_release import PrunedSource
from edgekit.pipeline.ranges import shared_samples
from edgekit.pipeline.release_packages import check_packages, with_packages
from edgekit.pipeline.result import AgreementRow, CalibrationRow, PairRow, ReleaseResult, TargetRow
from edgekit.pipeline.search import is_pruned_float
from edgekit.pipeline.snapshot import EVALUATION_DATA
from edgekit.pipeline.versions import tools
from edgekit.pipeline.workbench import Workbench
from edgekit.pipeline.write import write_text
from edgekit.preprocess import Step
from edgekit.recipe import CalibrationTable, EvaluationTable
from edgekit.spec import Embedding, Progress, Runner

Framework = tuple[str, Proof] | None
Render = Callable[[ReleaseResult], Mapping[str, bytes]]
"""Result -> report file name -> content; handed down, because reports stand above the pipeline."""


@dataclass(frozen=True)
class Locking:
    """Whether the lock is followed, and in which words.

    Attributes:
        lock: the lock to follow, or None.
        previous: the lock on disk, whose other targets are kept where their inputs are unchanged.
    """

    lock: Lock | None
    previous: Lock | None
    state: Literal["followed", "written", "updated"]
    reason: str


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
        return _chosen(_locking(plan, inputs, used, update=update), measured)

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
        rows = (*rows, *(readiness_release.checked(each, bench) for each in plan.checks))
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
            agreement=_agreement(outcomes),
            matrix=_matrix(outcomes, bench, framework),
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
        new_lock = _new_lock(
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
            lock_text=new_lock.text(),
            out=out,
            signer=signer,
            render=render,
        )
        if pruned is not None:
            for_release.keep_beside_lock(plan, pruned)
        write_text(plan.path.with_name(locks.NAME), new_lock.text())
        return with_packages(done, plan, out=out, progress=progress)


@dataclass(frozen=True, eq=False)
class Started:
    """A plan whose model, data and float truth are at hand; no candidate is made yet.

    Attributes:
        names: of the classes, where the recipe has them.
        around: what the app does before and after the model.
        insides: what is embedded, by what is asked for.
        prepared: gives what static quantization starts from.
        pruned: what [optimize] prune made; None without it.
        bench: of the model itself; ``benches`` has those with steps inside too.
        live: the framework, where it had to be loaded.
    """

    canonical: Canonical
    names: Labels | None
    learning: Dataset | None
    judging: Dataset
    around: Processing
    insides: Mapping[tuple[Embedding, ...], Embedded]
    tools: Mapping[str, str]
    inputs: Mapping[str, str]
    locking: Locking
    prepared: PreparedOnce
    pruned: PrunedSource | None
    bench: Workbench
    benches: Mapping[tuple[Embedding, ...], Workbench]
    live: list[Runner]


def start(
    plan: Plan,
    *,
    find: Callable[[Mapping[str, str], Mapping[str, str]], Locking],
    cache: Cache,
    progress: Progress,
    pruning: for_release.Given | None = None,
) -> Started:
    """Export the model, check the data, and prove the float truth.

    Args:
        plan: what is wanted.
        find: digests of the inputs, versions of the tools -> the lock that is followed.
        cache: where everything is kept.
        progress: told about each stage.
        pruning: what a sweep says of it.
    """
    live: list[Runner] = []
    canonical = _export(plan, cache, progress, live=live)
    names = labels.of_plan(plan, canonical.outputs)
    learning, judging = _data(plan, canonical)
    if judging.labels is not None:
        labels.check_boxes(names, judging.labels, metric=plan.recipe.data.evaluation.metric)
    around = processing.of_plan(plan, canonical, judging)
    insides = {
        asked: embedding.decide(asked, plan.recipe, canonical, whole=around, data=judging)
        for asked in dict.fromkeys(each.embed for each in plan.targets if each.embed)
    }
    baseline = _baseline(plan, judging)
    used_tools = tools(*_extras(plan, canonical))
    inputs = _input_digests(plan, canonical, learning, judging)
    locking = find(inputs, used_tools)
    pruned = for_release.obtain(
        plan,
        canonical,
        learning,
        locked=locking.lock.pruned if locking.lock else None,
        cache=cache,
        progress=progress,
        given=pruning,
    )
    made_of = pruned.canonical if pruned else canonical
    prepared = PreparedOnce(made_of, learning, plan=plan, lock=locking.lock, cache=cache, progress=progress)
    made = _bench(plan, canonical, (learning, judging), prepared, kept=(cache, progress))
    bench = replace(
        made,
        baseline=baseline,
        pruned=pruned.canonical if pruned else None,
        missed=pruned.missed if pruned else None,
    )
    benches: dict[tuple[Embedding, ...], Workbench] = {(): bench}
    for asked, inside in insides.items():
        benches[asked] = _embedded(plan, bench, inside, whole=around)
    return Started(
        canonical=canonical,
        names=names,
        learning=learning,
        judging=judging,
        around=around,
        insides=insides,
        tools=used_tools,
        inputs=inputs,
        locking=locking,
        prepared=prepared,
        pruned=pruned,
        bench=bench,
        benches=benches,
        live=live,
    )


def _export(plan: Plan, cache: Cache, progress: Progress, *, live: list[Runner]) -> Canonical:
    """The canonical model; ``live`` gets the framework where it had to be loaded."""
    table, data = plan.recipe.model, plan.recipe.data
    learning = data.calibration
    proving = ParityData(_source_of(learning), plan.base, data.preprocess) if learning is not None else None
    return models.obtain(
        plan.request, tolerance=table.tolerance, cache=cache, progress=progress, data=proving, live=live
    )


def _bench(
    plan: Plan,
    canonical: Canonical,
    data: tuple[Dataset | None, Dataset],
    prepared: Callable[[], Prepared],
    *,
    kept: tuple[Cache, Progress],
    steps: Sequence[Step] | None = None,
) -> Workbench:
    """What candidates are proved against; ``steps`` are the app's where others are embedded."""
    table = plan.recipe.data.evaluation
    cache, progress = kept
    return workbenches.make(
        canonical,
        judging=data[1],
        learning=data[0],
        metric=workbenches.metric_of(table.metric, base=plan.base),
        output=table.output,
        expected=table.expected,
        prepared=prepared,
        stem=plan.stem,
        info=infos.of_plan(plan, canonical.inputs, canonical.outputs, steps=steps),
        cache=cache,
        progress=progress,
    )


def _embedded(plan: Plan, bench: Workbench, inside: Embedded, *, whole: Processing) -> Workbench:
    """The workbench of the model with steps inside, which takes what the app has then."""
    tables = plan.recipe.data
    bench.progress.stage(f"embed {', '.join(inside.asked)}")
    canonical = embedded_bench.canonical_of(bench.canonical, inside)
    judging = _load(tables.evaluation, plan, canonical, labelled=True, steps=inside.steps)
    learning = None
    if bench.learning is not None and tables.calibration is not None:
        learning = _load(tables.calibration, plan, canonical, labelled=False, steps=inside.steps)
    embedded_bench.prove(Sides(bench.canonical, bench.data, canonical, judging), inside, whole=whole)
    prepared = embedded_bench.once(lambda: embedded_bench.prepared_of(bench.prepared(), inside))
    made = _bench(
        plan,
        canonical,
        (learning, judging),
        prepared,
        kept=(bench.cache, bench.progress),
        steps=inside.steps,
    )
    pruned = None if bench.pruned is None else embedded_bench.canonical_of(bench.pruned, inside)
    return replace(made, baseline=bench.baseline, pruned=pruned, missed=bench.missed)


def _inside(embedded: Embedded, bench: Workbench, used: Prepared | None) -> Inside:
    """What the bundle says of a model with steps inside; its ranges are those of the file ranges.json."""
    prepared = replace(bench.prepared(), ranges=used.ranges) if used is not None else None
    return Inside(embedded.processing, bench.canonical, prepared, bench.pruned)


def _matrix(outcomes: Mapping[str, Outcome], bench: Workbench, framework: Framework) -> tuple[PairRow, ...]:
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


def _data(plan: Plan, canonical: Canonical) -> tuple[Dataset | None, Dataset]:
    """Calibration and evaluation data, both checked against the model before anything long starts."""
    tables = plan.recipe.data
    learning = None
    if tables.calibration is not None and not canonical.quantized:
        learning = _load(tables.calibration, plan, canonical, labelled=False)
    return learning, _load(tables.evaluation, plan, canonical, labelled=True)


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


def _baseline(plan: Plan, judging: Dataset) -> Baseline | None:
    """The last release, where the recipe names one."""
    path = plan.recipe.budget.baseline
    if path is None:
        return None
    return baselines.load(
        path,
        base=plan.base,
        model=plan.recipe.model.name,
        data=judging.digest,
        metric=plan.recipe.data.evaluation.metric,
        machine=machine_row().key,
    )


def _shared(learning: Dataset | None, judging: Dataset, cache: Cache) -> tuple[str, ...]:
    """The finding that the model is judged on what its ranges were learned from, if it is."""
    return shared_samples(learning, judging, cache=cache) if learning is not None else ()


def _load(
    table: CalibrationTable,
    plan: Plan,
    canonical: Canonical,
    *,
    labelled: bool,
    steps: Sequence[Step] | None = None,
) -> Dataset:
    steps = plan.recipe.data.preprocess if steps is None else steps
    data = dataset.load(
        _source_of(table),
        inputs=canonical.inputs,
        base=plan.base,
        preprocess=steps,
        held_bytes=dataset.HELD_BYTES if labelled else 0,  # each candidate is judged on it
    )
    dataset.check(data, canonical.inputs, labelled=labelled)
    return data


def _source_of(table: CalibrationTable) -> DataSource:
    return DataSource(
        table.source,
        split=table.split,
        samples=table.samples,
        seed=table.seed,
        slices=table.slices if isinstance(table, EvaluationTable) else (),
    )


def _extras(plan: Plan, canonical: Canonical) -> tuple[str, ...]:
    """Whose versions count: the targets', the framework's, and what repairs a pruned model."""
    training = for_release.trained_with(plan.recipe.optimize.prune)
    return (*(each.target.extra for each in plan.targets), canonical.framework.split()[0], *training)


def _input_digests(
    plan: Plan, canonical: Canonical, learning: Dataset | None, judging: Dataset
) -> dict[str, str]:
    return {
        "recipe": plan.recipe_digest,
        "model": canonical.digest,
        "calibration data": learning.digest if learning else "",
        EVALUATION_DATA: judging.digest,
        **{f"file {name}": digest for name, digest in plan.files.items()},
        **{f"target {each.target.name}": each.digest for each in plan.targets},
    }


def _locking(plan: Plan, inputs: Mapping[str, str], used: Mapping[str, str], *, update: bool) -> Locking:
    lock = locks.read(plan.path)
    if lock is None:
        return Locking(None, None, "written", "there was none: every target was searched")
    if update:
        return Locking(None, lock, "updated", "--update was asked for: every target was searched")
    changed = lock.differences(inputs, used)
    if changed:
        return Locking(None, lock, "updated", f"it no longer matches ({', '.join(changed)}): searched again")
    absent = [each.target.name for each in plan.targets if each.target.name not in lock.targets]
    if absent:
        return Locking(None, lock, "updated", f"it does not name {', '.join(absent)}: searched again")
    return Locking(lock, lock, "followed", "its inputs and tools are unchanged")


def _chosen(locking: Locking, measured: Mapping[str, Measured]) -> Locking:
    """Evidence changes a lock that is followed otherwise: what ships is another one of its candidates."""
    if locking.lock is None or not measured:
        return locking
    said = ", ".join(f"{each.by} chose for {name}" for name, each in measured.items())
    return replace(locking, state="updated", reason=f"{said}; its inputs and tools are unchanged")


class PreparedOnce:
    """What plans are made from: out of the lock, or learned once when a candidate first needs it."""

    def __init__(
        self,
        canonical: Canonical,
        learning: Dataset | None,
        *,
        plan: Plan,
        lock: Lock | None,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self._table = plan.recipe.optimize.quantize
        wanted = (*plan.targets, *plan.checks)
        self._static = any(each.is_static for target in wanted for each in target.candidates)
        self._canonical = canonical
        self._learning = learning
        self._cache = cache
        self._progress = progress
        locked = lock.locked_ranges() if lock else None
        self._from_lock = locked is not None
        self._found: Prepared | None = None
        if lock is not None and locked is not None:
            self._found = prepare.again(canonical, locked, lock.locked_restoration())

    def __call__(self) -> Prepared:
        """It, learned where nobody has asked before."""
        if self._found is None:
            if self._learning is None:
                raise RecipeError(
                    "the recipe has no [data] calibration, and a candidate needs ranges",
                    why="static quantization (and fp16's guard against overflow) learns them from data",
                    remedy='add calibration = { source = "..." } under [data], or ask for precision = "fp32"',
                    more="docs/recipe.md",
                )
            self._found = prepare.prepare(
                self._canonical,
                self._learning,
                method=self._table.method,
                restore=self._table.restore if self._static else "none",
                exact=self._table.cross_cpu == "exact",
                cache=self._cache,
                progress=self._progress,
            )
        return self._found

    @property
    def used(self) -> Prepared | None:
        """It, if any candidate needed it."""
        return self._found

    @property
    def row(self) -> CalibrationRow | None:
        """What the ranges were learned from, if any candidate needed them."""
        if self._found is None:
            return None
        ranges = self._found.ranges
        return CalibrationRow(
            source=self._learning.name if self._learning else "",
            method=ranges.method,
            samples=ranges.samples,
            tensors=len(ranges.tensors),
            from_lock=self._from_lock,
            findings=self._found.findings,
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """What calibration noticed about the data."""
        return self._found.findings if self._found else ()


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


def _useless_waivers(plan: Plan, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    gates = {
        name: [(gate.name, gate.status) for each in outcome.judged for gate in each.verdict.gates]
        for name, outcome in outcomes.items()
    }
    known = dict.fromkeys([*gates, *(table.name for table in plan.recipe.target)])
    return plan.waiving.findings(gates, targets=tuple(known))


def _agreement(outcomes: Mapping[str, Outcome]) -> tuple[AgreementRow, ...]:
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


def _new_lock(
    locking: Locking,
    *,
    inputs: Mapping[str, str],
    used_tools: Mapping[str, str],
    made_of: tuple[Prepared | None, PrunedSource | None],
    outcomes: Mapping[str, Outcome],
) -> Lock:
    """The lock of this release; a followed one is kept to the byte, unless evidence has chosen.

    Its other targets are kept either way.
    """
    prepared, pruned = made_of
    targets = {name: _locked(each) for name, each in outcomes.items() if each.choice.judged is not None}
    if locking.lock is not None:
        chosen = {name: each for name, each in targets.items() if outcomes[name].chosen_by}
        return locking.lock.model_copy(update={"targets": {**locking.lock.targets, **chosen}})
    fresh = locks.make(
        inputs=inputs,
        tools=used_tools,
        ranges=prepared.ranges if prepared else None,
        restoration=prepared.restoration if prepared else None,
        pruned=pruned.locked if pruned else None,
        targets=targets,
    )
    return fresh.with_others_of(locking.previous) if locking.previous else fresh


def _locked(outcome: Outcome) -> LockedTarget:
    shipped = outcome.choice.judged
    assert shipped is not None  # noqa: S101  the caller has looked
    return LockedTarget(
        **dict(open_choice.locked_scheme(shipped)),
        candidates=tuple(open_choice.locked_scheme(each) for each in outcome.candidates),
        chosen_by=outcome.chosen_by,
    )
