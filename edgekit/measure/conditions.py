"""Readings of a machine before, during and after a measurement -> what it went through.

    with Watch() as watch:  measure  ->  watch.conditions  ->  ``disturbances`` says what was wrong

What is read, and from which files, is in ``agent.state``, so that a device tells the same: proc(5), sysfs(5),
cgroups(7). Only the first and the last reading look at processes: that costs 2 ms, the others 0.4 ms.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgekit.measure import agent
from edgekit.measure.machine import Machine, of_facts

EVERY_S = 1.0  # between two readings


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the machine; None where the system does not show it. Times count since boot.

    Attributes:
        at_s: monotonic clock.
        frequency_mhz: of the fastest core that may be used.
        temperature_c: of the CPU's hottest sensor.
        temperature_limit_c: where its system slows down.
        load: one-minute load average.
        busy_s: CPU seconds of the cores that may be used; steal_s of the hypervisor, cpu_s of everything.
        own_s: CPU seconds of this process and its descendants; not of every reading, because it costs more.
        throttled_s: how long a cgroup's quota stopped this process, in throttled_periods periods.
        thermal_events: how often the processor slowed itself down.
        firmware_throttled: bits of the firmware (Raspberry Pi).
        swapped_in_pages: of the whole system.
        battery: its status; battery_percent its charge; plugged: whether the mains feed it.
        energy_uj: counters by name: value and where it starts again.
        power_uw: sensors by name.
        energy_denied: files that only root may read.
    """

    at_s: float
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    temperature_limit_c: float | None = None
    load: float | None = None
    busy_s: float | None = None
    steal_s: float | None = None
    cpu_s: float | None = None
    own_s: float | None = None
    throttled_s: float | None = None
    throttled_periods: int | None = None
    thermal_events: int | None = None
    firmware_throttled: int | None = None
    swapped_in_pages: int | None = None
    battery: str | None = None
    battery_percent: int | None = None
    plugged: bool | None = None
    energy_uj: Mapping[str, Sequence[int]] = field(default_factory=dict)
    power_uw: Mapping[str, int] = field(default_factory=dict)
    energy_denied: Sequence[str] = ()


def reading_of(said: Mapping[str, Any]) -> Reading:
    """What ``agent.state`` said, here or on a device; a newer agent may say more."""
    known = {each.name for each in fields(Reading)}
    return Reading(**{"at_s": 0.0, **{name: value for name, value in said.items() if name in known}})


@dataclass(frozen=True)
class Conditions:
    """A machine during one measurement.

    Attributes:
        readings: in order; the first before it, the last after it. At least two.
        busiest: names and CPU seconds of the processes of others that took most.
        machine: its lasting facts.
    """

    readings: tuple[Reading, ...]
    busiest: tuple[tuple[str, float], ...]
    machine: Machine

    @property
    def before(self) -> Reading:
        """The first reading."""
        return self.readings[0]

    @property
    def after(self) -> Reading:
        """The last reading."""
        return self.readings[-1]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.after.at_s - self.before.at_s

    def grown(self, name: str) -> float | None:
        """By how much a counter grew; None where it cannot be read at either end."""
        first, last = getattr(self.before, name), getattr(self.after, name)
        return None if first is None or last is None else max(0.0, last - first)

    @property
    def others(self) -> float | None:
        """Share of the usable cores' time that other processes took, as long as that was looked at."""
        known = [each for each in self.readings if each.own_s is not None and each.busy_s is not None]
        if len(known) < 2:
            return None
        between = replace(self, readings=(known[0], known[-1]))
        busy, own, whole = (between.grown(name) for name in ("busy_s", "own_s", "cpu_s"))
        return None if busy is None or own is None or not whole else max(0.0, busy - own) / whole

    @property
    def stolen(self) -> float | None:
        """Share of the usable cores' time that the hypervisor kept."""
        steal, whole = self.grown("steal_s"), self.grown("cpu_s")
        return None if steal is None or not whole else steal / whole

    def clocks(self) -> tuple[float, float] | None:
        """Median MHz of the first and of the last half of the readings, the idle one before left out."""
        seen = [each.frequency_mhz for each in self.readings if each.frequency_mhz]
        if len(seen) < 2:
            return None
        seen = seen[1:] if len(seen) > 2 else seen
        half = (len(seen) + 1) // 2
        return statistics.median(seen[:half]), statistics.median(seen[-half:])

    def unread(self) -> tuple[str, ...]:
        """What this machine does not show, in words."""
        last = self.after
        missing = {
            "CPU times": last.busy_s is None,
            "quota": last.throttled_s is None,
            "frequency": last.frequency_mhz is None,
            "temperature": last.temperature_c is None,
        }
        return tuple(name for name, gone in missing.items() if gone)


class Watch:
    """Readings for as long as the ``with`` block runs; ``conditions`` afterwards.

    Args:
        proc: where procfs is; ``sys`` likewise sysfs.
        every_s: between two readings.
        cores: whose times and clocks count; () = those that this process may use.
    """

    def __init__(
        self,
        *,
        proc: Path = agent.PROC,
        sys: Path = agent.SYS,
        every_s: float = EVERY_S,
        cores: Sequence[int] = (),
    ) -> None:
        self._proc, self._sys, self._every_s = proc, sys, every_s
        self._cores = list(cores) or None
        self._readings: list[Reading] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._before = agent.processes(proc)
        self._busiest: tuple[tuple[str, float], ...] = ()

    def __enter__(self) -> Self:
        self._before = agent.processes(self._proc)
        self._readings.append(self._read(self._before))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        after = agent.processes(self._proc)
        self._readings.append(self._read(after))
        self._busiest = tuple(agent.busiest(self._before, after))

    @property
    def conditions(self) -> Conditions:
        """What was seen; after the block."""
        machine = of_facts(agent.machine(self._proc, self._sys))
        return Conditions(tuple(self._readings), self._busiest, machine)

    def _read(self, table: agent.Processes | None) -> Reading:
        return reading_of(agent.reading(proc=self._proc, sys=self._sys, table=table, cores=self._cores))

    def _follow(self) -> None:
        while not self._over.wait(self._every_s):
            self._readings.append(self._read(None))
