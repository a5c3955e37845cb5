"""C: one channel is so much larger than the others that its scale leaves them few integers.

O1 activations: a channel spans ``RATIO`` times what the middle one does, and rounding with the tensor's
   one scale leaves less than ``WRONG_DB`` of the middle one
O2 weights: rounding them is what is wrong (trial "weights"), and an input channel is multiplied with numbers
   ``RATIO`` times as large as the middle one; the output channels, each with a scale of its own, are all
   hurt by it
O3 weights with one scale for the whole tensor: likewise for output channels (a depthwise Conv has a name
   of its own)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgekit.validation.diagnose.evidence import Cause, Evidence, RecipeEdit
from edgekit.validation.diagnose.look import (
    BETTER_DB,
    WRONG_DB,
    harmed,
    rounding_db,
    severity,
    step_of,
    untouched,
)
from edgekit.validation.layers import KernelEvidence, WeightEvidence

NAME = "outlier-channel"
REMEDY = (
    'bring the channels to like size before quantizing: restore = "auto" (docs/restoration.md); '
    "where that is not enough, keep the operator in float"
)
EDIT = RecipeEdit(("optimize", "quantize", "restore"), "auto")
RATIO = 8.0  # three bits
FEWEST = 4  # channels
SURE = 0.93


def outlier_channel(evidence: Evidence) -> Iterator[Cause]:
    """O1, then O2 and O3."""
    if not harmed(evidence):
        return
    for kernel in evidence.kernels:
        found = _activation(kernel) or _weight(evidence, kernel)
        if found is not None:
            yield found


def _activation(kernel: KernelEvidence) -> Cause | None:
    channels, step = kernel.channels, step_of(kernel)
    if step is None or channels.axis is None:
        return None
    spans = np.array(
        [max(abs(low), abs(high)) for low, high in zip(channels.low, channels.high, strict=True)]
    )
    power = np.array(channels.signal)
    alive = power > 0.0
    if np.count_nonzero(alive) < FEWEST:
        return None
    index, middle = int(spans.argmax()), float(np.median(spans[alive]))
    loss = rounding_db(kernel, power=float(np.median(power[alive])))
    if spans[index] < RATIO * middle or not loss < WRONG_DB:
        return None
    says = (
        f"channel {index} of {kernel.name!r} reaches {spans[index]:.4g}, the middle one {middle:.4g}: "
        "with one step "
        f"of {step:.3g} rounding leaves {loss:.1f} dB of that"
    )
    return Cause(NAME, kernel.name, says, REMEDY, SURE * severity(loss), EDIT)


def _weight(evidence: Evidence, kernel: KernelEvidence) -> Cause | None:
    weight, loss = kernel.weight, weights_to_blame(evidence, kernel)
    if weight is None or weight.params is None or loss is None:
        return None
    one_scale = len(weight.params.scale) == 1
    if one_scale and weight.depthwise:
        return None  # per-tensor-depthwise
    peaks = output_peaks(weight) if one_scale else weight.input_peak
    what = "output" if one_scale else "input"
    if len(peaks) < FEWEST:
        return None
    middle = float(np.median(peaks))
    index = int(np.argmax(peaks))
    if peaks[index] < RATIO * middle:
        return None
    says = (
        f"{what} channel {index} of the weight of {kernel.name!r} reaches {peaks[index]:.4g}, the middle one "
        f"{middle:.4g}: rounding the weight leaves {loss:.1f} dB"
    )
    return Cause(NAME, kernel.name, says, REMEDY, SURE * severity(loss), EDIT)


def output_peaks(weight: WeightEvidence) -> Sequence[float]:
    """Largest absolute value of each output channel."""
    return [max(abs(low), abs(high)) for low, high in zip(weight.low, weight.high, strict=True)]


def weights_to_blame(evidence: Evidence, kernel: KernelEvidence) -> float | None:
    """Own signal to noise of the kernel, where rounding of its weights explains what is wrong; else None."""
    own = untouched(evidence, kernel)
    tried = [t.own.sqnr_db for t in evidence.trials if t.kernel == kernel.name and t.change == "weights"]
    return own if own < WRONG_DB and tried and tried[0] >= own + BETTER_DB else None
