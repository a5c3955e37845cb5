"""`validate`: artifacts x float reference x labelled data -> verdict of each, and the drift matrix.

One pass: the reference and every artifact see each batch once, at the same time, each in its own process, or
one after the other where the reference is large (``in_turn``). It does not run where its outputs on this data
are known (``known_outputs``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edgekit import settings
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, InputError, NonFiniteOutputError
from edgekit.ir import io
from edgekit.ir.external_data import is_large
from edgekit.pipeline import fallback, in_turn, judge, known_outputs, matrix, software_gpu, steps
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.allow_fallback import allowing, check_artifacts
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import (
    BOOTSTRAP_SEED,
    accuracy_row,
    agreement_of,
    check_same_interface,
    compare_on,
    drift_rows,
    evaluation_of,
    group_rows,
    load_labelled,
)
from edgekit.pipeline.flips import Labelled, flips
from edgekit.pipeline.in_turn import Recorded
from edgekit.pipeline.known_outputs import KnownOutputs, Replay
from edgekit.pipeline.open import artifacts_at, open_artifact
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import GateRow, PairRow, ValidatedRow, ValidateResult
from edgekit.spec import Artifact, Progress, Runner, RunOptions, Session, TensorSpec
from edgekit.validation.budget import Budget, verdict_of
from edgekit.validation.budget import judge as hold
from edgekit.validation.compare import Compared, Side
from edgekit.validation.group_gate import group_gates, outstanding, sentence
from edgekit.validation.groups import group_drops
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.own_metric import metric_named
from edgekit.validation.reference import check_reference, shuffled
from edgekit.validation.statistics import paired_drop

# The gravest first: the exit code where artifacts differ.
_GRAVITY = (ExitCode.ACCURACY_GATE, ExitCode.LATENCY_OR_SIZE_GATE, ExitCode.INCONCLUSIVE, ExitCode.OK)


_SEED = 0  # of the inputs on which shares of time are measured


@dataclass(frozen=True)
class Held:
    """One artifact under the reference's names, as the result calls it."""

    name: str
    artifact: Artifact
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What artifacts are held against: the figures that flags or a recipe name."""

    metric: TaskMetric
    budget: Budget
    expected: float | None = None


@blames_model
def validate(
    artifacts: Sequence[Path],
    *,
    reference: Path,
    data: str,
    metric: str,
    max_drop_pp: float,
    samples: int | None,
    progress: Progress,
    preprocess: Path | None = None,
    expected: float | None = None,
    slices: tuple[str, ...] = (),
    max_group_drop_pp: float | None = None,
    cache_dir: Path | None = None,
    allow_fallback: bool = False,
) -> ValidateResult:
    """Hold ``artifacts`` against ``reference`` on their real runtimes.

    Args:
        artifacts: files; a folder or a bundle stands for every artifact in it.
        reference: the float ONNX model.
        data: labelled data.
        metric: of the table, or the user's own.
        max_drop_pp: largest loss of it.
        samples: at most so many.
        progress: told about each stage.
        preprocess: file of steps (``steps.read``) from the samples of ``data`` to the model's inputs.
        expected: what the reference should score.
        slices: arrays of ``data`` that name groups of samples.
        max_group_drop_pp: largest loss of any class or slice.
        cache_dir: where the reference's outputs are kept, in place of the usual one.
        allow_fallback: operators may run on the CPU beside a GPU; the notes list them.

    Raises:
        InputError: a file cannot be read, or they do not belong together.
        DataError: the data does not fit, or the reference itself scores as if it were another's.
    """
    done_first = steps.read(preprocess)
    budget = Budget(max_drop_pp=max_drop_pp, max_group_drop_pp=max_group_drop_pp)
    asked = Asked(metric_named(metric, base=Path.cwd()), budget, expected)
    model = io.load(reference)
    inputs, outputs = io.specs(model)
    held = _held(artifacts, inputs, outputs, progress=progress)
    if allow_fallback:
        check_artifacts(each.artifact for each in held)
        held = tuple(replace(each, artifact=allowing(each.artifact)) for each in held)
    cache = Cache(cache_dir or settings.cache_dir())
    alone = is_large(model)
    with ExitStack() as stack, ThreadPoolExecutor(len(held) + 1) as starting:
        openers = [] if alone else [starting.submit(open_artifact, each.artifact) for each in held]
        sessions = stack.enter_context(_Opening(openers))
        labelled = load_labelled(data, inputs, samples=samples, preprocess=done_first, slices=slices)
        known = known_outputs.of_model(model, labelled, cache=cache)

        def running(name: str, opened: Callable[[], Session]) -> Session | Recorded:
            context = in_turn.running(opened, labelled, alone=alone, name=name, progress=progress)
            return stack.enter_context(context)

        truth: Runner | None = known.runner()
        if truth is None:
            truth = running("float reference", partial(open_model, model, RunOptions()))
        else:
            progress.note("the float reference's outputs on this data are known: it does not run again")
        others: tuple[Session | Recorded, ...] = sessions.opened()
        if alone:
            others = tuple(running(each.name, partial(open_artifact, each.artifact)) for each in held)
        return compared(
            held,
            (truth, *others),
            labelled,
            asked=asked,
            reference=str(reference),
            progress=progress,
            known=known,
        )


def _held(
    artifacts: Sequence[Path],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    progress: Progress,
) -> tuple[Held, ...]:
    found = []
    for path in artifacts:
        for name, artifact in artifacts_at(path).items():
            _check_nothing_inside(name, artifact, inputs)
            aligned, notes = in_terms_of(artifact, inputs, outputs)
            for note in notes:
                progress.note(note)
            found.append(Held(name, aligned, notes))
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice or not found:
        raise InputError(
            f"{twice} is named twice" if twice else "no artifact was named",
            why="each artifact is judged once",
            remedy="edgekit validate ARTIFACT... --reference MODEL.onnx --data DATA",
        )
    return tuple(found)


def _check_nothing_inside(name: str, artifact: Artifact, inputs: tuple[TensorSpec, ...]) -> None:
    """Say why bytes and floats cannot be compared here.

    Raises:
        InputError: the artifact takes bytes where the reference takes pre-processed floats.
    """
    floats = {spec.name for spec in inputs if spec.dtype == "float32"}
    found = [
        each for each in artifact.inputs if each.reference.dtype == "uint8" and each.reference.name in floats
    ]
    if found:
        raise InputError(
            f"{name} takes bytes as {found[0].reference.name!r}, and the reference takes float32",
            why="steps of the app are inside it (embed), and validate feeds both sides the same arrays",
            remedy="edgekit verify BUNDLE replays it from raw samples, and a release proves it on all data;"
            " or name a target whose embed is [] in the recipe",
            more="docs/embed.md",
        )


def _noted(each: Held, facts: Mapping[str, str]) -> Held:
    """With what its session says of the GPU: that it is none, or who runs beside it."""
    said = software_gpu.caveats(facts)
    if fallback.fell_back(facts):
        said = (*said, fallback.said_of(lambda: open_artifact(each.artifact), seed=_SEED, facts=facts))
    return replace(each, notes=(*each.notes, *(line for line in said if line)))


class _Opening:
    """Sessions that open at the same time; all that opened are closed at the end, whatever failed."""

    def __init__(self, openers: Sequence[Future[Session]]) -> None:
        self._openers = openers

    def __enter__(self) -> Self:
        return self

    def opened(self) -> tuple[Session, ...]:
        """The sessions, or the first error."""
        return tuple(opener.result() for opener in self._openers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opener in self._openers:
            if opener.exception() is None:
                opener.result().close()


def compared(
    held: Sequence[Held],
    runners: tuple[Runner, *tuple[Session | Recorded, ...]],
    data: Dataset,
    *,
    asked: Asked,
    reference: str,
    progress: Progress,
    known: KnownOutputs | None = None,
) -> ValidateResult:
    """Run everything once and judge it.

    Args:
        held: the artifacts.
        runners: the float reference, then one session for each artifact.
        data: the evaluation set.
        asked: metric and budget.
        reference: how the result calls the float reference.
        progress: a step for each sample.
        known: where the reference's outputs are kept for the next time.
    """
    truth, *sessions = runners
    for session in sessions:
        check_same_interface(truth, session)
    sides = [Side("float reference", truth, is_reference=True)]
    sides += [
        Side(Path(each.name).name, session, each.artifact.output_steps)
        for each, session in zip(held, sessions, strict=True)
    ]
    held = [_noted(each, session.facts) for each, session in zip(held, sessions, strict=True)]
    fresh = known is not None and known.fits and not isinstance(truth, Replay)
    pairs = matrix.pairs_of([each.artifact for each in held])
    found = compare_on(
        data,
        sides,
        pairs=[(pair.first, pair.second) for pair in pairs],
        metric=asked.metric,
        mispaired=None if data.labels is None else shuffled(data.labels),
        keep=data.count if fresh else 0,
        progress=progress,
    )
    if known is not None and fresh:
        known.keep(found.kept[0])
    assert data.labels is not None  # noqa: S101  load_labelled has refused such data
    check_reference(evaluation_of(found, 0), data.labels, expected=asked.expected)
    judged = [
        _row(each, found, place, data=data, asked=asked, ran_on=describe(sessions[place - 1].facts))
        for place, each in enumerate(held, start=1)
    ]
    rows = _with_flips(tuple(row for row, _ in judged), found, data)
    gravest = min(rows, key=lambda row: _GRAVITY.index(row.exit_code))
    return ValidateResult(
        reference=reference,
        status=gravest.status,
        exit_code=gravest.exit_code,
        artifacts=rows,
        matrix=_matrix(held, found, pairs),
        findings=tuple(finding for _, findings in judged for finding in findings),
    )


def _with_flips(rows: tuple[ValidatedRow, ...], found: Compared, data: Dataset) -> tuple[ValidatedRow, ...]:
    """What became of the labels, and a few of the samples."""
    truth, *candidates = found.labels
    if truth is None:
        return rows
    sides = {
        str(place): Labelled(np.asarray(truth, np.int64), np.asarray(labels, np.int64))
        for place, labels in enumerate(candidates)
        if labels is not None
    }
    flipped = flips(sides, data)
    return tuple(replace(row, flips=flipped.get(str(place))) for place, row in enumerate(rows))


def _row(
    each: Held, found: Compared, place: int, *, data: Dataset, asked: Asked, ran_on: str
) -> tuple[ValidatedRow, tuple[str, ...]]:
    """One artifact's verdict, and the classes and slices that stand out, in words."""
    evaluation = found.evaluations[place]
    if isinstance(evaluation, NonFiniteOutputError):
        return _broken(each, evaluation, asked=asked, ran_on=ran_on), ()
    truth = evaluation_of(found, 0)
    drop = paired_drop(truth, evaluation, seed=BOOTSTRAP_SEED)
    away = found.drifts[0, place]
    assert data.labels is not None  # noqa: S101  load_labelled has refused such data
    groups = group_drops(truth, evaluation, labels=data.labels, slices=data.slices, seed=BOOTSTRAP_SEED)
    lost = outstanding(asked.budget, groups)
    measured = hold(asked.budget, drop=drop, size_bytes=each.artifact.size_bytes)
    verdict = verdict_of((*measured.gates, *group_gates(asked.budget, groups)))
    row = ValidatedRow(
        artifact=each.name,
        target=each.artifact.target,
        precision=each.artifact.precision,
        status=verdict.status,
        exit_code=verdict.exit_code,
        gates=judge.gate_rows(verdict),
        accuracy=accuracy_row(drop, agreement_of(away), (truth, evaluation)),
        drift=drift_rows(away.outputs),
        ran_on=ran_on,
        groups=group_rows(groups, lost),
        notes=each.notes,
    )
    return row, tuple(f"{Path(each.name).name}: {sentence(group)}" for group in lost)


