"""Class scores and labels -> F1, macro or of class 1, for every weighting of the samples at once.

    F1 of a class = 2 tp / (2 tp + fp + fn)        (van Rijsbergen, Information Retrieval, 1979, ch. 7)
    f1            = plain mean over the classes that occur in labels or guesses
    f1_binary     = F1 of class 1

As scikit-learn's ``f1_score`` has them, ``average="macro"`` and ``average="binary"``. The guess is the class
of the highest score, the lower class of equal ones; of one probability a sample, class 1 above 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]


def sufficient(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    """Output (N, C >= 2), (N, 1) or (N,) and labels (N,) -> ``guess`` (N,), ``label`` (N,).

    Raises:
        DataError: another rank, labels that are no classes, or one output that is no probability.
    """
    scores = outputs["output"]
    classes = scores.shape[1] if scores.ndim == 2 and scores.shape[1] >= 2 else 2
    if scores.ndim > 2 or labels.ndim != 1 or labels.dtype.kind not in "iub" or len(labels) != len(scores):
        raise DataError(
            f"f1 got an output of shape {scores.shape} and labels of shape {labels.shape} ({labels.dtype})",
            why="it needs scores (batch, classes) or one probability a sample, and integer labels (batch,)",
            remedy="name the output that is scored, choose another metric, or check the labels",
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            f"f1 got labels from {labels.min()} to {labels.max()} for {classes} classes",
            why=f"every label must be an integer from 0 to {classes - 1}",
            remedy="check that data and model belong together (is class 0 'background' in one of them?)",
        )
    return {"guess": _guess(scores), "label": labels.astype(np.int64)}


def _guess(scores: Numbers) -> npt.NDArray[np.int64]:
    if scores.ndim == 2 and scores.shape[1] >= 2:
        found: npt.NDArray[np.int64] = np.argmax(scores, axis=1).astype(np.int64)
        return found
    chance = scores.reshape(len(scores))
    if len(chance) and not 0 <= float(chance.min()) <= float(chance.max()) <= 1:
        raise DataError(
            f"f1 got outputs from {chance.min():g} to {chance.max():g}",
            why="a model with one output gives the probability of class 1",
            remedy='put the sigmoid into the model, or use metric = "auc", which needs no threshold',
        )
    return (chance > 0.5).astype(np.int64)


def _per_class(classes: Numbers, weights: Floats, *, count: int) -> Floats:
    """Classes (N,), weights (R, N) -> weight of each class (R, count)."""
    sums = np.zeros((len(weights), count))
    order = np.argsort(classes, kind="stable")
    if not len(order):
        return sums
    present, first = np.unique(classes[order], return_index=True)
    sums[:, present] = np.add.reduceat(np.take(weights, order, axis=1), first, axis=1)
    return sums


def _counts(statistics: Mapping[str, Numbers], weights: Floats) -> tuple[Floats, Floats]:
    """2 tp and 2 tp + fp + fn, (R, C) each: the latter is how often a class is label or guess."""
    guess, label = statistics["guess"], statistics["label"]
    count = int(max(guess.max(initial=0), label.max(initial=0), 1)) + 1
    right = guess == label
    twice = 2.0 * _per_class(label[right], weights[:, right], count=count)
    return twice, _per_class(label, weights, count=count) + _per_class(guess, weights, count=count)


def macro(statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
    """Statistics of N samples, weights (R, N) -> mean F1 (R,); NaN without samples."""
    twice, whole = _counts(statistics, weights)
    each = np.divide(twice, whole, out=np.zeros_like(twice), where=whole > 0)
    occurring = (whole > 0).sum(axis=1).astype(np.float64)
    mean: Floats = np.divide(
        each.sum(axis=1), occurring, out=np.full(len(weights), np.nan), where=occurring > 0
    )
    return mean


def binary(statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
    """Statistics of N samples, weights (R, N) -> F1 of class 1 (R,); NaN where class 1 never occurs."""
    twice, whole = _counts(statistics, weights)
    value: Floats = np.divide(
        twice[:, 1], whole[:, 1], out=np.full(len(weights), np.nan), where=whole[:, 1] > 0
    )
    return value
