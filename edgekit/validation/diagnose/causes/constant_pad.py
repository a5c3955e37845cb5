"""C: the padding holds another number than the reference's, most often the integer 0 for the zero point.

Trial "pad-value" (``changes.change_pad_value``).
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence

NAME = "constant-pad"
REMEDY = (
    "pad with the zero point of the tensor, which stands for 0.0: quantize again from the float model with "
    "`edgekit quantize`; no recipe can repair the file"
)


def constant_pad(evidence: Evidence) -> Iterator[Cause]:
    """Where another number in the padding explains the artifact."""
    yield from by_trial(evidence, ("pad-value",), name=NAME, remedy=REMEDY)
