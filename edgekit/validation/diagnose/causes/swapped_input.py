"""C: the layout or the normalization of an input is another one than the reference's.

S1 trial "layout": channels-last memory read as channels-first, height for width, BGR for RGB
S2 trial "normalization": another factor or offset, or the model's own arithmetic behind its input left out
S3 the data: what is fed fills little of the range that the artifact has for its input, or mostly leaves
   it. Nothing in
   front of an input can be wrong but the data: the artifact was calibrated with another normalization. An
   input that is rounded only behind arithmetic with constants (``arrives``) is meant too.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validation.diagnose.causes.by_trial import by_trial
from edgekit.validation.diagnose.evidence import Cause, Evidence
from edgekit.validation.diagnose.look import harmed
from edgekit.validation.layers import KernelEvidence, limits

LAYOUT, NORMALIZATION = "swapped-layout", "swapped-normalization"
LAYOUT_REMEDY = (
    "feed the artifact in the layout that its input has (`edgekit inspect` shows it), or convert again; "
    "where the "
    "recipe prepares the data, correct the step `layout` of [data] preprocess"
)
NORMALIZATION_REMEDY = (
    "prepare calibration data, evaluation data and the app's input with the same steps: correct `scale` and "
    "`normalize` of [data] preprocess, then calibrate again"
)
UNUSED = 1 / 16  # of the input's range: 8 bits have become 4
CLIPPED = 0.2  # of the input's power: above, whole regions of the input look alike
SURE = 0.99
_PASSED = frozenset(
    ("Sub", "Add", "Mul", "Div", "BatchNormalization", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
)


def swapped_layout(evidence: Evidence) -> Iterator[Cause]:
    """S1."""
    yield from by_trial(evidence, ("layout",), name=LAYOUT, remedy=LAYOUT_REMEDY)


def swapped_normalization(evidence: Evidence) -> Iterator[Cause]:
    """S2 and S3."""
    yield from by_trial(evidence, ("normalization",), name=NORMALIZATION, remedy=NORMALIZATION_REMEDY)
    if not harmed(evidence):
        return
    for kernel in arrives(evidence):
        figures, params = kernel.figures, kernel.params
        if params is None or len(params.scale) != 1:
            continue
        if not (figures.used < UNUSED or figures.clip_noise > CLIPPED):
            continue
        low, high = limits(params)
        says = (
            f"{kernel.name!r} is fed {figures.low:.4g} to {figures.high:.4g}, and the artifact was "
            "calibrated for "
            f"{low:.4g} to {high:.4g}"
        )
        yield Cause(NORMALIZATION, kernel.name, says, NORMALIZATION_REMEDY, SURE)


def arrives(evidence: Evidence) -> tuple[KernelEvidence, ...]:
    """Inputs of the model as the artifact rounds them, some behind arithmetic with constants."""
    fed = {each.name for each in evidence.inputs}
    found: dict[str, KernelEvidence] = {}
    for kernel in evidence.kernels:
        sources = set(kernel.inputs) or {kernel.name}
        passed = all(node.op_type in _PASSED for node in kernel.segment)
        if passed and sources <= fed | found.keys() and len(sources) == 1:
            found[kernel.name] = kernel
    return tuple(found.values())
