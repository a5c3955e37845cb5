"""C: the range of a tensor is too narrow; what lies outside is cut off.

    clip_noise = sum (r - nearest value that the integers hold)^2 / sum r^2       on the reference's values

so a kernel that saturates only because something in front of it is wrong is not meant.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import db, harmed, severity
from edgekit.validation.layers import limits

NAME = "range-clipped"
REMEDY = (
    "calibrate on more samples, of the kind that is fed, with ranges as they were seen "
    '(method = "minmax"), or keep what loses least (method = "mse")'
)
EDIT = RecipeEdit(("optimize", "quantize", "method"), "minmax")
SURE = 0.95
MOST_DB = (
    18.0  # one value in a few thousand that calibration has not seen can cost 25 dB: chance, not a fault
)


def range_clipped(evidence: Evidence) -> Iterator[Cause]:
    """Where what is cut off is more than rounding costs."""
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        figures, loss = kernel.figures, db(kernel.figures.clip_noise)
        if kernel.params is None or not loss < MOST_DB:
            continue
        low, high = limits(kernel.params)
        share = 100 * (figures.clipped_low + figures.clipped_high)
        says = (
            f"{kernel.name!r} holds {low:.4g} to {high:.4g}, the reference's values reach "
            f"{figures.low:.4g} to "
            f"{figures.high:.4g}: {share:.3g} % are cut off, {loss:.1f} dB are left"
        )
        yield Cause(NAME, kernel.name, says, REMEDY, SURE * severity(loss), EDIT)
