"""Opened artifacts of one target -> latencies and ratios against its float variant, measured interleaved.

The same processes say how much memory they took at most and which operators they ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from edgekit.backends.worker import WorkerSession
from edgekit.bundle.evidence import LatencyFacts
from edgekit.measure.timer import NOT_SLOWER_LIMIT, ROUNDS, Comparison, Latency, compare
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.proof import Opener
from edgekit.pipeline.result import LatencyRow, RatioRow
from edgekit.spec import Executed, Feeds, Progress, Session, from_json, to_json

SEED = 0  # of the bootstrap
LIMIT = NOT_SLOWER_LIMIT


@dataclass(frozen=True)
class Timed:
    """What was measured of one artifact while it ran at batch 1.

    Attributes:
        ratio: to the baseline's latency; None for the baseline itself.
        memory_bytes: peak, less what was held before it was loaded; None where the system does not say.
        executed: the operators as they ran; None where the runtime does not say.
    """

    latency: LatencyRow
    ratio: RatioRow | None
    memory_bytes: int | None = None
    executed: tuple[Executed, ...] | None = None


def measure(
    openers: Mapping[str, Opener],
    feeds: Feeds,
    *,
    baseline: str,
    identity: Mapping[str, object],
    machine_key: str,
    cache: Cache,
    progress: Progress,
    rounds: int = ROUNDS,
) -> dict[str, Timed]:
    """Time every artifact on ``feeds`` (batch 1), alternating between them.

    Args:
        openers: artifact name -> how to open it.
        feeds: one sample.
        baseline: which of ``openers`` the ratios are against.
        identity: JSON-ready key of what runs: file hashes, options, shapes.
        machine_key: measurements of another machine do not count.
        cache: where measurements are kept.
        progress: a step per round.
        rounds: of each; fewer are faster and have wider intervals.
    """

    def make() -> dict[str, object]:
        with ExitStack() as stack:
            sessions = {name: stack.enter_context(opener()) for name, opener in openers.items()}
            found = compare(sessions, feeds, baseline=baseline, seed=SEED, rounds=rounds, progress=progress)
            memory = {name: memory_of(session) for name, session in sessions.items()}
            ran = _executed_in_turn(sessions, last=baseline)
        return {
            name: to_json(replace(row, memory_bytes=memory[name], executed=ran[name]))
            for name, row in rows_of(found).items()
        }

    key = {"identity": identity, "machine": machine_key, "baseline": baseline, "rounds": rounds}
    value = cache.value("latency", key, make)
    return {name: from_json(Timed, row) for name, row in value.items()}


def rows_of(found: Comparison) -> dict[str, Timed]:
    """A comparison as rows of plain values."""
    return {name: Timed(latency_row(each), ratio_row(found, name)) for name, each in found.latencies.items()}


def memory_of(session: Session) -> int | None:
    """The most memory that a session took, where it runs in a worker of ours."""
    return session.peak_memory_bytes() if isinstance(session, WorkerSession) else None


def _executed_in_turn(
    sessions: Mapping[str, Session], *, last: str
) -> dict[str, tuple[Executed, ...] | None]:
    """What each runs; it is closed then.

    A runtime may open the model once more for that, with a profiler: of the float model, the largest, when
    no other one is open.
    """
    ran = {}
    for name in (*(each for each in sessions if each != last), last):
        ran[name] = _executed(sessions[name])
        sessions[name].close()
    return ran


def _executed(session: Session) -> tuple[Executed, ...] | None:
    return session.executed() if isinstance(session, WorkerSession) else None


def latency_row(found: Latency) -> LatencyRow:
    """One latency as a row, raw samples kept."""
    return LatencyRow(
        p50_ms=found.p50_ms,
        p90_ms=found.p90_ms,
        p95_ms=found.p95_ms,
        p99_ms=found.p99_ms,
        low_ms=found.low_ms,
        high_ms=found.high_ms,
        runs=found.runs,
        stable=found.stable,
        warning=found.warning,
        raw_ms=found.raw_ms,
    )


def latency_facts(row: LatencyRow) -> LatencyFacts:
    """As evidence has it, without the samples."""
    shared = LatencyFacts.model_fields.keys()
    return LatencyFacts(**{name: getattr(row, name) for name in shared})


def row_of_facts(facts: LatencyFacts) -> LatencyRow:
    """What evidence says, as results have it; its samples stayed where they were measured."""
    return LatencyRow(**facts.model_dump(), raw_ms=())


def ratio_row(found: Comparison, name: str) -> RatioRow | None:
    """The ratio of ``name`` to the baseline; None for the baseline itself, and with too few rounds."""
    if name == found.baseline or name not in found.ratios:
        return None
    ratio = found.ratios[name]
    return RatioRow(found.baseline, ratio.value, ratio.low, ratio.high)
