"""Gates + waivers + today's date -> gates: a known failure may pass for a while, and everybody sees it.

W1 a gate fails or is inconclusive, a waiver names it and has not expired -> "waived": it passes, and says why
W2 the waiver has expired (the day after its date) -> the gate's own status, and the reason names the waiver
W3 the gate passes or was not measured: a waiver changes nothing
W4 a waiver that changed nothing in a whole release is a finding: it names no gate or target that is here, or
   it is no longer needed. One that concerns only targets that were not released says nothing.

Of several that match the one with the latest date counts.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from edgekit.validation.budget import Gate


@dataclass(frozen=True, slots=True)
class Waiver:
    """Permission to miss one gate.

    Attributes:
        gate: its name (``validation.budget.GATE_CODES``).
        target: glob over target names.
        reason: why it may be missed.
        expires: the last day on which it holds.
    """

    gate: str
    target: str
    reason: str
    expires: date

    def matches(self, gate: str, target: str) -> bool:
        """Whether it names this gate of this target."""
        return gate == self.gate and fnmatch.fnmatchcase(target, self.target)

    def __str__(self) -> str:
        return f"waiver of {self.gate} for {self.target} ({self.reason!r}, expires {self.expires})"


@dataclass(frozen=True)
class Waiving:
    """The waivers of a recipe on one day."""

    waivers: tuple[Waiver, ...]
    today: date

    def __call__(self, gates: Iterable[Gate], *, target: str) -> tuple[Gate, ...]:
        """The gates of one artifact of ``target`` with what the waivers make of them (W1 to W3)."""
        return tuple(self._one(gate, target) for gate in gates)

    def _one(self, gate: Gate, target: str) -> Gate:
        found = [each for each in self.waivers if each.matches(gate.name, target)]
        if gate.status not in {"fail", "inconclusive"} or not found:  # W3
            return gate
        waiver = max(found, key=lambda each: each.expires)
        if waiver.expires < self.today:  # W2
            return replace(
                gate,
                reason=f"{gate.reason}; its waiver ({waiver.reason}) expired on {waiver.expires}",
                remedy=f"{gate.remedy}; or give the waiver a later date" if gate.remedy else "",
            )
        return replace(  # W1
            gate,
            status="waived",
            reason=f"waived until {waiver.expires} ({waiver.reason}); {gate.reason}",
        )

    def findings(
        self, gates: Mapping[str, Sequence[tuple[str, str]]], *, targets: Sequence[str]
    ) -> tuple[str, ...]:
        """W4.

        Args:
            gates: target that was released -> name and status of every gate of its artifacts.
            targets: all targets of the recipe.
        """
        return tuple(
            f"{waiver} {why}"
            for waiver in self.waivers
            if (why := self._useless(waiver, gates, targets=targets))
        )

    def _useless(
        self, waiver: Waiver, gates: Mapping[str, Sequence[tuple[str, str]]], *, targets: Sequence[str]
    ) -> str:
        meant = [name for name in targets if fnmatch.fnmatchcase(name, waiver.target)]
        if not meant:
            return f"matches no target of the recipe ({', '.join(targets)}): remove or correct it"
        if not any(name in gates for name in meant):
            return ""
        met = {status for name in meant for gate, status in gates.get(name, ()) if gate == waiver.gate}
        if not met:
            return "matches no gate: the budget has no such limit there"
        if not met & {"waived", "fail", "inconclusive"}:
            return "is not needed: no artifact misses that gate"
        return ""
