"""Segment -> the changes that are tried on it. The tables below are all of them; each is one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgekit.validation.diagnose.changes import (
    change_activation,
    change_epsilon,
    change_input,
    change_nothing,
    change_pad_value,
    change_padding,
    change_products,
    change_resize,
    change_weights,
)
from edgekit.validation.diagnose.changes.change import Change, Segment

CHANGES: tuple[Callable[[Segment], Iterator[Change]], ...] = (
    change_nothing.changes,
    change_weights.changes,
    change_padding.changes,
    change_pad_value.changes,
    change_epsilon.changes,
    change_resize.changes,
    change_activation.changes,
    change_input.changes,
)
LAST: tuple[Callable[[Segment], Iterator[Change]], ...] = (change_products.changes,)
"""What costs much to compute: tried where nothing of ``CHANGES`` explains the artifact."""

__all__ = ["CHANGES", "LAST", "Change", "Segment"]
