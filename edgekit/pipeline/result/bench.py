"""What `edgekit bench` found, here and on devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import ExitCode
from edgekit.pipeline.result.conditions import EnvironmentRow
from edgekit.pipeline.result.energy import EnergyRow
from edgekit.pipeline.result.phases import EndToEndRow, MemoryRow, PhasesRow, SizeRow, StreamsRow
from edgekit.pipeline.result.profile import ProfileRow, RoofRow
from edgekit.pipeline.result.rows import LatencyRow, MachineRow, RatioRow


@dataclass(frozen=True)
class EffectRow:
    """What a verdict rests on (docs/benching.md, Method).

    Attributes:
        launches: pairs of fresh processes, one of the artifact and one of the baseline.
        rounds: of each launch.
        spread: standard deviation of the logarithm of a launch's ratio: 0.1 = 10 %.
        resolution: so many launches find a ratio of 1 + this in 95 % of cases.
        more_launches: of an undecided one, so many more would decide in 95 % of cases, if the difference is
            what it looks like; None where decided, or where nothing can be said.
        more_s: how long they would take.
    """

    launches: int
    rounds: int
    spread: float
    resolution: float
    more_launches: int | None = None
    more_s: float | None = None


@dataclass(frozen=True)
class BenchRow:
    """One artifact's latency; ``verdict`` against the baseline where there is one.

    Attributes:
        device: as the user named it; "" = this machine.
        memory_bytes: peak, less what was held before it was loaded; None where not measured.
        batch: samples in one inference.
        threads: inside an operator; 0 = not known.
        cores: the CPUs that its process was pinned to ("0-1,3"); "" = not pinned.
        throughput_per_s: samples per second, one inference after the other: 1000 batch / p50.
        phases: start and first inference; None where nothing is known.
        memory: in parts; None where nothing is known.
        size: of its files.
        end_to_end: with a recipe: what lies around the inference, and its share.
        streams: throughput of several processes at once, where asked for.
        effect: what the verdict rests on; None without one.
        caveats: what stands against its conditions (more threads than cores, a core that is shared).
        facts: what the session said of itself: runtime, version, device, threads, kernels.
    """

    artifact: str
    ran_on: str
    latency: LatencyRow
    ratio: RatioRow | None = None
    verdict: Literal["", "baseline", "faster", "slower", "undecided"] = ""
    device: str = ""
    memory_bytes: int | None = None
    batch: int = 1
    threads: int = 0
    cores: str = ""
    throughput_per_s: float | None = None
    phases: PhasesRow | None = None
    memory: MemoryRow | None = None
    size: SizeRow | None = None
    end_to_end: EndToEndRow | None = None
    streams: tuple[StreamsRow, ...] = ()
    caveats: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    effect: EffectRow | None = None


@dataclass(frozen=True)
class DeviceRow:
    """One device that `bench` was told to use.

    Attributes:
        status: "incomplete": it was lost while it measured, and its rows hold what had arrived.
        reason: why it is not complete.
        facts: what it said of itself.
        key: of its machine, as ``MachineRow.key``; "" where it said nothing.
    """

    name: str
    status: Literal["complete", "incomplete", "missing"]
    reason: str = ""
    remedy: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class FailedRow:
    """An artifact that did not run to its end, here (``device`` "") or on a device; the others' rows stand.

    Attributes:
        kind: "crash": native code died; "timeout": it gave no answer; "error": the file, its batch or its
            data was refused; "missing": there is no runtime for it.
    """

    artifact: str
    device: str
    kind: Literal["missing", "error", "crash", "timeout"]
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class BenchResult:
    """Interleaved latencies; exit code 4 where a candidate is slower than the baseline, 7 where undecided.

    Also: 1 where an artifact's native code died, 2 where a runtime refused a file, 6 where a device or a
    runtime is missing, 7 where data is incomplete.
    """

    rows: tuple[BenchRow, ...]
    machine: MachineRow
    exit_code: ExitCode
    devices: tuple[DeviceRow, ...] = ()
    failures: tuple[FailedRow, ...] = ()
    environments: tuple[EnvironmentRow, ...] = ()
    energy: tuple[EnergyRow, ...] = ()
    profiles: tuple[ProfileRow, ...] = ()
    roof: RoofRow | None = None
    schema: str = "edgekit/bench-result/1"
