"""`bench`: artifacts -> interleaved latencies on this machine; with a baseline, who is faster.

    paths -> artifacts -> groups of equal conditions (``sweep``) -> launch -> rows

A launch opens every artifact in a process of its own, times them interleaved and closes them; there are as
many as the verdict needs (``measure.replicate``). What fails is named and out (``failures``), and the
launch is repeated without it: the others' results stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.backends import registry
from edgekit.errors import EdgekitError, InputError
from edgekit.ir import io
from edgekit.measure.conditions import Watch
from edgekit.measure.launch import Launch
from edgekit.measure.replicate import ROUNDS, Plan, replicate
from edgekit.measure.timer import ROUND_MS, Comparison, Taken, take_rounds
from edgekit.pipeline import software_gpu
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.allow_fallback import allowing, check_artifacts
from edgekit.pipeline.bench.blamed_session import BlamedSession
from edgekit.pipeline.bench.environment import environment_row
from edgekit.pipeline.bench.failures import CandidateError, exit_code_of, failed_row, kind_of
from edgekit.pipeline.bench.phases import launch_of, memory_row, phases_row
from edgekit.pipeline.bench.size import size_row
from edgekit.pipeline.bench.sweep import Sweep, caveats, check_batch
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.latency import latency_row, ratio_row
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import BenchResult, BenchRow, EffectRow, FailedRow
from edgekit.spec import Array, Artifact, Progress, Session, TensorSpec, WatchedOptions


@dataclass(frozen=True)
class _Launched:
    """What the launches gave, by artifact name."""

    found: Comparison
    launch_s: float
    facts: Mapping[str, Mapping[str, str]]
    launches: Mapping[str, Sequence[Launch]]


@blames_model
def bench(
    artifacts: Sequence[Path],
    *,
    baseline: Path | None,
    sweep: Sweep,
    seed: int,
    progress: Progress,
) -> BenchResult:
    """Time every artifact under every group of ``sweep``, on the same seeded inputs.

    An artifact that cannot be opened or run is a row of ``failures``; it ends nothing else.

    Raises:
        InputError: no artifact, one named twice or not there, or artifacts that do not take the same inputs.
    """
    paths = paths_of(artifacts, baseline)
    held, failures = held_at(paths, progress)
    if sweep.allow_fallback:
        check_artifacts(held.values())
        held = {name: allowing(artifact) for name, artifact in held.items()}
    rows: list[BenchRow] = []
    with Watch(cores=sweep.cores) as watch:
        for batch, threads in sweep.groups():
            under = sweep.named(batch, threads)
            able = {}
            for name, artifact in held.items():
                try:
                    check_batch(artifact, batch)
                    able[name] = artifact
                except InputError as error:
                    failures.append(failed_row(name, error, under=under))
            progress.stage("measure latency" + (f" at {under}" if under else ""))
            group = _Group(able, sweep, batch, threads, seed)
            found, failed = group.measured(str(baseline) if baseline else "", progress)
            rows += found
            for name, why in failed.items():
                failures.append(failed_row(name, why, under=under))
                if kind_of(why) != "error":  # F1, F3, F4: under other conditions too, and a limit is long
                    del held[name]
    code = exit_code_of(rows, (), failures)
    seen = environment_row(watch.conditions)
    return BenchResult(tuple(rows), machine_row(), code, failures=tuple(failures), environments=(seen,))


def held_at(paths: Sequence[Path], progress: Progress) -> tuple[dict[str, Artifact], list[FailedRow]]:
    """The artifacts in terms of the first, and those that cannot be read.

    Raises:
        InputError: a path is not there, or the artifacts take other inputs or give other outputs.
    """
    held: dict[str, Artifact] = {}
    failures: list[FailedRow] = []
    for path in paths:
        if not path.exists():
            artifact_at(path)  # a slip in the command line: says so before anything is measured
        try:
            held[str(path)] = artifact_at(path)
        except EdgekitError as error:
            failures.append(failed_row(str(path), error))
    for name, artifact in list(held.items()):
        first = next(iter(held.values()))
        inputs = [binding.reference for binding in first.inputs]
        outputs = [binding.reference for binding in first.outputs]
        held[name], notes = in_terms_of(artifact, inputs, outputs)
        for note in notes:
            progress.note(f"{name}: {note}")
        _check_same_interface(first, held[name], name)
    return held, failures


def _check_same_interface(first: Artifact, other: Artifact, name: str) -> None:
    for kind, one, two in (
        ("inputs", first.inputs, other.inputs),
        ("outputs", first.outputs, other.outputs),
    ):
        wanted = {each.reference.name: each.reference.dtype for each in one}
        have = {each.reference.name: each.reference.dtype for each in two}
        if wanted != have:
            raise InputError(
                f"the {kind} of {name} are {have}, and those of {first.path.name} are {wanted}",
                why="artifacts are measured side by side on the same inputs",
                remedy="name artifacts of one model",
            )


@dataclass(frozen=True)
class _Group:
    """Artifacts under equal conditions."""

    held: Mapping[str, Artifact]
    sweep: Sweep
    batch: int
    threads: int | None
    seed: int

    def measured(self, baseline: str, progress: Progress) -> tuple[list[BenchRow], dict[str, EdgekitError]]:
        """Rows of those that ran, and the errors of those that did not; ``baseline`` "" = no verdicts."""
        failed: dict[str, EdgekitError] = {}
        facts: dict[str, Mapping[str, str]] = {}
        launches: dict[str, list[Launch]] = {name: [] for name in self.held}

        def launch(order: Sequence[str]) -> Taken:
            while names := [name for name in order if name not in failed]:
                try:
                    taken, said = self._launch(names, progress, judged=baseline != "")
                except CandidateError as error:
                    failed[error.name] = error.error
                    progress.note(f"{error.name}: {kind_of(error.error)}; the others go on")
                    continue
                for name, (own, found) in said.items():
                    facts[name] = own
                    launches[name] += [found] if found else []
                return taken
            raise _NoneLeftError

        plan = Plan(baseline, self.sweep.budget_s, self.seed)
        try:
            run = replicate(launch, list(self.held), plan)
        except _NoneLeftError:
            return [], failed
        found = run.comparison(baseline=baseline, seed=self.seed)
        launched = _Launched(found, run.launch_s, facts, launches)
        names = [name for name in self.held if name not in failed]
        rows = [self._row(name, launched, judged=baseline != "") for name in names]
        if baseline and baseline not in names:  # it failed: nothing to be judged by
            rows = [replace(row, ratio=None, verdict="undecided", effect=None) for row in rows]
        return rows, failed

    def _launch(
        self, names: Sequence[str], progress: Progress, *, judged: bool
    ) -> tuple[Taken, dict[str, tuple[Mapping[str, str], Launch | None]]]:
        """One process for each, from its start to its end.

        Raises:
            CandidateError: one of them failed.
            InputError: they are to be ``judged``, and one runs on a GPU that is none.
        """
        with ExitStack() as stack:
            sessions: dict[str, BlamedSession] = {}
            for name in names:
                with _blaming(name):
                    sessions[name] = stack.enter_context(BlamedSession(name, self._opened(name)))
            if judged:
                for name, session in sessions.items():
                    software_gpu.check_gate(name, session.facts)
            feeds = random_feeds(next(iter(sessions.values())).inputs, seed=self.seed, batch=self.batch)
            taken = take_rounds(sessions, feeds, rounds=ROUNDS, round_ms=ROUND_MS, progress=progress)
            said = {}
            for name, session in sessions.items():
                with _blaming(name):
                    said[name] = (session.facts, launch_of(session.inner))
        return taken, said

    def _opened(self, name: str) -> Session:
        artifact = self.held[name]
        options = WatchedOptions(
            threads=self.threads or artifact.options.threads,
            device=artifact.options.device,
            settings=artifact.options.settings,
            cores=self.sweep.cores,
            limit_s=self.sweep.limit_s,
        )
        return registry.backend(artifact.backend).open(artifact, options)

    def _row(self, name: str, launched: _Launched, *, judged: bool) -> BenchRow:
        row = row_of(launched.found, name, launched.facts[name], launch_s=launched.launch_s, judged=judged)
        facts = launched.facts[name]
        known = launched.launches[name]
        memory = memory_row(known)
        threads = int(facts.get("threads", "0"))
        return replace(
            row,
            batch=self.batch,
            threads=threads,
            cores=facts.get("cores", ""),
            memory_bytes=memory.peak_bytes if memory else None,
            throughput_per_s=1000 * self.batch / row.latency.p50_ms,
            phases=phases_row(known),
            memory=memory,
            size=size_row(self.held[name]),
            caveats=(
                *caveats(self.sweep.cores, threads, facts.get("cores", "")),
                *software_gpu.caveats(facts),
            ),
        )


class _NoneLeftError(Exception):
    """Every artifact has failed."""


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """An error inside is that of the candidate ``name``."""
    try:
        yield
    except EdgekitError as error:
        raise CandidateError(name, error) from error


def paths_of(artifacts: Sequence[Path], baseline: Path | None) -> list[Path]:
    """What is measured: the artifacts, and the baseline before them where it is none of them.

    Raises:
        InputError: no artifact, or one named twice.
    """
    paths = [*artifacts] if baseline is None or baseline in artifacts else [baseline, *artifacts]
    if not paths:
        raise InputError(
            "nothing to measure", why="no artifact was named", remedy="edgekit bench ARTIFACT..."
        )
    if len(set(paths)) < len(paths):
        raise InputError(
            "an artifact is named twice", why="it would be compared with itself", remedy="name it once"
        )
    return paths


def random_feeds(inputs: tuple[TensorSpec, ...], *, seed: int, batch: int = 1) -> dict[str, Array]:
    """Seeded values for each input; an open first axis gets size ``batch``, other open ones 1.

    Raises:
        InputError: an element type that has no obvious random values.
        ModelFileError: an input that no machine holds.
    """
    io.check_can_be_held(inputs, "input")
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in inputs:
        sizes = (batch, *[1] * len(spec.shape))
        shape = tuple(d if isinstance(d, int) else size for d, size in zip(spec.shape, sizes, strict=False))
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = rng.random(shape).astype(dtype)
        elif dtype.kind in "iub":
            # zeros and ones are valid indices, masks and token ids everywhere
            feeds[spec.name] = rng.integers(0, 2, shape).astype(dtype)
        else:
            raise InputError(
                f"input {spec} has no random values",
                why="bench makes numbers only",
                remedy="use another model",
            )
    return feeds


def row_of(
    found: Comparison, name: str, facts: Mapping[str, str], *, launch_s: float, judged: bool
) -> BenchRow:
    """One artifact of a comparison; with ``judged`` also its verdict, and what that rests on."""
    row = BenchRow(name, describe(facts), latency_row(found.latencies[name]), facts=dict(facts))
    if not judged:
        return row
    if name == found.baseline:
        return replace(row, verdict="baseline")
    decision = found.decisions.get(name)
    if decision is None:  # not one launch of both arrived
        return replace(row, verdict="undecided")
    more = decision.more
    effect = EffectRow(
        launches=decision.pairs,
        rounds=ROUNDS,
        spread=decision.spread,
        resolution=math.expm1(min(decision.resolution, 20.0)),
        more_launches=more,
        more_s=None if more is None else more * launch_s,
    )
    return replace(row, ratio=ratio_row(found, name), verdict=decision.verdict, effect=effect)
