"""Plan -> its model, its data and the float truth at hand: everything before the first candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit import dataset
from edgekit.bundle.processing import Processing
from edgekit.dataset import Dataset, DataSource
from edgekit.ir.external_data import room
from edgekit.pipeline import baseline as baselines
from edgekit.pipeline import embedded_bench, embedding, labels, processing
from edgekit.pipeline import info as infos
from edgekit.pipeline import model as models
from edgekit.pipeline import workbench as workbenches
from edgekit.pipeline.baseline import Baseline
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.embedded_bench import Sides
from edgekit.pipeline.embedding import Embedded
from edgekit.pipeline.labels import Labels
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.prove import ParityData
from edgekit.pipeline.prune import for_release
from edgekit.pipeline.prune.for_release import PrunedSource
from edgekit.pipeline.release.locking import Locking
from edgekit.pipeline.release.prepared_once import PreparedOnce
from edgekit.pipeline.snapshot import EVALUATION_DATA
from edgekit.pipeline.versions import tools
from edgekit.pipeline.workbench import Workbench
from edgekit.preprocess import Step
from edgekit.recipe import CalibrationTable, EvaluationTable
from edgekit.spec import Embedding, Progress, Runner


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


def _data(plan: Plan, canonical: Canonical) -> tuple[Dataset | None, Dataset]:
    """Calibration and evaluation data, both checked against the model before anything long starts."""
    tables = plan.recipe.data
    learning = None
    if tables.calibration is not None and not canonical.quantized:
        learning = _load(tables.calibration, plan, canonical, labelled=False)
    return learning, _load(tables.evaluation, plan, canonical, labelled=True)


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
        # each candidate is judged on it
        held_bytes=room(canonical.model, most=dataset.HELD_BYTES) if labelled else 0,
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