def _broken(each: Held, error: NonFiniteOutputError, *, asked: Asked, ran_on: str) -> ValidatedRow:
    """An artifact whose outputs are not finite fails, whatever the budget allows."""
    limit = asked.budget.max_drop_pp
    gate = GateRow(
        name="accuracy",
        status="fail",
        measured="not a number",
        limit="finite outputs" if limit is None else f"drop <= {limit:g} {asked.metric.drop_unit}",
        reason=f"{error.what}, where the float reference is finite",
        remedy=error.remedy,
    )
    return ValidatedRow(
        artifact=each.name,
        target=each.artifact.target,
        precision=each.artifact.precision,
        status="fail",
        exit_code=ExitCode.ACCURACY_GATE,
        gates=(gate,),
        accuracy=None,
        drift=(),
        ran_on=ran_on,
        notes=each.notes,
    )


def _matrix(held: Sequence[Held], found: Compared, pairs: Sequence[matrix.Pair]) -> tuple[PairRow, ...]:
    names = [matrix.REFERENCE, *(Path(each.name).name for each in held)]
    return tuple(
        matrix.pair_row(
            (names[pair.first], evaluation_of(found, pair.first)),
            (names[pair.second], evaluation_of(found, pair.second)),
            step=pair.step,
            drift=found.drifts[pair.first, pair.second],
        )
        for pair in pairs
        if (pair.first, pair.second) in found.drifts
    )
