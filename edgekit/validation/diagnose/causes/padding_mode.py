"""C: a Conv, a pooling or a Pad pads at other sides, or with other values, than the reference.

Trial "pads" (``changes.change_padding``): SAME_LOWER for SAME_UPPER, all at one side, edge or reflected
values.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence

NAME = "padding-mode"
REMEDY = (
    "convert again with the reference's padding written out as numbers (`edgekit compile` does); "
    "no recipe can repair the file"
)


def padding_mode(evidence: Evidence) -> Iterator[Cause]:
    """Where other pads explain the artifact."""
    yield from by_trial(evidence, ("pads",), name=NAME, remedy=REMEDY)
