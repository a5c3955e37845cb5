"""Segment -> the same segment: what every other trial is compared with.

A kernel behind a wrong one gets values that its range never saw and saturates. The trial without a change is
limited to what the integers hold, as all others are, so that saturation alone makes no change look good.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.changes.change import Change, Segment

KIND = "none"


def changes(segment: Segment) -> Iterator[Change]:
    """The one."""
    yield Change(KIND, "as the reference has it", "", segment.model)
