"""Scores and labels -> area under the ROC curve, for every weighting of the samples at once.

    AUC = (sum over positives p of [weight of negatives below p] + 0.5 [weight of negatives tied with p])
          / (weight of positives * weight of negatives)

which is the Mann-Whitney statistic (Hanley and McNeil, Radiology 143:29, 1982). Ties count one half: they
are frequent where outputs are quantized. Several classes: one against the rest, the plain mean over the
classes that have both positives and negatives (scikit-learn's ``multi_class="ovr", average="macro"``).
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
    """Output (N,), (N, 1), (N, 2) or (N, C) and labels (N,) -> score (N,) or (N, C), label (N,).

    Two columns become their difference, which ranks probabilities and logits alike.

    Raises:
        DataError: another rank, or labels that are not class numbers.
    """
    scores = np.asarray(outputs["output"], np.float64)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    elif scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1] - scores[:, 0]
    if scores.ndim not in (1, 2):
        raise DataError(
            f"auc got an output of shape {scores.shape}",
            why="it needs scores of shape (batch,), (batch, 1) or (batch, classes)",
            remedy="name the output that holds the scores, or choose another metric",
        )
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or bool(((labels < 0) | (labels >= classes)).any()):
        raise DataError(
            f"auc got labels of shape {labels.shape} and type {labels.dtype} for {classes} classes",
            why=f"every label must be one integer from 0 to {classes - 1}",
            remedy="give labels as class numbers of shape (samples,)",
        )
    return {"score": scores, "label": labels.astype(np.int64)}


def _binary(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Scores (N,), positive (N,), weights (R, N) -> AUC (R,), NaN where one side is empty.

    The mid-rank form: with M_i the weight of *all* samples below i plus half of those tied with it, the sum
    over positives of w_i M_i counts positive pairs too, and those are exactly P^2 / 2.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    chosen = np.flatnonzero(positive[order])
    first = np.searchsorted(ordered, ordered[chosen], side="left")
    last = np.searchsorted(ordered, ordered[chosen], side="right")
    below = np.zeros((len(weights), len(scores) + 1))
    np.cumsum(np.take(weights, order, axis=1), axis=1, out=below[:, 1:])
    own = np.take(weights, order[chosen], axis=1)
    middle = 0.5 * (np.take(below, first, axis=1) + np.take(below, last, axis=1))
    positives = own.sum(axis=1)
    wins = (own * middle).sum(axis=1) - 0.5 * positives**2
    pairs = positives * (below[:, -1] - positives)
    auc: Floats = np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return auc


def aggregate(statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
    """Score (N,) or (N, C), label (N,), weights (R, N) -> AUC (R,); NaN for fewer than 2 classes."""
    scores, labels = statistics["score"], statistics["label"]
    if scores.ndim == 1:
        return _binary(scores, labels == 1, weights)
    total = np.zeros(len(weights))
    defined = np.zeros(len(weights))
    for klass in np.unique(labels):
        value = _binary(scores[:, klass], labels == klass, weights)
        present = np.isfinite(value)
        total[present] += value[present]
        defined += present
    mean: Floats = np.divide(total, defined, out=np.full(len(weights), np.nan), where=defined > 0)
    return mean
