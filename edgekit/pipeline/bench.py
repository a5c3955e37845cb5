"""`bench`: artifacts -> interleaved latencies on this machine; with a baseline, who is faster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit.errors import ExitCode, InputError
from edgekit.measure.conditions import Watch
from edgekit.measure.timer import Comparison, compare
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.environment import environment_row
from edgekit.pipeline.evaluation import check_same_interface
from edgekit.pipeline.latency import latency_row, ratio_row
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.pipeline.proof import describe
from edgekit.pipeline.result import BenchResult, BenchRow
from edgekit.spec import Array, Progress, Session, TensorSpec

Verdict = Literal["", "baseline", "faster", "slower", "undecided"]


def bench(
    artifacts: Sequence[Path],
    *,
    baseline: Path | None,
    threads: int | None,
    seed: int,
    progress: Progress,
) -> BenchResult:
    """Time every artifact at batch 1 on the same seeded inputs.

    Raises:
        InputError: no artifact, one named twice, or artifacts that do not take the same inputs.
    """
    paths = paths_of(artifacts, baseline)
    names = [str(path) for path in paths]
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        held = [artifact_at(path) for path in paths]
        inputs = [binding.reference for binding in held[0].inputs]
        outputs = [binding.reference for binding in held[0].outputs]
        for name, artifact in zip(names, held, strict=True):
            aligned, notes = in_terms_of(artifact, inputs, outputs)
            for note in notes:
                progress.note(f"{name}: {note}")
            session = open_artifact(aligned, threads=threads)
            sessions[name] = stack.enter_context(session)
        first = sessions[names[0]]
        for name in names[1:]:
            check_same_interface(first, sessions[name])
        feeds = random_feeds(first.inputs, seed=seed)
        progress.stage("measure latency")
        against = str(baseline) if baseline else names[0]
        with Watch() as watch:
            found = compare(sessions, feeds, baseline=against, seed=seed, progress=progress)
        ran_on = {name: describe(session.facts) for name, session in sessions.items()}
    rows = tuple(row_of(found, name, ran_on[name], judged=baseline is not None) for name in names)
    seen = environment_row(watch.conditions)
    return BenchResult(rows, machine_row(), exit_code_of(rows), environments=(seen,))


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


def random_feeds(inputs: tuple[TensorSpec, ...], *, seed: int) -> dict[str, Array]:
    """One sample of seeded values for each input; dynamic axes get size 1.

    Raises:
        InputError: an element type that has no obvious random values.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in inputs:
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
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


def row_of(found: Comparison, name: str, ran_on: str, *, judged: bool) -> BenchRow:
    """One artifact of a comparison; with ``judged`` also its verdict."""
    latency = latency_row(found.latencies[name])
    if not judged:
        return BenchRow(name, ran_on, latency)
    if name == found.baseline:
        return BenchRow(name, ran_on, latency, None, "baseline")
    ratio = ratio_row(found, name)
    if ratio is None:  # too few rounds arrived
        return BenchRow(name, ran_on, latency, None, "undecided")
    verdict: Verdict = "faster" if ratio.high < 1 else "slower" if ratio.low > 1 else "undecided"
    return BenchRow(name, ran_on, latency, ratio, verdict)


def exit_code_of(rows: Sequence[BenchRow]) -> ExitCode:
    """4 where one is slower than the baseline, 7 where one is undecided."""
    verdicts = {row.verdict for row in rows}
    if "slower" in verdicts:
        return ExitCode.LATENCY_OR_SIZE_GATE
    return ExitCode.INCONCLUSIVE if "undecided" in verdicts else ExitCode.OK
