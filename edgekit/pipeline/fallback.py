"""Artifacts on a GPU with operators on the CPU -> which, and which share of an inference they take.

    share = time of the operator in the runtime's profile / time of an inference without the profiler

What runs on the CPU takes its time there, so the profile's figure is right; a GPU's kernels are only launched
within theirs, and have no share. ``allow_fallback`` in a recipe, or --allow-fallback, makes such sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from edgekit.backends.worker import WorkerSession
from edgekit.errors import EdgekitError
from edgekit.pipeline.allow_fallback import allowing
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.pipeline.result.bench import BenchResult, BenchRow
from edgekit.spec import SOFTWARE, Artifact, KernelTime, Session

_RUNS = 15  # under the profiler; as many without
_FEW = 3  # where one takes seconds, and its time means nothing anyway
_NAMED = 6  # in one sentence; the rest is counted


def with_fallbacks(result: BenchResult, *, seed: int) -> BenchResult:
    """``result`` with a caveat on every row of this machine whose session placed operators on the CPU."""
    return replace(result, rows=tuple(_with_caveat(row, seed) for row in result.rows))


def fell_back(facts: Mapping[str, str]) -> bool:
    """Whether a session on a GPU says that it placed operators on the CPU."""
    return facts.get("device", "cpu") != "cpu" and "CPU" in facts.get("placed", "")


def with_placements(result: CompileResult) -> CompileResult:
    """``result`` with a note on each artifact that may fall back: what of it runs on this machine's CPU."""
    said = [(each.target, of_compiled(each)) for each in result.artifacts]
    return replace(result, notes=tuple(f"{target}: {line}" for target, line in said if line))


def of_compiled(artifact: Artifact, *, seed: int = 0) -> str:
    """What of a new artifact that may fall back runs on the CPU, or why that is not known here; "" on a CPU.

    Args:
        artifact: compiled with the fall-back allowed.
        seed: of the inputs on which shares are measured.
    """
    if artifact.options.device == "cpu":
        return ""
    try:
        with open_artifact(artifact) as session:
            facts = session.facts
    except EdgekitError as error:
        return f"which operators run on the CPU is not known: {error.what}"
    if not fell_back(facts):
        return "no operator runs on the CPU"
    return said_of(lambda: open_artifact(artifact), seed=seed, facts=facts)


def said_of(opener: Callable[[], Session], *, seed: int, facts: Mapping[str, str]) -> str:
    """Which operators of such a session run on the CPU, with their shares where it has a profiler.

    Args:
        opener: opens it once more; a GPU's session may hold all of its memory.
        seed: of the inputs.
        facts: of the session that fell back.
    """
    try:
        with opener() as session:
            assert isinstance(session, WorkerSession)  # noqa: S101  what opens ONNX Runtime
            feeds = random_feeds(session.inputs, seed=seed)
            runs = _FEW if facts.get(SOFTWARE) else _RUNS
            session.time_ms(feeds, runs=runs)
            found = session.profile(feeds, runs=runs)
            ran = session.executed() or ()
    except EdgekitError as error:
        return f"operators run on the CPU ({facts['placed']}); which is not known: {error.what}"
    if found is None or not found.plain_us:
        names = [f"{next(iter(each.names), '')} ({each.operator})" for each in ran if each.device == "cpu"]
        known = f": {_first(names)}" if names else ""
        return f"operators run on the CPU ({facts['placed']}), their share is not known{known}"
    return sentence(found.kernels, median(found.plain_us))


def _with_caveat(row: BenchRow, seed: int) -> BenchRow:
    if row.device or not fell_back(row.facts):
        return row
    artifact = allowing(artifact_at(Path(row.artifact)))
    said = said_of(lambda: open_artifact(artifact, threads=row.threads or None), seed=seed, facts=row.facts)
    return replace(row, caveats=(*row.caveats, said)) if said else row


def sentence(kernels: Sequence[KernelTime], whole_us: float) -> str:
    """The operators on the CPU, the slowest first, with their shares of ``whole_us``."""
    shares = sorted(
        (
            (median(each.us) / whole_us, next(iter(each.names), each.operator), each.operator)
            for each in kernels
            if each.device == "cpu"
        ),
        reverse=True,
    )
    named = _first([f"{name} ({operator}) {share:.1%}" for share, name, operator in shares])
    count, take = (
        (f"{len(shares)} operators run", "take") if len(shares) != 1 else ("1 operator runs", "takes")
    )
    total = sum(share for share, _, _ in shares)
    return f"{count} on the CPU and {take} {total:.1%} of an inference: {named}"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
