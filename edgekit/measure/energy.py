"""Readings of counters and power sensors -> joules of a stretch of time, and of one inference.

    joules = sum over readings of (counter - counter before), plus the range where it started again
    joules = sum over readings of (power + power before) / 2 * seconds
    joules of an inference = (joules - idle watts * seconds) / inferences

N1 a counter (RAPL) · N2 a power sensor (INA) · N3 a battery that discharges · N4 files that only root may
read · N5 nothing: "no meter". What is reported is measured; nothing is estimated from a data sheet.

Sources: Linux Documentation/power/powercap/powercap.rst, Documentation/hwmon/ina2xx.rst and ina3221.rst,
Documentation/ABI/testing/sysfs-class-power; N4: CVE-2020-8694 (PLATYPUS), for which Linux 5.10 made energy_uj
readable by root only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.measure.conditions import Reading

NO_METER = "no meter"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one meter saw.

    Attributes:
        meter: its name.
        scope: what it measures, in words.
        joules: over ``seconds``, everything included.
        idle_watts: of the same machine at rest with the artifact loaded; None where it was not measured.
    """

    meter: str
    scope: str
    joules: float
    seconds: float
    idle_watts: float | None

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds

    def per_inference(self, runs: int) -> float:
        """Joules of one of ``runs`` inferences; without the idle part where that is known."""
        return (self.joules - (self.idle_watts or 0.0) * self.seconds) / runs


def spent(readings: Sequence[Reading], *, idle: Sequence[Reading] = ()) -> tuple[Spent, ...]:
    """What every meter saw between the first and the last of ``readings``.

    Args:
        readings: in order; a meter counts where all of them have it.
        idle: of a rest before, two at least, or none.
    """
    at_rest = _joules(idle)
    rest_s = idle[-1].at_s - idle[0].at_s if at_rest else 0.0
    seconds = readings[-1].at_s - readings[0].at_s if readings else 0.0
    if seconds <= 0:
        return ()
    return tuple(
        Spent(meter, _scope(meter), joules, seconds, at_rest[meter] / rest_s if meter in at_rest else None)
        for meter, joules in _joules(readings).items()
    )


def why_none(readings: Sequence[Reading]) -> tuple[str, str]:
    """Why there is no figure, and what to do (N4, N5)."""
    denied = sorted({file for each in readings for file in each.energy_denied})
    if denied:
        return (
            f"{NO_METER}: {denied[0]} can be read by root only (since CVE-2020-8694)",
            f"sudo chmod a+r {' '.join(denied)}  until the next start, or run as root",
        )
    if any(each.battery and each.battery != "Discharging" for each in readings):
        return (
            f"{NO_METER}: no RAPL and no power sensor, and the battery does not discharge",
            "unplug the charger",
        )
    return f"{NO_METER}: no RAPL, no INA sensor and no battery under /sys", "measure with an outside meter"


def _joules(readings: Sequence[Reading]) -> Mapping[str, float]:
    """By meter; RAPL's parts are one meter."""
    if len(readings) < 2:
        return {}
    found = {}
    counters = set.intersection(*(set(each.energy_uj) for each in readings))
    if counters:
        names = sorted({name.split(" ")[0] for name in counters})
        found[f"RAPL {' + '.join(names)}"] = sum(_counted(readings, name) for name in counters) / 1e6
    for name in sorted(set.intersection(*(set(each.power_uw) for each in readings))):
        found[name] = (
            sum(
                (one.power_uw[name] + two.power_uw[name]) / 2 * (two.at_s - one.at_s)
                for one, two in pairwise(readings)
            )
            / 1e6
        )
    return found


def _counted(readings: Sequence[Reading], name: str) -> int:
    """N1, in uJ. A counter runs for minutes before it starts again, and is read every few seconds."""
    total = 0
    for one, two in pairwise(readings):
        before, after = one.energy_uj[name][0], two.energy_uj[name][0]
        total += after - before if after >= before else after - before + two.energy_uj[name][1]
    return total


def _scope(meter: str) -> str:
    if meter.startswith("RAPL"):
        return "the processor package" + (" and its memory" if "dram" in meter else "")
    return "the whole device" if meter.startswith("battery") else "this rail of the board"
