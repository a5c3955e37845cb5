"""What `edgekit bench --history FILE` found in the file: series of runs, and where their level changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunRow:
    """One artifact of one run of `bench`; a line of the file.

    Attributes:
        at: when, UTC, ISO 8601.
        artifact: path from the folder of the history file.
        sha256: of the artifact's files.
        machine: key of the machine that measured, or the device's name where it told nothing.
        cpu: its name.
        device: as the user named it; "" = the machine that edgekit ran on.
        runtime: name; ``version`` its version.
        disturbances: rules that fired (docs/benching.md).
        batch: samples in one inference.
        cores: the CPUs that it was pinned to; "" = not pinned.
    """

    at: str
    artifact: str
    sha256: str
    machine: str
    cpu: str
    device: str
    threads: str
    runtime: str
    version: str
    edgekit: str
    p50_ms: float
    low_ms: float
    high_ms: float
    p95_ms: float
    runs: int
    stable: bool
    disturbances: tuple[str, ...] = ()
    batch: int = 1
    cores: str = ""


@dataclass(frozen=True)
class LevelChangeRow:
    """A run from which on a series has another level.

    Attributes:
        index: of that run in the series, from 0.
        before_ms: median of the runs of the level before; after_ms of the one that begins.
        ratio: after over before, with its interval.
        p_value: how often shuffled runs look as different.
        with_it: what else changed at that run ("onnxruntime 1.31.0 to 1.31.1"), as far as it was written.
    """

    index: int
    at: str
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    p_value: float
    with_it: tuple[str, ...]


@dataclass(frozen=True)
class SeriesRow:
    """Runs of one artifact on one machine under one set of conditions, in the file's order."""

    artifact: str
    machine: str
    cpu: str
    device: str
    threads: str
    runtime: str
    batch: int
    cores: str
    runs: tuple[RunRow, ...]
    changes: tuple[LevelChangeRow, ...]


@dataclass(frozen=True)
class HistoryResult:
    """All series of a file.

    Attributes:
        unread: lines that are torn or of another format, and were passed over.
    """

    file: Path
    series: tuple[SeriesRow, ...]
    unread: int = 0
    schema: str = "edgekit/bench-history-result/1"
