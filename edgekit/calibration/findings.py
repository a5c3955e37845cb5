"""What calibration saw of its data -> findings: a code, a sentence, a remedy.

| code | severity | when |
|---|---|---|
| too-few-samples | warning | fewer than 16 samples: rare but normal values are missing from the ranges |
| duplicate-samples | warning | the same sample more than once: it counts, but shows nothing new |
| same-samples | warning | all samples are one and the same: the data changes nothing |
| constant-input | warning | an input has one value in all samples: the data or the pre-processing is broken |
| unchanging-output | warning | the samples differ and no output does: nothing of the data arrives there |
| halves-disagree | warning | even and odd samples give a range that differs by more than a factor of 2 |
| dead-activation | info | a tensor has one value on all data: part of the network never reacts |
| raw-bytes, tiny-input, swapped-layout, unused-input | warning | see ``input_hints`` |
| data-overlap | warning | calibration and evaluation share samples, see ``samples`` |

A finding is advice: nothing fails because of one. What cannot be used at all is a DataError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from edgekit.calibration.evidence import Evidence
from edgekit.calibration.finding import Finding
from edgekit.calibration.samples import SampleLog
from edgekit.spec import Range

FEW_SAMPLES = 16  # below, one sample moves a minimum or maximum visibly; peers recommend 100 to 300
DISAGREEMENT = 2.0  # one bit of the 8: the range is decided by which samples were drawn


def findings(
    *,
    samples: int,
    log: SampleLog,
    inputs: Mapping[str, Range],
    activations: Mapping[str, Range],
    halves: Evidence,
    outputs_change: bool,
    others: Iterable[Finding] = (),
) -> tuple[Finding, ...]:
    """All findings, in the order of the table.

    Args:
        samples: how many samples were seen.
        log: their repetitions.
        inputs: exact extrema of each input.
        activations: exact extrema of each float value between nodes.
        halves: extrema of even and odd samples.
        outputs_change: whether any output differed between samples, as far as that is known.
        others: what was found elsewhere.
    """
    return (
        *_of_samples(samples, log, outputs_change=outputs_change),
        *_of_inputs(inputs),
        *(_disagreement(halves) if samples >= FEW_SAMPLES else ()),
        *_of_activations(activations),
        *others,
    )


def _of_samples(samples: int, log: SampleLog, *, outputs_change: bool) -> Iterator[Finding]:
    if samples < FEW_SAMPLES:
        yield Finding(
            "too-few-samples",
            "warning",
            f"{samples} calibration samples",
            f"use at least {FEW_SAMPLES}, better 100 to 300, drawn like the data of production",
        )
    same = samples > 1 and log.duplicates == samples - 1
    if same:
        yield Finding(
            "same-samples",
            "warning",
            f"all {samples} samples are the same: more of them change nothing",
            "check the loader; a forgotten index or a generator that starts anew gives one sample for ever",
        )
    elif log.duplicates:
        yield Finding(
            "duplicate-samples",
            "warning",
            f"{log.duplicates} of {samples} samples repeat an earlier one (first: sample "
            f"{log.first_duplicate})",
            "remove repetitions, or check how the samples are drawn",
        )
    if samples > 1 and not same and not outputs_change:
        yield Finding(
            "unchanging-output",
            "warning",
            f"the outputs are the same for all {samples} samples: the data changes nothing",
            "compare scale, layout and normalization with those of training, and the model with its weights",
        )


def _of_inputs(inputs: Mapping[str, Range]) -> Iterator[Finding]:
    for name, extent in inputs.items():
        if extent.low == extent.high:
            yield Finding(
                "constant-input",
                "warning",
                f"input {name!r} is {extent.low:g} in every sample",
                "check the data file and the pre-processing: this input carries nothing",
            )


def _disagreement(halves: Evidence) -> Iterator[Finding]:
    """Width of each half's range with zero inside, as quantization sees it."""
    low, high = np.minimum(halves.half_low, 0.0), np.maximum(halves.half_high, 0.0)
    known = np.isfinite(halves.half_low).all(axis=0) & np.isfinite(halves.half_high).all(axis=0)
    width = np.where(known, high - low, 1.0)
    smaller, larger = width.min(axis=0), width.max(axis=0)
    factor = np.divide(larger, smaller, out=np.ones_like(larger), where=smaller > 0)
    factor[(smaller == 0) & (larger > 0)] = np.inf
    over = np.flatnonzero(factor > DISAGREEMENT)
    if not over.size:
        return
    worst = int(np.argmax(factor))
    yield Finding(
        "halves-disagree",
        "warning",
        f"even and odd samples give different ranges for {over.size} of {factor.size} tensors, for "
        f"{halves.names[worst]!r} by a factor of {factor[worst]:.3g}",
        f"use more samples, or a method that cuts outliers (--method percentile); {DISAGREEMENT:g} is a bit",
    )


def _of_activations(activations: Mapping[str, Range]) -> Iterator[Finding]:
    dead = sorted(name for name, extent in activations.items() if extent.low == extent.high)
    if dead:
        shown = ", ".join(repr(name) for name in dead[:3]) + (", ..." if len(dead) > 3 else "")
        yield Finding(
            "dead-activation",
            "info",
            f"{len(dead)} value(s) never change on the calibration data: {shown}",
            "check that the data covers what the model is for",
        )
