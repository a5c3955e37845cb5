"""What a machine went through while it measured, and what disturbed the measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConditionRow:
    """One quantity of the machine that measured.

    Attributes:
        device: as the user named it; "" = this machine.
        name: "load", "frequency", "temperature", "battery", "others", "steal", "throttled".
        unit: "MHz", "C", "%", "s", "".
        before: before the rounds; None for what is a total over them.
        after: after the rounds, or the total.
    """

    device: str
    name: str
    unit: str
    before: float | None
    after: float


@dataclass(frozen=True)
class DisturbanceRow:
    """Why figures of this machine are not what a quiet one would give; the rules are in docs/benching.md."""

    device: str
    rule: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class EnvironmentRow:
    """All of one machine.

    Attributes:
        seconds: how long the rounds took.
        unread: what this machine does not show ("temperature"), so that no rule can speak of it.
    """

    device: str
    seconds: float
    conditions: tuple[ConditionRow, ...]
    disturbances: tuple[DisturbanceRow, ...]
    unread: tuple[str, ...]
