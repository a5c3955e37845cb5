"""Conditions of a measurement -> what disturbed it, each with a remedy.

| rule | fires where, during the rounds | must not fire for |
|---|---|---|
| W1 | other processes took 10 % of the cores that the measurement may use | its own workers |
| W2 | the hypervisor kept 2 % of the time from this machine | what it kept before |
| W3 | a cgroup's quota stopped this process for 1 % of the time | what it stopped before |
| W4 | the clock fell by 10 % from the first half of the readings to the last | a clock that rises from idle |
| W5 | the CPU came within 5 C of where its system slows down (where nobody says: 85 C) | a warm CPU |
| W6 | the governor held the clock below 90 % of its base, or means "powersave" | intel_pstate's |
| W7 | the load before was 1 for each core, and CPU times cannot be read | a machine where W1 can say more |
| W8 | 1 MiB was swapped in | what was swapped in before |
| W9 | a battery feeds the machine | a battery that charges |
| W10 | the processor or its firmware says that it slowed itself down | what it says of the time before |
| W11 | the firmware says under-voltage (Raspberry Pi) | what it says of the time before |

Sources: Linux Documentation/admin-guide/pm/cpufreq.rst, intel_pstate.rst, amd-pstate.rst; the firmware's
bits: raspberrypi.com, documentation of vcgencmd get_throttled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.measure.conditions import Conditions

OTHERS = 0.10  # of the CPU; on a quiet machine it is 1 to 3 %
STOLEN = 0.02  # of the time: more than a hypervisor's own housekeeping takes
THROTTLED = 0.01  # of the time: one period of 100 ms in 10 s
FELL = 0.10  # of the clock; latencies follow it one to one
HELD_DOWN = 0.90  # of the base clock, which a loaded core always reaches
NEAR_LIMIT_C = 5.0  # governors step in before the trip point
HOT_C = 85.0  # where no limit is known: what most boards and laptops slow down at
SWAPPED_PAGES = 256  # 1 MiB
FOLLOWS_LOAD = ("intel_pstate", "amd-pstate-epp")  # drivers whose "powersave" is no fixed clock
SLOWED_BITS, UNDER_VOLTAGE_BIT = 0b1110, 0b1  # of get_throttled: those that hold now, not since boot


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One rule that fired."""

    rule: str
    reason: str
    remedy: str


def found(conditions: Conditions) -> tuple[Disturbance, ...]:
    """All rules that fire, in the order of the table."""
    fired = ((name, rule(conditions)) for name, rule in RULES.items())
    return tuple(Disturbance(name, *words) for name, words in fired if words is not None)


Words = tuple[str, str]
"""Reason and remedy."""


def _other_processes(seen: Conditions) -> Words | None:
    share = seen.others
    if share is None or share < OTHERS:
        return None
    whole = seen.grown("cpu_s") or 1.0
    named = [
        f"{name} {100 * seconds / whole:.0f} %" for name, seconds in seen.busiest if seconds / whole >= 0.01
    ]
    who = f" ({', '.join(named)})" if named else ""
    return (
        f"other processes{who} took {100 * share:.0f} % of the CPU during the rounds",
        "stop them, or measure when the machine is idle",
    )


def _hypervisor(seen: Conditions) -> Words | None:
    share = seen.stolen
    if share is None or share < STOLEN:
        return None
    return (
        f"the hypervisor kept {100 * share:.0f} % of the CPU time from this machine during the rounds",
        "measure on a host of its own, or at another time; compare only what ran interleaved",
    )


def _quota(seen: Conditions) -> Words | None:
    stopped_s = seen.grown("throttled_s")
    if stopped_s is None or stopped_s < THROTTLED * seen.seconds or stopped_s == 0:
        return None
    limit = seen.machine.cpu_limit
    granted = f" of {limit:g} CPUs" if limit else ""
    return (
        f"the cgroup throttled {stopped_s:.2g} s of {seen.seconds:.2g} s: its quota{granted} was used up",
        f"give the container more CPU, or use --threads {max(1, math.floor(limit or 1))}",
    )


