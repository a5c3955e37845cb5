"""`bench --history FILE`: lines of all runs -> series, and where their level changed.

A series is one artifact (its path from the file's folder, so that its next build belongs to it) on one
machine with one runtime, number of threads, batch and set of cores. What may change within it, and explain a
change: the artifact's bytes, the runtime's version, edgekit's version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.measure import change_points
from edgekit.measure.change_points import Change
from edgekit.pipeline.bench import history_file
from edgekit.pipeline.result import HistoryResult, LevelChangeRow, RunRow, SeriesRow


def history(file: Path, *, seed: int) -> HistoryResult:
    """The series of ``file`` in the order in which they begin.

    Raises:
        InputError: the file is not there or cannot be read.
    """
    runs, unread = history_file.read(file)
    series: dict[tuple[str, ...], list[RunRow]] = {}
    for run in runs:
        series.setdefault(_key(run), []).append(run)
    return HistoryResult(file, tuple(_series(each, seed=seed) for each in series.values()), unread)


def _key(run: RunRow) -> tuple[str, ...]:
    return run.artifact, run.machine, run.device, run.threads, run.runtime, str(run.batch), run.cores


def _series(runs: Sequence[RunRow], *, seed: int) -> SeriesRow:
    found = change_points.changes([run.p50_ms for run in runs], seed=seed)
    last = runs[-1]
    return SeriesRow(
        artifact=last.artifact,
        machine=last.machine,
        cpu=last.cpu,
        device=last.device,
        threads=last.threads,
        runtime=last.runtime,
        batch=last.batch,
        cores=last.cores,
        runs=tuple(runs),
        changes=tuple(_change(each, runs) for each in found),
    )


def _change(change: Change, runs: Sequence[RunRow]) -> LevelChangeRow:
    old, new = runs[change.index - 1], runs[change.index]
    with_it = []
    if old.sha256 != new.sha256:
        with_it.append("the artifact's bytes")
    if old.version != new.version:
        with_it.append(f"{new.runtime} {old.version} to {new.version}")
    if old.edgekit != new.edgekit:
        with_it.append(f"edgekit {old.edgekit} to {new.edgekit}")
    return LevelChangeRow(
        index=change.index,
        at=new.at,
        before_ms=change.before,
        after_ms=change.after,
        ratio=change.ratio,
        low=change.low,
        high=change.high,
        p_value=change.p_value,
        with_it=tuple(with_it),
    )
