"""Outputs (batch, classes) of a classifier -> logarithms of chances, with or without a softmax at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekit.errors import InputError

SUM_OF_CHANCES = 1e-4  # how far from 1: float32 sums of a thousand classes are closer
SUM_OF_HALVES = 1e-2  # likewise of bfloat16, which rounds to 1/256
LEAST_CHANCE = 1e-12  # its logarithm is finite


def log_chances(scores: Any, *, like: Any = None) -> Any:
    """Of a tensor of chances their logarithms, of any other scores the log-softmax.

    ``like`` says which of the two they are, where ``scores`` are about to change; None = they themselves.
    """
    import torch

    plain = (scores if like is None else like).detach()
    near = SUM_OF_HALVES if plain.dtype == torch.bfloat16 else SUM_OF_CHANCES
    are_chances = bool((plain >= 0).all()) and bool(((plain.float().sum(dim=1) - 1).abs() < near).all())
    return torch.log(scores.clamp_min(LEAST_CHANCE)) if are_chances else torch.log_softmax(scores, dim=1)


def check_labels(labels: Iterable[int], classes: int) -> None:
    """Raise InputError where a label of the calibration data is no class of the model."""
    wrong = next((int(each) for each in labels if not 0 <= each < classes), None)
    if wrong is not None:
        raise InputError(
            f"label {wrong} of the calibration data is no class of the model",
            why=f"it has {classes} classes, counted from 0",
            remedy="leave the labels out of the calibration data, or correct them",
        )
