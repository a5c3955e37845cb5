"""What `edgekit bench` tells of an artifact beside its steady state: start, memory, size, the way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PhasesRow:
    """Before the steady state; medians over ``launches`` processes, each of them new.

    Attributes:
        import_ms: loading the runtime, before any file; None where it cannot be told from ``load_ms``.
        load_ms: from the file to a session that is ready, the runtime being there.
        first_ms: the first inference.
    """

    import_ms: float | None
    load_ms: float | None
    first_ms: float | None
    launches: int


@dataclass(frozen=True)
class MemoryRow:
    """Resident memory; medians over processes. None: the system does not say it.

    Attributes:
        baseline_bytes: of the process with the runtime loaded and no model; the others are without it.
        loaded_bytes: what opening the artifact added.
        peak_bytes: the most at once since then, loading and inferences included.
    """

    baseline_bytes: int | None
    loaded_bytes: int | None
    peak_bytes: int | None


@dataclass(frozen=True)
class SizeRow:
    """Of all files of the artifact.

    Attributes:
        file_bytes: as they lie on disk.
        download_bytes: each compressed by itself by ``compression``: what HTTP or an app store transfers.
        compression: method and level.
    """

    files: int
    file_bytes: int
    download_bytes: int
    compression: str


@dataclass(frozen=True)
class StepRow:
    """One step around the inference; median over passes.

    Attributes:
        name: "1 resize", "input form" (the artifact's layout and types), "output form", "post.py:boxes".
    """

    name: str
    where: Literal["pre-processing", "post-processing"]
    p50_ms: float


@dataclass(frozen=True)
class EndToEndRow:
    """From a raw sample of the recipe to the answer, at batch 1.

    Attributes:
        steps: in their order; the inference lies between the two kinds.
        inference_ms: the steady state of the same row.
        total_ms: all of them.
        share: the inference's part of ``total_ms``, 0 to 1.
        samples: how many different ones were used in turn.
    """

    steps: tuple[StepRow, ...]
    inference_ms: float
    total_ms: float
    share: float
    samples: int


@dataclass(frozen=True)
class StreamsRow:
    """So many processes of the artifact at the same time.

    Attributes:
        per_s: samples per second of all together.
        scaling: ``per_s`` over that of one process, one inference after the other.
        caveat: why they cannot all run at once; "" where they can.
    """

    streams: int
    per_s: float
    scaling: float | None
    caveat: str = ""
