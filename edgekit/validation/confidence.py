"""Class scores -> probabilities, confidence, calibration error and KL divergence.

    probability   the scores themselves where every row is in 0..1 and sums to 1, else softmax(scores)
    confidence    the largest probability of a sample
    ECE           sum over bins b of (n_b / N) |share of right samples in b - mean confidence in b|
    KL(r || c)    mean over samples of sum_k r_k log(r_k / c_k), in nats

ECE: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, with their 15 bins of equal width. It is
biased upwards by about sqrt(bins / N), so it is compared between two models on the same samples, and not
with zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

BINS = 15  # Guo et al.
SUM_SLACK = 0.05  # a row of an 8-bit softmax over 1000 classes sums to 1 within a few per cent
SMALLEST = 1e-12  # a probability that a format rounds to 0 is not impossible


def are_scores(output: Numbers) -> bool:
    """Whether an output looks like class scores: (N, C >= 2), floating."""
    return output.ndim == 2 and output.shape[1] >= 2 and output.dtype.kind == "f"


def are_probabilities(scores: Numbers) -> bool:
    """Whether the rows of scores (N, C) are probabilities already."""
    if not len(scores) or float(scores.min()) < 0.0 or float(scores.max()) > 1.0 + SUM_SLACK:
        return False
    return bool((np.abs(scores.sum(axis=1) - 1.0) <= SUM_SLACK).all())


def probabilities(scores: Numbers, *, given: bool) -> Floats:
    """Scores (N, C) -> probabilities (N, C); ``given`` says that they are so up to rounding."""
    wide = scores.astype(np.float64)
    if not given:
        wide = np.exp(wide - wide.max(axis=1, keepdims=True))
    raised = np.maximum(wide, SMALLEST)
    found: Floats = raised / raised.sum(axis=1, keepdims=True)
    return found


def confidence_of(output: Numbers, labels: Numbers) -> Floats | None:
    """Output (N, C), (N, 1) or (N,) and labels (N,) -> (N, 3): confidence, 1 where the guess is right, guess.

    None where the output is no class score, or a label no class of it.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or len(labels) != len(output) or not len(labels):
        return None
    if are_scores(output):
        if int(labels.min()) < 0 or int(labels.max()) >= output.shape[1]:
            return None
        chance = probabilities(output, given=are_probabilities(output))
        return _columns(chance.max(axis=1), output.argmax(axis=1), labels)
    if output.dtype.kind != "f" or output.size != len(output):
        return None
    one = output.reshape(len(output)).astype(np.float64)
    if one.min() < 0.0 or one.max() > 1.0 or int(labels.min()) < 0 or int(labels.max()) > 1:
        return None
    return _columns(np.maximum(one, 1.0 - one), one > 0.5, labels)


def _columns(confidence: Floats, guess: Numbers, labels: Numbers) -> Floats:
    return np.stack([confidence, (guess == labels).astype(np.float64), guess.astype(np.float64)], axis=1)


def calibration_error(found: Floats) -> float:
    """Confidence, right, guess (N, 3) -> ECE, 0 to 1."""
    place = np.minimum((found[:, 0] * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(place, weights=found[:, 1] - found[:, 0], minlength=BINS)
    return float(np.abs(gaps).sum() / len(found))


def divergence(reference: Numbers, candidate: Numbers, *, given: bool) -> Floats:
    """Scores (N, C) of both -> KL(reference || candidate) of each sample (N,), in nats."""
    r, c = (
        probabilities(reference, given=given),
        probabilities(candidate.clip(0) if given else candidate, given=given),
    )
    found: Floats = (r * (np.log(r) - np.log(c))).sum(axis=1)
    return np.maximum(found, 0.0)
