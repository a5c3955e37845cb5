"""Outputs (batch, classes) of a classifier -> logarithms of chances, with or without a softmax at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekit.errors import InputError

SUM_OF_CHANCES = 1e-4  # how far from 1: float32 sums of a thousand classes are closer
SUM_OF_HALVES = 1e-2  # likewise of bfloat16, which rounds to 1/256
LEAST_CHANCE = 1e-12  # its logarithm is finite
FEWEST_CLASSES = 3  # of scores that say nothing else of what they are: two numbers may be a place
LARGEST_SHARE = 0.5  # of the samples in one class, likewise


def log_chances(scores: Any, *, like: Any = None) -> Any:
    """Of a tensor of chances their logarithms, of any other scores the log-softmax.

    ``like`` says which of the two they are, where ``scores`` are about to change; None = they themselves.
    """
    import torch

    if _are_chances((scores if like is None else like).detach()):
        return torch.log(scores.clamp_min(LEAST_CHANCE))
    return torch.log_softmax(scores, dim=1)


def _are_chances(scores: Any) -> bool:
    import torch

    near = SUM_OF_HALVES if scores.dtype == torch.bfloat16 else SUM_OF_CHANCES
    return bool((scores >= 0).all()) and bool(((scores.float().sum(dim=1) - 1).abs() < near).all())


def choices(scores: Any) -> Any | None:
    """The class that each row names, (samples,) int64; None where this need not be class scores.

    They are where the rows are chances, or where their softmax is sure: its largest chance is, in the mean,
    nearer to 1 than to that of a guess, FEWEST_CLASSES are named, and none by more than LARGEST_SHARE of the
    rows. What is none of that may be a place, a box or an embedding.

    Args:
        scores: (samples, classes) floating point.
    """
    import torch

    if scores.ndim != 2 or scores.shape[1] < 2 or not torch.isfinite(scores).all():
        return None
    named = scores.argmax(dim=1)
    counts = torch.bincount(named, minlength=scores.shape[1])
    if _are_chances(scores):
        return named if int((counts > 0).sum()) > 1 else None
    sure = float(torch.softmax(scores.float(), dim=1).amax(dim=1).mean())
    told_apart = int((counts > 0).sum()) >= FEWEST_CLASSES and int(counts.max()) <= LARGEST_SHARE * len(named)
    return named if told_apart and sure >= (1 + 1 / scores.shape[1]) / 2 else None


def check_labels(labels: Iterable[int], classes: int) -> None:
    """Raise InputError where a label of the calibration data is no class of the model."""
    wrong = next((int(each) for each in labels if not 0 <= each < classes), None)
    if wrong is not None:
        raise InputError(
            f"label {wrong} of the calibration data is no class of the model",
            why=f"it has {classes} classes, counted from 0",
            remedy="leave the labels out of the calibration data, or correct them",
        )
