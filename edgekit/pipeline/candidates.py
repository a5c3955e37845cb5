"""One target of a plan -> its float variant and candidates, compiled, proved, timed and judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.errors import NonFiniteOutputError, TargetRefusalError, VerificationError
from edgekit.measure.machine import cpu_features
from edgekit.pipeline import artifact as artifacts
from edgekit.pipeline import coverage as coverages
from edgekit.pipeline import fallback, judge, latency, mixed, open_choice, search, variant
from edgekit.pipeline.came import Variant
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED
from edgekit.pipeline.float16 import needs_estimate, with_estimate
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.latency import Timed
from edgekit.pipeline.lock import LockedScheme, LockedTarget
from edgekit.pipeline.open_choice import Measured
from edgekit.pipeline.partial import partial_schemes
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.proof import Opener, Place, Proof, open_at, options_at, subject_of, where
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.search import Choice
from edgekit.pipeline.workbench import Workbench
from edgekit.quantization import mixed as mixing
from edgekit.quantization.saturation import FEATURE
from edgekit.quantization.weights import NoEligibleWeightError
from edgekit.spec import NO_CPU_FALLBACK, Artifact, Precision, RunOptions, Session, to_json
from edgekit.target import Target
from edgekit.validation.budget import Budget, Verdict
from edgekit.validation.budget import judge as hold
from edgekit.validation.coverage import Coverage
from edgekit.validation.group_gate import outstanding, sentence
from edgekit.validation.groups import Group, group_drops
from edgekit.validation.statistics import paired_drop


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was tried for one target, and what ships.

    Attributes:
        candidates: where the choice waits for a device, or was made by its evidence: all that may ship.
        chosen_by: digest of that evidence; "" = the choice is open, or was made here.
    """

    judged: tuple[Judged, ...]
    choice: Choice
    findings: tuple[str, ...] = ()
    candidates: tuple[Judged, ...] = ()
    chosen_by: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """A compiled candidate."""

    scheme: Scheme
    variant: Variant
    artifact: Artifact

    @property
    def label(self) -> str:
        """The scheme's name."""
        return self.scheme.label


def try_target(
    plan: TargetPlan,
    bench: Workbench,
    *,
    locked: LockedTarget | None,
    measured: Measured | None = None,
    timed: bool = True,
) -> Outcome:
    """Make, prove, time and judge the candidates of one target, and choose.

    Args:
        plan: the target, and what is wanted there.
        bench: what candidates are made from and held against.
        locked: what the lock says of it.
        measured: what a device measured of its candidates; then that decides.
        timed: whether latencies are measured, where the target's device is here.

    Raises:
        TargetRefusalError: the target cannot hold the model.
        MissingBackendError: the target's runtime is not here and nothing stands in for its numerics.
        VerificationError: the lock names other bytes than were made, or the device measured others.
        UndecidedEvidenceError: what the device measured does not decide.
    """
    place = where(plan.target, plan.options)
    trial = Trial(plan, bench, place if timed else replace(place, timed=False), measured=measured)
    if locked:
        schemes = list(locked.schemes)
    else:
        native = [precision for precision in plan.candidates if trial.is_native(precision)]
        came = bench.canonical.quantized
        schemes = [scheme for each in native for scheme in schemes_of(each, plan, quantized=came)]
        schemes = [_estimated(scheme, plan.target, bench) for scheme in schemes]
    trial.add(_with_float(schemes, pruned=bench.pruned is not None))
    if locked:
        for each in (locked, *locked.candidates):
            _hold_to_lock(plan, trial.made, each)
    else:
        trial.mix()
        trial.thin()
        trial.narrow()
    judged = trial.judged()
    if measured is not None:
        return _by_evidence(trial, judged, measured, plan=plan, locked=locked)
    follows = None if locked is None else locked.scheme
    choice = search.choose(
        judged[0],
        [each for each in judged[1:] if follows is None or each.scheme == follows],
        wanted=locked.precision if locked else plan.precision,
        locked=locked is not None,
    )
    if locked:
        schemes = [each.scheme for each in locked.candidates]
        waiting = tuple(each for each in judged if each.scheme in schemes)
    else:
        wait = not trial.is_timed
        waiting = open_choice.waiting(judged, chosen=choice.judged, wanted=plan.precision) if wait else ()
    chosen_by = locked.chosen_by if locked else ""
    said = [open_choice.said(waiting)] if waiting and not chosen_by else []
    return _outcome(trial, judged, choice, waiting, reasons=said, chosen_by=chosen_by)


