"""What `edgekit bench --sustained` and `--energy` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import ExitCode
from edgekit.pipeline.result.bench import DeviceRow, FailedRow
from edgekit.pipeline.result.conditions import EnvironmentRow
from edgekit.pipeline.result.energy import EnergyRow
from edgekit.pipeline.result.rows import MachineRow


@dataclass(frozen=True)
class MinuteRow:
    """One minute; None where there is no sensor.

    Attributes:
        whole: whether it ran to its end.
        per_s: inferences per second, one after the other.
        watts: mean power of the first meter, idle part included.
    """

    index: int
    whole: bool
    runs: int
    p50_ms: float
    p95_ms: float
    per_s: float
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    watts: float | None = None


@dataclass(frozen=True)
class FactorRow:
    """Median of the steady minutes over that of the first, with its 95 % interval; above 1 is slower."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SustainedRow:
    """An artifact on one machine, minute by minute.

    Attributes:
        device: as the user named it; "" = this machine.
        factor: the throttle factor; None with fewer than two whole minutes.
        verdict: "throttled", "steady", "undecided"; "" without a factor.
        incomplete: why not all minutes are there; "" = they are.
    """

    artifact: str
    device: str
    ran_on: str
    facts: Mapping[str, str]
    minutes: tuple[MinuteRow, ...]
    factor: FactorRow | None
    verdict: Literal["throttled", "steady", "undecided", ""]
    incomplete: str
    energy: tuple[EnergyRow, ...]


@dataclass(frozen=True)
class SustainedResult:
    """A run without a pause; exit code 130 where it was interrupted, with what had arrived.

    Also 1, 2, 6 and 7 as ``BenchResult``. Whether a machine throttled is a finding, and no failure.
    """

    rows: tuple[SustainedRow, ...]
    machine: MachineRow
    asked_minutes: int
    minute_s: float
    exit_code: ExitCode
    devices: tuple[DeviceRow, ...] = ()
    failures: tuple[FailedRow, ...] = ()
    environments: tuple[EnvironmentRow, ...] = field(default_factory=tuple)
    schema: str = "edgekit/bench-sustained-result/1"
