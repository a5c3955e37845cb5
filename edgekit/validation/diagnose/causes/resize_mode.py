"""C: a Resize interpolates otherwise, or looks at other pixels, than the reference's.

Trial "resize" (``changes.change_resize``).
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence

NAME = "resize-mode"
REMEDY = (
    "convert again with the reference's mode and coordinate_transformation_mode (`edgekit compile` "
    "refuses what "
    "a runtime cannot do); no recipe can repair the file"
)


def resize_mode(evidence: Evidence) -> Iterator[Cause]:
    """Where another form of Resize explains the artifact."""
    yield from by_trial(evidence, ("resize",), name=NAME, remedy=REMEDY)
