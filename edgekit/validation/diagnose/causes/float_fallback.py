"""C: operators that the target computes in integers run in float, and nobody asked for it.

No number is wrong by it, so it stands behind everything that costs accuracy: it is what makes int8 slow.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.evidence import Cause, Evidence

NAME = "float-fallback"
REMEDY = (
    "quantize again from the float model with `edgekit quantize`, and look for [[optimize.override]] "
    "entries that "
    "keep these operators in float"
)
MOST = 0.2  # of a score: below every cause that costs accuracy
QUANTIZED = ("w8a8", "w8a16")


def float_fallback(evidence: Evidence) -> Iterator[Cause]:
    """One cause for all such kernels; where everything is float, that is the precision and no fault."""
    if evidence.precision not in QUANTIZED:
        return
    meant = [kernel for kernel in evidence.kernels if kernel.name in evidence.eligible]
    fell = [kernel for kernel in meant if not kernel.integer and kernel.kernel]  # "": nobody knows what runs
    if not fell:
        return
    named = ", ".join(repr(kernel.name) for kernel in fell[:3]) + (", ..." if len(fell) > 3 else "")
    says = f"{len(fell)} of {len(meant)} kernels that the target has for integers run in float: {named}"
    yield Cause(NAME, fell[0].name, says, REMEDY, MOST * len(fell) / len(meant))