def _by_evidence(
    trial: Trial, judged: list[Judged], measured: Measured, *, plan: TargetPlan, locked: LockedTarget | None
) -> Outcome:
    """The rule of ``search`` over what ran on the device as it should."""
    kept, refused = open_choice.decide(measured, judged, target=plan.target.name)
    choice = search.choose(kept[0], kept[1:], wanted=plan.precision, locked=False)
    held = open_choice.waiting(judged, chosen=choice.judged, wanted=plan.precision)
    if locked is not None:
        held = tuple(each for each in judged if each.scheme in locked.schemes)
    said = [f"speed is that of {measured.by}", *refused]
    return _outcome(trial, judged, choice, held, reasons=said, chosen_by=measured.digest)


def _outcome(
    trial: Trial,
    judged: list[Judged],
    choice: Choice,
    candidates: tuple[Judged, ...],
    *,
    reasons: Sequence[str],
    chosen_by: str,
) -> Outcome:
    choice = replace(choice, reason="; ".join((choice.reason, *reasons, *trial.refused)))
    marked = tuple(search.mark_shipped(each) if each is choice.judged else each for each in judged)
    findings = (*trial.fallbacks(), *trial.lost_groups(choice.judged))
    return Outcome(marked, choice, findings, candidates, chosen_by if candidates else "")


def _with_float(schemes: Sequence[Scheme], *, pruned: bool) -> list[Scheme]:
    """The float variant first; where the model was pruned, its float form next, and all others made of it."""
    others = [each for each in schemes if each.precision is not Precision.FP32]
    if not pruned:
        return [Scheme(Precision.FP32), *others]
    floats = [Scheme(Precision.FP32), Scheme(Precision.FP32, pruned=True)]
    return floats + [replace(each, pruned=True) for each in others]


def _estimated(scheme: Scheme, target: Target, bench: Workbench) -> Scheme:
    """fp16 with what float16 adds up too coarsely in float32, where there are data to tell."""
    if bench.learning is None or bench.canonical.quantized or not needs_estimate(scheme, target):
        return scheme
    return with_estimate(scheme, bench.prepared(), bench.learning, cache=bench.cache, progress=bench.progress)


def schemes_of(precision: Precision, plan: TargetPlan, *, quantized: bool = False) -> tuple[Scheme, ...]:
    """The candidates of one rung before anything is known: the rows as they are, then each placement.

    A source that came quantized (``quantized``) is one form.
    """
    placements = plan.target.placement if precision is Precision.W8A8 and not quantized else ()
    plain = (Scheme(precision), *(Scheme(precision, name, placement=name) for name in placements))
    return plain if quantized else tuple(_stored(scheme, plan) for scheme in plain)


def _stored(scheme: Scheme, plan: TargetPlan) -> Scheme:
    """``scheme`` with weights as the recipe wants them, where the target's kernels can saturate."""
    trapped = any(FEATURE in row.requires for row in plan.target.kernels(scheme.precision))
    match plan.cross_cpu:
        case "report":
            return replace(scheme, weights="int8")
        case "uint8" if trapped and plan.target.unsigned_weights:
            named = f"{scheme.variant}-uint8" if scheme.variant else "uint8"
            return replace(scheme, variant=named, weights="uint8")
        case _:
            return scheme


