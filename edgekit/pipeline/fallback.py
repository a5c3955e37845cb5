"""Artifacts on a GPU with operators on the CPU -> which, and which share of an inference they take.

    share = time of the operator in the runtime's profile / time of an inference without the profiler

What runs on the CPU takes its time there, so the profile's figure is right; a GPU's kernels are only launched
within theirs, and have no share. Only recipes with ``allow_fallback`` make such artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from edgekit.backends.worker import WorkerSession
from edgekit.errors import EdgekitError
from edgekit.pipeline.bench import random_feeds
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.result.bench import BenchResult, BenchRow
from edgekit.spec import KernelTime

_RUNS = 15  # under the profiler; as many without
_NAMED = 6  # in one sentence; the rest is counted


def with_fallbacks(result: BenchResult, *, seed: int) -> BenchResult:
    """``result`` with a caveat on every row of this machine whose session placed operators on the CPU."""
    return replace(result, rows=tuple(_with_caveat(row, seed) for row in result.rows))


def _with_caveat(row: BenchRow, seed: int) -> BenchRow:
    if row.device or row.facts.get("device", "cpu") == "cpu" or "CPU" not in row.facts.get("placed", ""):
        return row
    try:
        with open_artifact(Path(row.artifact), threads=row.threads or None) as session:
            assert isinstance(session, WorkerSession)  # noqa: S101  what opens ONNX Runtime
            feeds = random_feeds(session.inputs, seed=seed)
            session.time_ms(feeds, runs=_RUNS)
            found = session.profile(feeds, runs=_RUNS)
    except EdgekitError as error:
        said = f"operators run on the CPU ({row.facts['placed']}); which is not known: {error.what}"
        return replace(row, caveats=(*row.caveats, said))
    if found is None or not found.plain_us:
        return row
    return replace(row, caveats=(*row.caveats, sentence(found.kernels, median(found.plain_us))))


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
    named = ", ".join(f"{name} ({operator}) {share:.1%}" for share, name, operator in shares[:_NAMED])
    more = f" and {len(shares) - _NAMED} more" if len(shares) > _NAMED else ""
    count = f"{len(shares)} operators run" if len(shares) != 1 else "1 operator runs"
    total = sum(share for share, _, _ in shares)
    return f"{count} on the CPU and take {total:.1%} of an inference: {named}{more}"
