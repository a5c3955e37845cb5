"""Conditions of a machine -> the rows of a result: what it went through, and which rules fired."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.measure import disturbances
from edgekit.measure.conditions import Conditions
from edgekit.pipeline.result import ConditionRow, DisturbanceRow, EnvironmentRow


def environment_row(seen: Conditions, *, device: str = "") -> EnvironmentRow:
    """The rows of one machine."""
    return EnvironmentRow(
        device,
        seen.seconds,
        tuple(ConditionRow(device, *each) for each in _quantities(seen)),
        tuple(
            DisturbanceRow(device, each.rule, each.reason, each.remedy) for each in disturbances.found(seen)
        ),
        seen.unread(),
    )


def _quantities(seen: Conditions) -> Iterator[tuple[str, str, float | None, float]]:
    """Name, unit, before, after of what can be read."""
    for name, unit, attribute in (
        ("load", "", "load"),
        ("frequency", "MHz", "frequency_mhz"),
        ("temperature", "C", "temperature_c"),
        ("battery", "%", "battery_percent"),
    ):
        before, after = getattr(seen.before, attribute), getattr(seen.after, attribute)
        if after is not None:
            yield name, unit, before, after
    for name, share in (("others", seen.others), ("steal", seen.stolen)):
        if share is not None:
            yield name, "%", None, 100 * share
    stopped_s = seen.grown("throttled_s")
    if stopped_s is not None:
        yield "throttled", "s", None, stopped_s
