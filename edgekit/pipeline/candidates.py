"""One target of a plan -> its float variant and candidates, compiled, proved, timed and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgekit.backends.base import ModelInfo
from edgekit.dataset import Dataset
from edgekit.errors import TargetRefusalError, VerificationError
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline import judge, latency, search, variant
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.latency import Timed
from edgekit.pipeline.lock import LockedTarget
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.proof import Opener, Place, Proof, Prover, open_at, options_at, subject_of, where
from edgekit.pipeline.search import Choice
from edgekit.pipeline.variant import Variant
from edgekit.quantization.weights import NoEligibleWeightError
from edgekit.spec import Artifact, Precision, Progress, Ranges, Session, to_json
from edgekit.validation.budget import Budget


@dataclass(frozen=True)
class Bench:
    """What all targets of a release share.

    Attributes:
        canonical: the float truth.
        ranges: gives the ranges; called only when a candidate needs them.
        data: the evaluation set.
        reference: the float truth's proof on ONNX Runtime.
        open_reference: opens the float truth.
        info: what a file may say about the model.
    """

    canonical: Canonical
    ranges: Callable[[], Ranges]
    data: Dataset
    prover: Prover
    reference: Proof
    open_reference: Opener
    budget: Budget
    stem: str
    machine_key: str
    cache: Cache
    progress: Progress
    info: ModelInfo | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was tried for one target, and what ships."""

    judged: tuple[Judged, ...]
    choice: Choice


@dataclass(frozen=True, eq=False)
class _Made:
    variant: Variant
    artifact: Artifact


def try_target(plan: TargetPlan, bench: Bench, *, locked: LockedTarget | None) -> Outcome:
    """Make, prove, time and judge the candidates of one target, and choose.

    Raises:
        TargetRefusalError: the target cannot hold the model.
        MissingBackendError: the target's runtime is not here and nothing stands in for its numerics.
        VerificationError: the lock names other bytes than those that were made.
    """
    place = where(plan.target, plan.options)
    wanted = (Precision.FP32, locked.precision) if locked else plan.candidates
    precisions = tuple(dict.fromkeys(wanted))
    made, refused = _make_all(plan, precisions, bench, locked=locked is not None)
    if locked:
        _hold_to_lock(plan, made, locked)
    openers = {each.artifact.precision.value: _opener(each.artifact, place) for each in made}
    proofs = [
        bench.prover.prove(
            subject_of(each.artifact, place), openers[each.artifact.precision.value], bench.open_reference
        )
        for each in made
    ]
    timed = _time(made, openers, place, plan, bench)
    judged = [
        judge.candidate(
            each.artifact,
            each.variant,
            proof,
            reference=bench.reference,
            budget=bench.budget if index else replace(bench.budget, never_slower=False),
            place=place,
            timed=timed.get(each.artifact.precision.value),
            role="candidate" if index else "float",
        )
        for index, (each, proof) in enumerate(zip(made, proofs, strict=True))
    ]
    choice = search.choose(
        judged[0],
        judged[1:],
        wanted=locked.precision if locked else plan.precision,
        locked=locked is not None,
    )
    if refused:
        choice = replace(choice, reason="; ".join((choice.reason, *refused)))
    marked = tuple(search.mark_shipped(each) if each is choice.judged else each for each in judged)
    return Outcome(marked, choice)


def _make_all(
    plan: TargetPlan, precisions: tuple[Precision, ...], bench: Bench, *, locked: bool
) -> tuple[list[_Made], list[str]]:
    """The variants that the target takes, and in words those it refuses.

    A refusal ends the target where it takes not even float, or refuses the very precision that was asked for;
    of an open choice the refused rung is only no candidate.
    """
    made, refused = [], []
    for precision in precisions:
        try:
            made.append(_make(plan, precision, bench))
        except (TargetRefusalError, NoEligibleWeightError) as error:
            if not made or locked or plan.precision is not Precision.AUTO:
                raise
            word = "refused" if isinstance(error, TargetRefusalError) else "no candidate"
            refused.append(f"{precision} is {word}: {error.what}")
    return made, refused


def _make(plan: TargetPlan, precision: Precision, bench: Bench) -> _Made:
    bench.progress.stage(f"{plan.target.name}: compile {precision}")
    # fp16 needs them too: a value near 65,504 must stay float32, which a CPU's stand-in would not show
    needed = precision in {Precision.FP16, Precision.W8A8} and not bench.canonical.quantized
    ranges = bench.ranges() if needed else None
    made = variant.make(bench.canonical, plan.target, precision, ranges)
    # integer inputs and outputs need scales, which the float form has not
    io = plan.io if precision is Precision.W8A8 else replace(plan.io, dtype="float32")
    artifact = artifacts.obtain(
        made,
        plan.target,
        plan.options,
        stem=bench.stem,
        cache=bench.cache,
        io=io,
        info=bench.info,
    )
    return _Made(made, artifact)


def _hold_to_lock(plan: TargetPlan, made: list[_Made], locked: LockedTarget) -> None:
    shipped = next(each for each in made if each.artifact.precision is locked.precision)
    files = {entry.path: entry.sha256 for entry in shipped.artifact.files}
    if files != locked.files:
        changed = sorted(
            name for name in {*files, *locked.files} if files.get(name) != locked.files.get(name)
        )
        raise VerificationError(
            f"{plan.target.name}: {changed[0]} is not the file that the lock names",
            why="the lock's inputs and tools are the same, and the compiler wrote other bytes",
            remedy="run `edgekit release --update` to accept them, and report it: this should not happen",
        )


def _opener(artifact: Artifact, place: Place) -> Opener:
    def opener() -> Session:
        return open_at(artifact, place)

    return opener


def _time(
    made: list[_Made], openers: dict[str, Opener], place: Place, plan: TargetPlan, bench: Bench
) -> dict[str, Timed]:
    """Latencies by precision; empty where a figure would mean nothing for the target."""
    if not place.timed:
        return {}
    bench.progress.stage(f"{plan.target.name}: measure latency")
    feeds = next(iter(bench.data.batches(1)))
    identity = {
        "files": {m.artifact.precision.value: [f.sha256 for f in m.artifact.files] for m in made},
        "options": {m.artifact.precision.value: to_json(options_at(m.artifact, place)) for m in made},
        "feeds": {name: [str(array.dtype), *array.shape] for name, array in feeds.items()},
    }
    return latency.measure(
        openers,
        feeds,
        baseline=Precision.FP32.value,
        identity=identity,
        machine_key=bench.machine_key,
        cache=bench.cache,
        progress=bench.progress,
    )
