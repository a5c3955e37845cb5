"""A bench result x a number of streams -> throughput of so many processes of each artifact at the same time.

Each stream is a process with its own copy of the model and the row's own threads: what a server with a worker
for each core does. It is no stream inside one model: OpenVINO's NUM_STREAMS is a setting of the target.

S1 a stream that fails is a row of ``failures``; the steady state stands · S2 not on devices: the agent
measures one process after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edgekit.backends import affinity, registry
from edgekit.errors import EdgekitError, InputError
from edgekit.measure.streams import run_together
from edgekit.pipeline.bench.failures import exit_code_of, failed_row
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import BenchResult, BenchRow, FailedRow, StreamsRow
from edgekit.spec import Artifact, Progress, WatchedOptions


def check_streams(devices: Sequence[object]) -> None:
    """Say before anything is measured what cannot be.

    Raises:
        InputError: S2.
    """
    if devices:
        raise InputError(
            "streams are measured on this machine only",
            why="the agent on a device runs one process after the other",
            remedy="leave out --device, or --streams",
        )


def with_streams(
    result: BenchResult, counts: Sequence[int], *, sweep: Sweep, seed: int, progress: Progress
) -> BenchResult:
    """``result`` with ``streams`` in every row: one entry for each number of processes."""
    rows: list[BenchRow] = []
    failures: list[FailedRow] = list(result.failures)
    progress.stage("measure several processes at once", total=len(result.rows) * len(counts))
    for row in result.rows:
        found: list[StreamsRow] = []
        for count in counts:
            try:
                per_s = row.batch * _rate(row, count, sweep=sweep, seed=seed)
                alone = row.throughput_per_s
                found.append(StreamsRow(count, per_s, per_s / alone if alone else None, _caveat(row, count)))
            except EdgekitError as error:  # S1
                failures.append(failed_row(row.artifact, error, under=f"{count} streams"))
                break
            finally:
                progress.advance()
        rows.append(replace(row, streams=tuple(found)))
    code = exit_code_of(rows, (), failures)
    return replace(result, rows=tuple(rows), failures=tuple(failures), exit_code=code)


def _rate(row: BenchRow, count: int, *, sweep: Sweep, seed: int) -> float:
    artifact = artifact_at(Path(row.artifact))
    backend, options = registry.backend(artifact.backend), _options(artifact, row, sweep)
    with ExitStack() as stack:
        sessions = [stack.enter_context(backend.open(artifact, options)) for _ in range(count)]
        return run_together(sessions, random_feeds(sessions[0].inputs, seed=seed, batch=row.batch))


def _options(artifact: Artifact, row: BenchRow, sweep: Sweep) -> WatchedOptions:
    return WatchedOptions(
        threads=row.threads or artifact.options.threads,
        device=artifact.options.device,
        settings=artifact.options.settings,
        cores=sweep.cores,
        limit_s=sweep.limit_s,
    )


def _caveat(row: BenchRow, count: int) -> str:
    """Why so many cannot all run at once; "" where they can."""
    cores = len(affinity.read(row.cores)) or len(affinity.available())
    threads = count * max(1, row.threads)
    if not cores or threads <= cores:
        return ""
    return f"{threads} threads share {cores} core{'s' * (cores > 1)}"