def _clock_fell(seen: Conditions) -> Words | None:
    clocks = seen.clocks()
    if clocks is None or clocks[1] > (1 - FELL) * clocks[0]:
        return None
    return (
        f"the frequency fell from {_ghz(clocks[0])} to {_ghz(clocks[1])} GHz during the rounds",
        "let it cool down and cool it better, or fix a clock that it can hold",
    )


def _hot(seen: Conditions) -> Words | None:
    known = [each.temperature_c for each in seen.readings if each.temperature_c is not None]
    if not known:
        return None
    limits = [each.temperature_limit_c for each in seen.readings if each.temperature_limit_c is not None]
    limit = min(limits, default=None)
    if max(known) < (HOT_C if limit is None else limit - NEAR_LIMIT_C):
        return None
    rose = f"rose from {known[0]:.0f} to" if max(known) > known[0] + 1 else "was at"
    until = "" if limit is None else f"; the system slows down from {limit:.0f} C"
    return (
        f"the temperature {rose} {max(known):.0f} C{until}",
        "let it cool down and cool it better; --sustained shows what it holds for minutes",
    )


def _governor(seen: Conditions) -> Words | None:
    machine = seen.machine
    fastest = max((each.frequency_mhz or 0 for each in seen.readings), default=0)
    slowest = machine.governor == "powersave" and machine.frequency_driver not in FOLLOWS_LOAD
    # with turbo and no base clock nobody says what a loaded core should reach
    base = machine.frequency_base_mhz or (0 if machine.turbo == "on" else machine.frequency_max_mhz)
    held = machine.governor and 0 < fastest < HELD_DOWN * base
    if not slowest and not held:
        return None
    clock = f" ran at {_ghz(fastest)} of {_ghz(base)} GHz" if held else " keeps the lowest clock"
    return (
        f"the governor {machine.governor}{clock}",
        "sudo cpupower frequency-set -g performance, and back afterwards",
    )


def _load_before(seen: Conditions) -> Words | None:
    load, cores = seen.before.load, max(1, seen.machine.cores)
    if seen.after.busy_s is not None or load is None or load < cores:
        return None
    return (
        f"the load was {load:.2g} on {cores} cores before the rounds, and CPU times cannot be read",
        "wait until it is idle, and measure again",
    )


def _swapping(seen: Conditions) -> Words | None:
    pages = seen.grown("swapped_in_pages")
    if pages is None or pages < SWAPPED_PAGES:
        return None
    return (
        f"{pages / 256:.0f} MiB were swapped in during the rounds",
        "free memory: close programs, or measure a smaller model",
    )


def _battery(seen: Conditions) -> Words | None:
    fed = any(each.battery == "Discharging" and not each.plugged for each in seen.readings)
    if not fed:
        return None
    charge = seen.after.battery_percent
    left = f" ({charge} % left)" if charge is not None else ""
    return (
        f"a battery{left} feeds the machine: systems lower the clock then",
        "plug it in; to measure as it is used, say so beside the figure",
    )


def _slowed_itself(seen: Conditions) -> Words | None:
    events = seen.grown("thermal_events")
    bits = any((each.firmware_throttled or 0) & SLOWED_BITS for each in seen.readings)
    if not events and not bits:
        return None
    times = f" {events:.0f} times" if events else ""
    return (
        f"the {'processor' if events else 'firmware'} slowed the CPU down{times} during the rounds",
        "let it cool down and cool it better",
    )


def _under_voltage(seen: Conditions) -> Words | None:
    if not any((each.firmware_throttled or 0) & UNDER_VOLTAGE_BIT for each in seen.readings):
        return None
    return "the firmware reports under-voltage", "use the maker's power supply and a short, thick cable"


def _ghz(mhz: float) -> str:
    return f"{mhz / 1e3:.1f}"


RULES: dict[str, Callable[[Conditions], Words | None]] = {
    "W1": _other_processes,
    "W2": _hypervisor,
    "W3": _quota,
    "W4": _clock_fell,
    "W5": _hot,
    "W6": _governor,
    "W7": _load_before,
    "W8": _swapping,
    "W9": _battery,
    "W10": _slowed_itself,
    "W11": _under_voltage,
}
