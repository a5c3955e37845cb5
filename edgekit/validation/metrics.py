"""Outputs + labels -> per-sample sufficient statistics -> a metric's value: the table of task metrics.

    batch of outputs, labels --sufficient--> arrays with a leading sample axis
    arrays, weights (R, N)   --aggregate-->  values (R,)

A resample of the samples is a row of integer weights, so a paired bootstrap re-aggregates thousands of
resamples with a few matrix products and never runs the model again. ``aggregate`` gives NaN where a
metric is undefined (one class only, no box); for the data itself that is an error, never a number.

"Drop" is what the candidate loses against the reference, positive = worse: in percentage points for
metrics between 0 and 1, in decibels for those that are decibels, in percent of the reference's value for
those without an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, UnknownNameError
from edgekit.validation import average_precision, f1, image_quality, roc

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]
Statistics = Mapping[str, Numbers]

IGNORED_TOKEN = -100  # the label that torch.nn.CrossEntropyLoss and Hugging Face datasets ignore
IGNORED_PIXEL = 255  # the "void" label of Pascal VOC and Cityscapes
CLASS_MAP_CLASSES = 256  # a class map that is an output holds uint8 class numbers


@dataclass(frozen=True)
class TaskMetric:
    """One row of the table.

    Attributes:
        id: what recipes and flags call it.
        formula: what is computed.
        unit: of the value.
        higher_is_better: direction.
        best: the best possible value.
        undefined: when there is no value; always an error.
        drop_unit: "pp" = 100 * (loss of the value); "%" = 100 * (relative rise of the value); "dB" = the loss
            of the value itself.
        binary: each sample is right or wrong (statistic "hit"), so paired proportions apply.
        roles: what outputs it scores; one role = the model's sole or named output.
        sufficient: outputs by role, labels of the batch -> arrays with a leading sample axis.
        aggregate: statistics of N samples, weights (R, N) -> values (R,), NaN where undefined.
        padding: fill value of statistics whose second axis may differ between batches.
        is_own: a user's callable (``own_metric``), which is given all outputs by name.
    """

    id: str
    formula: str
    unit: str
    higher_is_better: bool
    best: float
    undefined: str
    drop_unit: Literal["pp", "%", "dB"]
    sufficient: Callable[[Mapping[str, Numbers], Numbers], dict[str, Numbers]]
    aggregate: Callable[[Statistics, Floats], Floats]
    binary: bool = False
    roles: tuple[str, ...] = ("output",)
    padding: Mapping[str, int] = field(default_factory=dict)
    is_own: bool = False

    def value(self, statistics: Statistics) -> float:
        """The metric of all samples, each counted once.

        Raises:
            DataError: the metric is undefined on these samples.
        """
        count = len(next(iter(statistics.values())))
        result = float(self.aggregate(statistics, np.ones((1, count)))[0])
        if not np.isfinite(result):
            raise DataError(
                f"{self.id} has no value on these {count} samples",
                why=f"undefined: {self.undefined}",
                remedy="evaluate on data that holds what the metric counts",
            )
        return result


def _wrong_shape(metric: str, output: Numbers, labels: Numbers, needs: str) -> DataError:
    return DataError(
        f"{metric} got an output of shape {output.shape} and labels of shape {labels.shape}",
        why=f"it needs {needs}",
        remedy="name the output that is scored, choose another metric, or check the labels",
    )


def _span(labels: Numbers) -> str:
    """From where to where labels go; words have no order to NumPy."""
    return f" from {labels.min()} to {labels.max()}" if labels.dtype.kind in "biuf" else ""


def _rank_of_label(metric: str, outputs: Mapping[str, Numbers], labels: Numbers) -> npt.NDArray[np.int64]:
    """Output (N, C), labels (N,) -> how many classes come before the label; equal scores in class order."""
    scores = outputs["output"]
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or scores.shape[1] < 2:
        raise _wrong_shape(metric, scores, labels, "scores (batch, classes >= 2) and labels (batch,)")
    if labels.dtype.kind not in "iu" or bool(((labels < 0) | (labels >= scores.shape[1])).any()):
        raise DataError(
            f"{metric} got labels of type {labels.dtype}{_span(labels)} for {scores.shape[1]} classes",
            why=f"every label must be an integer from 0 to {scores.shape[1] - 1}",
            remedy="check that data and model belong together (is class 0 'background' in one of them?)",
        )
    own = np.take_along_axis(scores, labels.astype(np.int64)[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    before: npt.NDArray[np.int64] = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return before


def _top1(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    return {"hit": _rank_of_label("top1", outputs, labels) < 1}


def _top5(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    rank = _rank_of_label("top5", outputs, labels)
    if outputs["output"].shape[1] <= 5:
        raise DataError(
            f"top5 got {outputs['output'].shape[1]} classes",
            why="with five classes or fewer it is always 1 and proves nothing",
            remedy='use metric = "top1"',
        )
    return {"hit": rank < 5}


def _accuracy(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    """Scores (N, C >= 2) by their largest; probabilities (N, 1) or (N,) of class 1 by the threshold 0.5."""
    scores = outputs["output"]
    if scores.ndim == 2 and scores.shape[1] >= 2:
        return {"hit": _rank_of_label("accuracy", outputs, labels) < 1}
    chance = scores.reshape(len(scores), -1)
    truth = labels.reshape(len(labels), -1)
    if chance.shape[1] != 1 or truth.shape != chance.shape:
        needs = "scores (batch, classes >= 2) or one probability a sample, and labels (batch,)"
        raise _wrong_shape("accuracy", scores, labels, needs)
    if not bool(((truth == 0) | (truth == 1)).all()) or bool(((chance < 0) | (chance > 1)).any()):
        raise DataError(
            f"accuracy got outputs from {chance.min():g} to {chance.max():g} and labels from {truth.min():g}"
            f" to {truth.max():g}",
            why="a model with one output gives the probability of class 1, and labels are 0 or 1",
            remedy='put the sigmoid into the model, or use metric = "auc", which needs no threshold',
        )
    return {"hit": ((chance > 0.5) == (truth == 1))[:, 0]}


def _token_accuracy(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    scores = outputs["output"]
    if scores.ndim != 3 or labels.shape != scores.shape[:2] or labels.dtype.kind not in "iu":
        needs = "scores (N, T, C) and integer labels (N, T)"
        raise _wrong_shape("token_accuracy", scores, labels, needs)
    counted = labels != IGNORED_TOKEN
    right = (scores.argmax(axis=2) == labels) & counted
    return {"right": right.sum(axis=1), "tokens": counted.sum(axis=1)}


def _share_of_tokens(statistics: Statistics, weights: Floats) -> Floats:
    whole = weights @ statistics["tokens"].astype(np.float64)
    return _ratio(weights @ statistics["right"].astype(np.float64), whole)


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def _share_of_hits(statistics: Statistics, weights: Floats) -> Floats:
    return _ratio(weights @ statistics["hit"].astype(np.float64), weights.sum(axis=1))


def _error(metric: str, outputs: Mapping[str, Numbers], labels: Numbers) -> Floats:
    """Output and labels of one shape -> |output - label| (N, elements)."""
    values = outputs["output"]
    flat, wanted = values.reshape(len(values), -1), labels.reshape(len(labels), -1)
    if flat.shape != wanted.shape:
        raise _wrong_shape(metric, values, labels, "labels of the output's own shape")
    error: Floats = np.abs(flat.astype(np.float64) - wanted.astype(np.float64))
    if not np.isfinite(error).all():
        raise DataError(
            f"{metric} got labels that are not finite",
            why="one such label makes the whole mean meaningless",
            remedy="remove samples without a target value",
        )
    return error


def _mae(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    error = _error("mae", outputs, labels)
    return {"error": error.sum(axis=1), "elements": np.full(len(error), error.shape[1], np.int64)}


def _rmse(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    error = _error("rmse", outputs, labels)
    return {"error": (error**2).sum(axis=1), "elements": np.full(len(error), error.shape[1], np.int64)}


def _mean_error(statistics: Statistics, weights: Floats) -> Floats:
    return _ratio(weights @ statistics["error"], weights @ statistics["elements"].astype(np.float64))


def _root_mean_error(statistics: Statistics, weights: Floats) -> Floats:
    return np.sqrt(_mean_error(statistics, weights))


def _class_map(output: Numbers, labels: Numbers) -> tuple[Numbers, int]:
    """Output -> classes (N, H, W) and how many classes there are."""
    pixels = labels.shape[1:]
    if output.ndim == 3 and output.shape == labels.shape and output.dtype.kind in "iu":
        return output, CLASS_MAP_CLASSES
    if output.ndim == 4 and output.shape[2:] == pixels and output.shape[1] > 1:
        return np.argmax(output, axis=1), output.shape[1]
    if output.ndim == 4 and output.shape[1:3] == pixels and output.shape[3] > 1:
        return np.argmax(output, axis=3), output.shape[3]
    raise _wrong_shape(
        "miou",
        output,
        labels,
        "scores (N, C, H, W) or (N, H, W, C) or integer classes (N, H, W); labels (N, H, W)",
    )


def _miou(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    found, classes = _class_map(outputs["output"], labels)
    counted = (labels != IGNORED_PIXEL) & (labels >= 0)
    if bool((labels[counted] >= classes).any()) or bool(((found < 0) | (found >= classes)).any()):
        raise DataError(
            f"miou got a class outside 0 to {classes - 1}",
            why="such a pixel can neither be right nor be counted as wrong in any class",
            remedy=f"mark pixels to ignore with {IGNORED_PIXEL} or a negative label",
        )
    tables = np.zeros((3, len(labels), classes), np.int64)
    for n in range(len(labels)):
        truth, guess = labels[n][counted[n]].astype(np.int64), found[n][counted[n]].astype(np.int64)
        tables[0, n] = np.bincount(truth[truth == guess], minlength=classes)
        tables[1, n] = np.bincount(truth, minlength=classes)
        tables[2, n] = np.bincount(guess, minlength=classes)
    return {"intersection": tables[0], "truth": tables[1], "found": tables[2]}


def _mean_iou(statistics: Statistics, weights: Floats) -> Floats:
    inter = weights @ statistics["intersection"].astype(np.float64)
    union = weights @ (statistics["truth"] + statistics["found"]).astype(np.float64) - inter
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return _ratio(iou.sum(axis=1), (union > 0).sum(axis=1).astype(np.float64))


def _perplexity(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    logits = outputs["output"]
    if logits.ndim != 3 or labels.shape != logits.shape[:2] or labels.dtype.kind not in "iu":
        raise _wrong_shape("perplexity", logits, labels, "logits (N, T, V) and integer labels (N, T)")
    counted = labels != IGNORED_TOKEN
    tokens = labels[counted]
    if bool(((tokens < 0) | (tokens >= logits.shape[2])).any()):
        raise DataError(
            f"perplexity got a token outside 0 to {logits.shape[2] - 1}",
            why="it has no logit",
            remedy=f"mark tokens to ignore with {IGNORED_TOKEN}",
        )
    # One sample at a time: float64 copies of a whole batch of logits would be the largest arrays around.
    loss = np.zeros(len(logits))
    for n in range(len(logits)):
        row = logits[n].astype(np.float64)
        peak = row.max(axis=1)
        normalizer = peak + np.log(np.exp(row - peak[:, None]).sum(axis=1))
        own = row[np.arange(len(row)), np.where(counted[n], labels[n], 0)]
        loss[n] = (normalizer - own)[counted[n]].sum()
    return {"loss": loss, "tokens": counted.sum(axis=1)}


def _exp_mean_loss(statistics: Statistics, weights: Floats) -> Floats:
    mean = _ratio(weights @ statistics["loss"], weights @ statistics["tokens"].astype(np.float64))
    return np.exp(
        np.minimum(mean, 700.0)
    )  # exp(709.8) overflows float64; a perplexity of 1e304 is lost anyway


_ROWS = (
    TaskMetric(
        id="top1",
        formula="share of samples whose label has the highest score; of equal scores the lower class wins",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="no sample",
        drop_unit="pp",
        sufficient=_top1,
        aggregate=_share_of_hits,
        binary=True,
    ),
    TaskMetric(
        id="top5",
        formula="share of samples whose label is among the five highest scores; equal scores in class order",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="no sample, or not more than five classes",
        drop_unit="pp",
        sufficient=_top5,
        aggregate=_share_of_hits,
        binary=True,
    ),
    TaskMetric(
        id="accuracy",
        formula="share of right samples: highest score as top1, or probability above 0.5 for one output",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="no sample",
        drop_unit="pp",
        sufficient=_accuracy,
        aggregate=_share_of_hits,
        binary=True,
    ),
    TaskMetric(
        id="token_accuracy",
        formula="share of positions whose label has the highest score; labels of -100 are ignored",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="every position is ignored",
        drop_unit="pp",
        sufficient=_token_accuracy,
        aggregate=_share_of_tokens,
    ),
    TaskMetric(
        id="auc",
        formula="area under the ROC curve, ties one half; several classes: one against the rest, plain mean",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="only one class occurs in the labels",
        drop_unit="pp",
        sufficient=roc.sufficient,
        aggregate=roc.aggregate,
    ),
    TaskMetric(
        id="f1",
        formula="mean over the classes in labels or guesses of 2 tp / (2 tp + fp + fn)",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="no sample",
        drop_unit="pp",
        sufficient=f1.sufficient,
        aggregate=f1.macro,
    ),
    TaskMetric(
        id="f1_binary",
        formula="2 tp / (2 tp + fp + fn) of class 1",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="class 1 occurs neither in the labels nor in the guesses",
        drop_unit="pp",
        sufficient=f1.sufficient,
        aggregate=f1.binary,
    ),
    TaskMetric(
        id="mae",
        formula="sum of |output - label| / number of elements",
        unit="the output's unit",
        higher_is_better=False,
        best=0.0,
        undefined="no element",
        drop_unit="%",
        sufficient=_mae,
        aggregate=_mean_error,
    ),
    TaskMetric(
        id="rmse",
        formula="square root of the mean over elements of (output - label)^2",
        unit="the output's unit",
        higher_is_better=False,
        best=0.0,
        undefined="no element",
        drop_unit="%",
        sufficient=_rmse,
        aggregate=_root_mean_error,
    ),
    TaskMetric(
        id="map",
        formula="COCO mAP@[.50:.05:.95]: 101-point precision, mean over IoU thresholds and classes, area all",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="no box in any label",
        drop_unit="pp",
        sufficient=average_precision.sufficient,
        aggregate=average_precision.aggregate,
        roles=("boxes", "scores", "classes"),
        padding={"score": 0, "class": -1, "matched": 0, "truth": -1},
    ),
    TaskMetric(
        id="miou",
        formula="mean over classes of intersection / union of all pixels; labels 255 and < 0 are ignored",
        unit="share",
        higher_is_better=True,
        best=1.0,
        undefined="every pixel is ignored",
        drop_unit="pp",
        sufficient=_miou,
        aggregate=_mean_iou,
    ),
    TaskMetric(
        id="psnr",
        formula="mean over samples of min(60, -10 log10(mean squared error)); pixels in 0..1",
        unit="dB",
        higher_is_better=True,
        best=image_quality.CAP_DB,
        undefined="no sample",
        drop_unit="dB",
        sufficient=image_quality.sufficient,
        aggregate=image_quality.aggregate,
    ),
    TaskMetric(
        id="perplexity",
        formula="exp(mean over tokens of -log softmax(logits)[label]); labels already shifted, -100 ignored",
        unit="perplexity",
        higher_is_better=False,
        best=1.0,
        undefined="every token is ignored",
        drop_unit="%",
        sufficient=_perplexity,
        aggregate=_exp_mean_loss,
    ),
)

TASK_METRICS: Mapping[str, TaskMetric] = {row.id: row for row in _ROWS}


def task_metric(name: str) -> TaskMetric:
    """The row ``name``.

    Raises:
        UnknownNameError: there is no such metric.
    """
    if name not in TASK_METRICS:
        raise UnknownNameError(
            "metric", name, TASK_METRICS, listing="edgekit validate --help, or write file.py:callable"
        )
    return TASK_METRICS[name]


def concatenate(metric: TaskMetric, parts: list[dict[str, Numbers]]) -> dict[str, Numbers]:
    """Statistics of batches -> statistics of all samples; the second axis is padded where batches differ."""
    joined = {}
    for key in parts[0]:
        arrays = [part[key] for part in parts]
        if key in metric.padding:
            width = max(a.shape[1] for a in arrays)
            fill = metric.padding[key]
            arrays = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill) for a in arrays]
        joined[key] = np.concatenate(arrays)
    return joined
