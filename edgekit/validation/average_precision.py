"""Detections and boxes -> COCO's mAP@[.50:.05:.95], for every weighting of the images at once.

Convention. Outputs: ``boxes`` (N, K, 4) as x1, y1, x2, y2; ``scores`` (N, K); ``classes`` (N, K), a
negative class = no detection. Labels: (N, M, 5) as x1, y1, x2, y2, class, padded with class -1.

The rules are those of COCO's reference evaluation (cocodataset.org/#detection-eval; pycocotools
``COCOeval.evaluateImg`` and ``accumulate``), area "all", no crowd boxes:

    M1  per image and class, at most 100 detections, highest score first, equal scores in given order
    M2  each takes the free box of largest IoU >= threshold; of equal IoUs the later box
    M3  precision is made non-increasing in recall, then read at recall 0, 0.01, ..., 1
    M4  mean over thresholds and over the classes that have at least one box
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's ten IoU thresholds
RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's 101 recall points
MAX_DETECTIONS = 100  # COCO's maxDets
BITS = (1 << np.arange(len(THRESHOLDS))).astype(np.int32)


def iou(a: Floats, b: Floats) -> Floats:
    """Boxes (A, 4) and (B, 4) as x1, y1, x2, y2 -> intersection over union (A, B); 0 for empty unions."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0.0, None), axis=-1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0.0, None), axis=-1)
    union = area_a[:, None] + area_b[None, :] - inter
    overlap: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return overlap


def _match(overlaps: Floats) -> npt.NDArray[np.int32]:
    """IoUs (D, G), best detection first -> (D,), bit t set where it is right at threshold t."""
    hits = np.zeros(len(overlaps), np.int32)
    if overlaps.shape[1] == 0:
        return hits
    free = np.ones((len(THRESHOLDS), overlaps.shape[1]), bool)
    limit = np.minimum(THRESHOLDS, 1 - 1e-10)  # as in COCOeval: a perfect box is found at any threshold
    rows = np.arange(len(THRESHOLDS))
    last = overlaps.shape[1] - 1
    for d, row in enumerate(overlaps):
        usable = np.where(free, row, -1.0)
        best = last - np.argmax(usable[:, ::-1], axis=1)  # M2: of equal IoUs the later box
        found = usable[rows, best] >= limit
        free[rows[found], best[found]] = False
        hits[d] = BITS[found].sum()
    return hits


def sufficient(outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
    """One batch -> score (N, K), class (N, K), matched (N, K) as bits, truth (N, M) classes of the boxes.

    Raises:
        DataError: shapes that do not follow the convention of this module.
    """
    boxes, scores = np.asarray(outputs["boxes"], np.float64), np.asarray(outputs["scores"], np.float64)
    classes = np.asarray(outputs["classes"])
    fits = boxes.ndim == 3 and boxes.shape[2] == 4 and boxes.shape[:2] == scores.shape == classes.shape
    if not fits or labels.ndim != 3 or labels.shape[2] != 5 or len(labels) != len(boxes):
        raise DataError(
            f"map got boxes {boxes.shape}, scores {scores.shape}, classes {classes.shape},"
            f" labels {labels.shape}",
            why="it needs boxes (N, K, 4), scores (N, K), classes (N, K) and labels (N, M, 5)",
            remedy="name the three outputs by role; give labels as x1, y1, x2, y2, class; pad with class -1",
        )
    if not np.isfinite(labels.astype(np.float64)).all():
        raise DataError(
            "map got labels that are not finite",
            why="a box with NaN or infinite corners overlaps nothing and would count as missed",
            remedy="pad missing boxes with class -1 and zeros",
        )
    kept = np.full(classes.shape, -1, np.int64)
    matched = np.zeros(classes.shape, np.int32)
    truth = np.rint(labels[..., 4]).astype(np.int64)
    found = np.rint(classes).astype(np.int64)
    for n in range(len(boxes)):
        for klass in np.unique(found[n][found[n] >= 0]):
            where = np.flatnonzero(found[n] == klass)
            where = where[np.argsort(-scores[n, where], kind="stable")][:MAX_DETECTIONS]  # M1
            overlaps = iou(boxes[n, where], labels[n, truth[n] == klass, :4].astype(np.float64))
            kept[n, where] = klass
            matched[n, where] = _match(overlaps)
    return {"score": scores, "class": kept, "matched": matched, "truth": truth}


def _mean_precision(right: Floats, seen: Floats, boxes: Floats) -> Floats:
    """Mean precision over the recall points (R,); NaN where there is no box.

    Args:
        right: weights of right detections up to and with each right one (R, D), best first.
        seen: weights of all detections up to the same places (R, D). Wrong ones in between need no place of
            their own: precision only falls there.
        boxes: weights of the boxes (R,).
    """
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # M3
    points = _points_reached(right / np.where(boxes > 0, boxes, 1.0)[:, None])
    value: Floats = (np.diff(points, axis=1, prepend=0) * precision).sum(axis=1) / len(RECALLS)
    return np.where(boxes > 0, value, np.nan)


def _points_reached(recall: Floats) -> npt.NDArray[np.int64]:
    """How many recall points are at most ``recall``, which is 0 or more.

    ``np.searchsorted(RECALLS, recall, side="right")`` without its search: the points are evenly spaced, so
    the nearest one is known, and all before it are at most ``recall``.
    """
    steps = len(RECALLS) - 1
    points = np.minimum(recall * steps + 0.5, steps).astype(np.int64)  # the nearest point
    points += RECALLS[points] <= recall
    return points


def _seen(weights: Floats, image: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Floats:
    """Weights of all detections up to and with each right one, best first: (R, places).

    The detections between two right ones are counted by image first, so that the sum over thousands of
    detections is a product with a matrix of a few hundred columns.

    Args:
        weights: (R, N).
        image: of every detection, best first.
        right: places among them, ascending.
    """
    counts = np.zeros((weights.shape[1], len(right)))
    until = right[-1] + 1 if len(right) else 0
    np.add.at(counts, (image[:until], np.searchsorted(right, np.arange(until))), 1.0)
    return np.cumsum(weights @ counts, axis=1)


def aggregate(statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
    """Statistics of N images, weights (R, N) -> mAP (R,); NaN where no image has a box."""
    classes, scores, truth = statistics["class"], statistics["score"], statistics["truth"]
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for klass in np.unique(truth[truth >= 0]):
        boxes = weights @ (truth == klass).sum(axis=1).astype(np.float64)
        image, slot = np.nonzero(classes == klass)
        order = np.argsort(-scores[image, slot], kind="stable")
        image, slot = image[order], slot[order]
        matched = statistics["matched"][image, slot]
        places = np.flatnonzero(matched)
        seen, own = _seen(weights, image, places), np.take(weights, image[places], axis=1)
        for bit in BITS:
            hits = np.flatnonzero(matched[places] & bit)
            right = np.cumsum(np.take(own, hits, axis=1), axis=1)
            value = _mean_precision(right, np.take(seen, hits, axis=1), boxes)
            total += np.where(boxes > 0, value, 0.0)
            counted += boxes > 0
    mean: Floats = np.divide(total, counted, out=np.full(len(weights), np.nan), where=counted > 0)  # M4
    return mean
