"""Variant x check target -> ReadinessRow: what a device that is not here would take.

A check proves nothing and ends nothing: a release goes on whatever it finds, and its files are in no bundle.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.backends.readiness import ready, rules_of
from edgekit.ir.pin import pinned
from edgekit.pipeline.came import Variant
from edgekit.pipeline.readiness_row import ReadinessRow
from edgekit.target import Target


def check(variant: Variant, target: Target, *, sizes: Mapping[str, int] | None = None) -> ReadinessRow:
    """Ask what the device would take of ``variant``.

    Args:
        variant: float or quantized; not changed.
        target: a check.
        sizes: open size -> number, before the target's own rule for the batch.

    Raises:
        InputError: no input has an open size of such a name.
    """
    rules, found = rules_of(target), ready(pinned(variant.model, sizes or {}), target)
    return ReadinessRow(
        target=target.name,
        precision=variant.precision,
        verdict="whole" if found.placed == found.nodes else "part" if found.placed else "nothing",
        device=rules.device,
        marked=target.marked,
        nodes=found.nodes,
        placed=found.placed,
        macs=found.macs,
        placed_macs=found.placed_macs,
        partitions=found.partitions,
        floats=rules.floats,
        blocked=found.blocked,
        unchecked=found.unchecked,
    )
