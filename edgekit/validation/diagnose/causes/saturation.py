"""C: sums of two products saturate at 16 bits: an x86 CPU without VNNI, and large weights.

Trial "products" (``changes.change_products``) computes what such a CPU does. Where it would be too large,
what the
sums can reach (``Evidence.products``, the arithmetic of ``quantization.saturation``) is named if nothing
else is.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import WRONG_DB, severity, untouched

NAME = "saturation"
REMEDY = (
    'write cross_cpu = "exact": the weights are stored so that no sum of two products leaves 16 bits '
    "(docs/cross-cpu.md)"
)
EDIT = RecipeEdit(("optimize", "quantize", "cross_cpu"), "exact")
INT16 = (-32768, 32767)
POSSIBLE = 0.3  # of the severity: that sums can saturate is no proof that they do


def saturation(evidence: Evidence) -> Iterator[Cause]:
    """Where saturating sums explain the artifact, or could and were not tried."""
    yield from by_trial(evidence, ("products",), name=NAME, remedy=REMEDY, edit=EDIT)
    tried = {trial.kernel for trial in evidence.trials if trial.change == "products"}
    reach = {each.kernel: each for each in evidence.products}
    for kernel in evidence.kernels:
        sums, own = reach.get(kernel.name), untouched(evidence, kernel)
        if sums is None or kernel.name in tried or not own < WRONG_DB:
            continue
        if sums.smallest < INT16[0] or sums.largest > INT16[1]:
            says = (
                f"sums of two products of {kernel.name!r} reach {sums.smallest} to {sums.largest}, "
                "beyond 16 bits, "
                f"and its own error is at {own:.1f} dB"
            )
            yield Cause(NAME, kernel.name, says, REMEDY, POSSIBLE * severity(own), EDIT)