class Trial:
    """The candidates of one target so far; the float variant comes first.

    Attributes:
        made: what was compiled, in the order of the schemes.
        refused: rungs of an open choice that are no candidates, in words.
    """

    def __init__(
        self, plan: TargetPlan, bench: Workbench, place: Place, *, measured: Measured | None = None
    ) -> None:
        self._plan, self._bench, self._place = plan, bench, place
        self._measured = measured
        self._proofs: dict[str, Proof] = {}
        self._timed: dict[str, Timed] = {}
        self._coverage: dict[str, Coverage | None] = {}
        self._groups: dict[str, tuple[Group, ...]] = {}
        self.made: list[Made] = []
        self.refused: list[str] = []

    @property
    def is_timed(self) -> bool:
        """Whether latencies measured here mean anything for the target."""
        return self._place.timed

    def is_native(self, precision: Precision) -> bool:
        """Whether this machine computes in ``precision``; else the rung says nothing here and is left out.

        A precision that the recipe names is tried wherever it runs at all.
        """
        if self._plan.precision is precision or computes_in(precision, self._plan.target):
            return True
        wanted = ", ".join(self._plan.target.needs[precision])
        self.refused.append(f"{precision} is no candidate: this CPU has none of {wanted}")
        return False

    def add(self, schemes: Sequence[Scheme]) -> None:
        """Compile, prove and time more candidates; those that exist already are timed again beside them.

        Raises:
            TargetRefusalError: of the float variant, or of the very precision that was asked for. A refused
                rung of an open choice, or a refused variant, is only no candidate.
        """
        made = [found for found in map(self._make, schemes) if found is not None]
        self.made += [each for each in made if self._is_proved(each)]
        self._timed.update(self._time())

    def _is_proved(self, made: Made) -> bool:
        """Prove it; False where its outputs are not finite, and another precision may still ship."""
        try:
            self._proofs[made.label] = self._prove(made)
        except NonFiniteOutputError as error:
            named = self._plan.precision is not Precision.AUTO and not made.scheme.variant
            if made.scheme.precision is Precision.FP32 or named:
                raise
            self.refused.append(f"{made.label} is no candidate: {error.what}")
            return False
        return True

    def _prove(self, made: Made) -> Proof:
        return self._bench.prover.prove(
            subject_of(made.artifact, self._place), self._opener(made), against=self._bench.reference
        )

    def mix(self) -> None:
        """For each static candidate that breaks the accuracy gate: the mix that keeps it, as one more.

        Not where a float form itself does not pass: then the samples are too few, the budget is below zero,
        or pruning has used it up, and no mix can decide it.
        """
        bench, limit = self._bench, self._plan.budget.max_drop_pp
        judged = self.judged()
        floats = [each for each in judged if each.scheme.precision is Precision.FP32]
        if limit is None or bench.canonical.quantized or not all(_is_accurate(f.verdict) for f in floats):
            return
        found = []
        for each in judged[1:]:
            if not each.scheme.precision.is_static or _is_accurate(each.verdict):
                continue
            scheme, result = mixed.mix(
                bench.prepared(),
                self._plan.target,
                each.scheme,
                overrides=self._plan.overrides,
                data=bench.learning or bench.data,
                evaluate=self._trial_of,
                limit=limit,
                progress=bench.progress,
            )
            bench.progress.note(f"{self._plan.target.name} {each.scheme.label}: {result.said}")
            if scheme is None:
                self.refused.append(f"{each.scheme.label} cannot be mixed: {result.said}")
            else:
                found.append(scheme)
        if found:
            self.add(found)

    def thin(self) -> None:
        """For each static candidate that is accurate: less of it, where none is proved as fast as float.

        Only where latency is measured here: a proposal is worth nothing unmeasured.
        """
        bench = self._bench
        if not self._place.timed or not self._plan.budget.never_slower or bench.canonical.quantized:
            return
        accurate = [
            each
            for each in self.judged()[1:]
            if each.scheme.precision.is_static and _is_accurate(each.verdict)
        ]
        if any(_is_fast(each.verdict) for each in accurate):
            return
        proposals = [
            proposal
            for each in accurate
            for proposal in partial_schemes(
                bench.prepared(), self._plan.target, each.scheme, overrides=self._plan.overrides
            )
        ]
        if proposals:
            self.add(proposals)

    def narrow(self) -> None:
        """The fastest accurate candidate of each rung with integers once more, with the rest in 16 bits.

        Only where latency is measured and this CPU computes in them: it is the same file, opened otherwise.
        """
        target = self._plan.target
        natives = [each for each in target.between if computes_in(each, target)]
        if not self._place.timed or not natives:
            return
        accurate = [each for each in self.judged()[1:] if _is_accurate(each.verdict)]
        proposals = [
            in_between(scheme, between) for between in natives for scheme in fastest_by_rung(accurate)
        ]
        if proposals:
            self.add(proposals)

    def _trial_of(self, scheme: Scheme) -> mixing.Trial:
        """A scheme held against the accuracy budget alone, on the real runtime."""
        try:
            made = _make(self._plan, scheme, self._bench)
        except TargetRefusalError:
            return mixing.Trial(passes=False, drop=math.inf)  # another mix may still be taken
        try:
            proof = self._prove(made)
        except NonFiniteOutputError:
            return mixing.Trial(passes=False, drop=math.inf)
        drop = paired_drop(self._bench.reference.evaluation, proof.evaluation, seed=BOOTSTRAP_SEED)
        verdict = hold(accuracy_of(self._plan.budget), drop=drop)
        return mixed.trial_of(drop, passes=_is_accurate(verdict))

    def judged(self) -> list[Judged]:
        """All candidates held against the budget, the float variant first."""
        budget = self._plan.budget
        return [
            judge.candidate(
                each.artifact,
                each.variant,
                self._proofs[each.label],
                reference=self._bench.reference,
                budget=budget if index else replace(budget, never_slower=False),
                place=self._place,
                timed=self._timed.get(each.label),
                role="candidate" if index else "float",
                scheme=each.scheme,
                coverage=self._coverage_of(each),
                waiving=self._plan.waiving,
                baseline=self._bench.baseline,
                groups=self._groups_of(each),
            )
            for index, each in enumerate(self.made)
        ]

    def _groups_of(self, made: Made) -> tuple[Group, ...]:
        """What each class and slice loses: found once."""
        if made.label not in self._groups:
            data = self._bench.data
            assert data.labels is not None  # noqa: S101  dataset.check has refused such data
            self._groups[made.label] = group_drops(
                self._bench.reference.evaluation,
                self._proofs[made.label].evaluation,
                labels=data.labels,
                slices=data.slices,
                seed=BOOTSTRAP_SEED,
            )
        return self._groups[made.label]

    def lost_groups(self, judged: Judged | None) -> tuple[str, ...]:
        """Findings: classes and slices of what ships that lose more than may be lost."""
        if judged is None:
            return ()
        name = f"{self._plan.target.name} {judged.scheme.label}"
        lost = outstanding(self._plan.budget, self._groups[judged.scheme.label])
        return tuple(f"{name}: {sentence(group)}" for group in lost)

    def _coverage_of(self, made: Made) -> Coverage | None:
        """How much of it runs as asked: found once, from what the runtime said while it was timed."""
        timed = self._timed.get(made.label)
        if timed is None:
            return None
        if made.label not in self._coverage:
            device = self._plan.options.device
            self._coverage[made.label] = coverages.measure(made.variant, timed.executed, device=device)
        return self._coverage[made.label]

    def fallbacks(self) -> tuple[str, ...]:
        """Findings: operators that run elsewhere than asked; where that is allowed, with their shares."""
        allowed = dict(self._plan.options.settings).get(NO_CPU_FALLBACK) == "0"
        silent = tuple(
            finding
            for each in self.made
            for finding in coverages.silent_fallbacks(
                self._coverage_of(each), target=self._plan.target.name, name=each.label
            )
        )
        return (*silent, *self._fallen()) if allowed else silent

    def _fallen(self) -> tuple[str, ...]:
        """Of each artifact whose session placed operators on the CPU: which, and how long they take."""
        name = self._plan.target.name
        said = {
            each.label: fallback.said_of(self._opener(each), seed=BOOTSTRAP_SEED, facts=proof.facts)
            for each in self.made
            if fallback.fell_back((proof := self._proofs[each.label]).facts)
        }
        return tuple(f"{name}: in {label} {words}" for label, words in said.items() if words)

    def _make(self, scheme: Scheme) -> Made | None:
        try:
            return _make(self._plan, scheme, self._bench)
        except (TargetRefusalError, NoEligibleWeightError) as error:
            named = self._plan.precision is not Precision.AUTO and not scheme.variant
            if scheme.precision is Precision.FP32 or named:
                raise
            word = "refused" if isinstance(error, TargetRefusalError) else "no candidate"
            self.refused.append(f"{scheme.label} is {word}: {error.what}")
            return None

    def _opener(self, made: Made) -> Opener:
        def opener() -> Session:
            return open_at(made.artifact, self._place)

        return opener

    def _time(self) -> dict[str, Timed]:
        """Latencies by label; empty where a figure would mean nothing for the target."""
        if self._measured is not None:
            made = {each.label: each.artifact for each in self.made}
            return open_choice.timed(self._measured, made, target=self._plan.target.name)
        if not self._place.timed:
            return {}
        bench = self._bench
        bench.progress.stage(f"{self._plan.target.name}: measure latency")
        feeds = next(iter(bench.data.batches(1)))
        identity = {
            "files": {each.label: [f.sha256 for f in each.artifact.files] for each in self.made},
            "options": {each.label: to_json(options_at(each.artifact, self._place)) for each in self.made},
            "feeds": {name: [str(array.dtype), *array.shape] for name, array in feeds.items()},
        }
        return latency.measure(
            {each.label: self._opener(each) for each in self.made},
            feeds,
            baseline=self.made[0].label,
            identity=identity,
            machine_key=bench.machine_key,
            cache=bench.cache,
            progress=bench.progress,
        )


