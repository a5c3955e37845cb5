"""C: the range of a tensor is far wider than its values; few of the integers are used.

Not meant: a range that a channel of the tensor (outlier-channel), another branch of a Concat
(shared-concat-scale) or what an activation throws away (unfused-activation) needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.shared_concat_scale import joined_with_larger
from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import WRONG_DB, harmed, rounding_db, severity
from edgekit.validation.layers import limits

NAME = "range-too-wide"
REMEDY = (
    "look for the calibration sample that made the range (`edgekit calibrate` names it), or cut "
    "outliers off: "
    'method = "percentile:99.99"'
)
EDIT = RecipeEdit(("optimize", "quantize", "method"), "percentile:99.99")
USED = 1 / 4  # two bits lost: above, no more than min-max of unlucky data
SURE = 0.9


def range_too_wide(evidence: Evidence) -> Iterator[Cause]:
    """Where the steps are coarse because most of the range is empty."""
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        loss = rounding_db(kernel)
        if kernel.params is None or not kernel.figures.used < USED or not loss < WRONG_DB:
            continue
        if joined_with_larger(evidence, kernel) is not None:
            continue
        low, high = limits(kernel.params)
        says = (
            f"{kernel.name!r} holds {low:.4g} to {high:.4g}, the reference's values fill "
            f"{100 * kernel.figures.used:.3g} % of that: rounding leaves {loss:.1f} dB"
        )
        yield Cause(NAME, kernel.name, says, REMEDY, SURE * severity(loss), EDIT)
