"""Energy of one artifact by one meter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EnergyRow:
    """What a meter saw, or why there is none.

    Attributes:
        device: as the user named it; "" = this machine.
        meter: "RAPL package-0 + dram", "ina226 VDD", "battery BAT0"; "" = no meter, for ``reason``.
        scope: what it measures, in words.
        joules: of one inference: of everything, less the idle part where ``idle_watts`` is known.
        watts: mean power while it ran, everything included.
        idle_watts: of the machine at rest with the artifact loaded; None = not measured, and not taken off.
    """

    artifact: str
    device: str
    meter: str
    scope: str
    joules: float | None
    watts: float | None
    idle_watts: float | None
    seconds: float
    runs: int
    reason: str = ""
    remedy: str = ""
