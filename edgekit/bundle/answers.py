"""What an app makes of a model's outputs, in NumPy: activation, then non-maximum suppression.

    outputs, Processing -> probabilities, detections

The definition that embedded forms are held against, and that code for apps repeats. One list of candidates:
the best first; a candidate goes where its score is not above the threshold, or where it overlaps one that was
kept of its own class by more than ``iou_threshold``; of equal scores the first in the list is the better one.

Source: ONNX NonMaxSuppression-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.bundle.processing import NmsProcessing, Processing
from edgekit.spec import Activation

Arrays = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]


def answers(outputs: Arrays, processing: Processing) -> dict[str, npt.NDArray[Any]]:
    """Outputs (batch, ...) by name -> the same after what ``processing`` leaves to the app."""
    found = dict(outputs)
    for each in processing.outputs:
        if each.activation != "none":
            found[each.name] = activated(found[each.name], each.activation, axis=each.axis)
    if processing.nms is not None:
        found |= detections(found, processing.nms)
    return found


def activated(x: npt.NDArray[Any], activation: Activation, *, axis: int) -> Floats:
    """Softmax along ``axis``, or Sigmoid."""
    values = np.asarray(x, np.float32)
    match activation:
        case "softmax":
            raised = np.exp(values - values.max(axis=axis, keepdims=True))
            return np.asarray(raised / raised.sum(axis=axis, keepdims=True), np.float32)
        case "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-values.astype(np.float64))), np.float32)
        case "none":
            return values


def detections(outputs: Arrays, nms: NmsProcessing) -> dict[str, npt.NDArray[Any]]:
    """Boxes (batch, n, 4), scores (batch, n), classes (batch, n) -> the same with ``max_detections`` rows."""
    boxes, scores, classes = (outputs[name] for name in (nms.boxes, nms.scores, nms.classes))
    batch, most = len(scores), nms.max_detections
    found = {
        nms.boxes: np.zeros((batch, most, 4), boxes.dtype),
        nms.scores: np.zeros((batch, most), scores.dtype),
        nms.classes: np.full((batch, most), -1, classes.dtype),
    }
    for index in range(batch):
        kept = suppressed(boxes[index], scores[index], classes[index], nms)
        for name, source in ((nms.boxes, boxes), (nms.scores, scores), (nms.classes, classes)):
            found[name][index, : len(kept)] = source[index, kept]
    return found


def suppressed(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], classes: npt.NDArray[Any], nms: NmsProcessing
) -> list[int]:
    """Places of the candidates that remain, the best first: boxes (n, 4), scores (n,), classes (n,)."""
    kept: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if len(kept) == nms.max_detections or not scores[place] > nms.score_threshold:
            break
        rivals = [other for other in kept if classes[other] == classes[place]]
        if not rivals or overlaps(boxes[place], boxes[rivals]).max() <= nms.iou_threshold:
            kept.append(place)
    return kept


def overlaps(box: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intersection over union of corners (4,) with corners (n, 4); 0 where both have no area."""
    one, many = np.asarray(box, np.float64), np.asarray(others, np.float64)
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = np.prod(one[2:] - one[:2]) + (many[:, 2:] - many[:, :2]).prod(axis=1) - shared
    found: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found