def computes_in(precision: Precision, target: Target) -> bool:
    """Whether this machine's CPU has what ``precision`` needs on ``target``."""
    wanted = target.needs.get(precision, ())
    return not wanted or bool(set(wanted) & set(cpu_features()))


def fastest_by_rung(judged: Sequence[Judged]) -> tuple[Scheme, ...]:
    """The fastest measured scheme of each precision that has integers; the first of equal ones."""
    found: dict[Precision, tuple[float, Scheme]] = {}
    for each in judged:
        rung, ratio = each.scheme.precision, each.row.ratio
        if ratio is None or rung in {Precision.FP32, Precision.BF16, Precision.FP16}:
            continue
        if rung not in found or ratio.value < found[rung][0]:
            found[rung] = (ratio.value, each.scheme)
    return tuple(scheme for _, scheme in found.values())


def in_between(scheme: Scheme, between: Precision) -> Scheme:
    """``scheme`` with the operators that stay float computing in ``between``."""
    named = f"{scheme.variant}-{between}" if scheme.variant else str(between)
    return replace(scheme, variant=named, between=between)


def options_of(plan: TargetPlan, scheme: Scheme) -> RunOptions:
    """How a candidate is opened, before its back end adds what its precision needs."""
    settings = {**dict(plan.options.settings), **plan.target.between.get(scheme.between, {})}
    return replace(plan.options, settings=tuple(sorted(settings.items())))


