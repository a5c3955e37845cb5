"""C: one scale for all channels of a depthwise weight, whose channels are of different size.

Each output channel has one small kernel: nothing averages its rounding out, and a channel that is 16 times
smaller than the largest has 3 bits left.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.validation.diagnose.causes.outlier_channel import output_peaks, weights_to_blame
from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import WRONG_DB, harmed, severity, untouched

NAME = "per-tensor-depthwise"
REMEDY = (
    "quantize again with one scale for each channel (`edgekit quantize` always does); until then keep "
    "the operator "
    "in float"
)
FEW = 24.0  # integers on each side of zero that the middle channel has left: below 5 bits
SURE = 0.96


def per_tensor_depthwise(evidence: Evidence) -> Iterator[Cause]:
    """Where it costs more than rounding does."""
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        weight = kernel.weight
        if weight is None or not weight.depthwise or weight.params is None or len(weight.params.scale) != 1:
            continue
        blamed = weights_to_blame(evidence, kernel)
        loss = untouched(evidence, kernel) if blamed is None else blamed
        middle = float(np.median(output_peaks(weight))) / weight.params.scale[0]
        if not loss < WRONG_DB or (blamed is None and middle > FEW):
            continue
        says = (
            f"the depthwise weight of {kernel.name!r} has one scale, with which the middle channel reaches "
            f"{middle:.3g} of 127 integers: {loss:.1f} dB are left"
        )
        edit = RecipeEdit(("optimize", "override"), {"nodes": kernel.node, "precision": "fp32"})
        yield Cause(NAME, kernel.name, says, REMEDY, SURE * severity(loss), edit)