def accuracy_of(budget: Budget) -> Budget:
    """The accuracy budget alone, with what the recipe says of an interval that straddles it."""
    return Budget(max_drop_pp=budget.max_drop_pp, on_inconclusive=budget.on_inconclusive)


def _is_accurate(verdict: Verdict) -> bool:
    return all(gate.status == "pass" for gate in verdict.gates if gate.name == "accuracy")


def _is_fast(verdict: Verdict) -> bool:
    return all(gate.status == "pass" for gate in verdict.gates if gate.name == "never_slower")


def compiled(plan: TargetPlan, scheme: Scheme, bench: Workbench) -> Artifact:
    """The artifact of one scheme of the bench's model, neither proved nor timed.

    Raises:
        TargetRefusalError: the target cannot hold it.
    """
    return _make(plan, scheme, bench).artifact


def _make(plan: TargetPlan, scheme: Scheme, bench: Workbench) -> Made:
    bench.progress.stage(f"{plan.target.name}: compile {scheme.label}")
    # fp16 needs them too: a value near 65,504 must stay float32, which a CPU's stand-in would not show
    needed = scheme.precision is Precision.FP16 or scheme.precision.is_static
    prepared = bench.prepared() if needed and not bench.canonical.quantized else None
    canonical = bench.pruned if scheme.pruned and bench.pruned is not None else bench.canonical
    made = variant.make(canonical, plan.target, scheme, prepared, overrides=plan.overrides)
    # integer inputs and outputs need scales, which the float form has not
    io = plan.io if scheme.precision is Precision.W8A8 else replace(plan.io, dtype="float32")
    artifact = artifacts.obtain(
        made.with_sizes(plan.sizes),  # part of compiling: the graph keeps its open sizes
        plan.target.placed(scheme.placement),
        options_of(plan, scheme),
        stem=bench.stem,
        cache=bench.cache,
        io=io,
        info=bench.info,
    )
    return Made(scheme, made, artifact)


def _hold_to_lock(plan: TargetPlan, made: Sequence[Made], locked: LockedScheme) -> None:
    shipped = next(each for each in made if each.label == locked.scheme.label)
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
