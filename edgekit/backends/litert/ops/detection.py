"""NonMaxSuppression -> NON_MAX_SUPPRESSION_V4 for each batch and class, and rows (batch, class, box) joined.

How many boxes are kept is only known at run time: the output has a dynamic first size.

Source: ONNX NonMaxSuppression-11; tflite/kernels/non_max_suppression.cc (boxes y1, x1, y2, x2 in any order of
corners; a score must be above its threshold, an overlap that reaches its threshold is dropped).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.step import Step


def lower_non_max_suppression(step: Step) -> None:
    """NonMaxSuppression with constant limits."""
    t = Terms(step)
    batch, classes, count = static(step.operand(1).shape, "NonMaxSuppression")
    most = _limit(step, 2, "max_output_boxes_per_class", 0.0)
    if most < 1:
        raise step.refusal(
            "nothing-selected",
            "max_output_boxes_per_class is 0: nothing is kept",
            "give a limit of 1 or more",
        )
    overlap = _limit(step, 3, "iou_threshold", 0.0)
    if not 0.0 <= overlap < 1.0:
        raise step.refusal("overlap", f"iou_threshold {overlap:g}", "use a threshold from 0 to below 1")
    score = _limit(step, 4, "score_threshold", float(np.finfo(np.float32).min))
    boxes = step.x(0)
    if step.attribute("center_point_box", 0):
        boxes = _corners(t, boxes)
    limits = [
        t.const(min(int(most), count), "int32"),
        t.const(np.nextafter(np.float32(overlap), np.float32(2))),  # the kernel also drops what is equal
        t.const(score),
    ]
    rows = []
    for b in range(batch):
        of_batch = t.take(boxes, 0, b)
        scores = t.take(step.x(1), 0, b)
        rows += [_selected(t, of_batch, t.take(scores, 0, c), limits, place=(b, c)) for c in range(classes)]
    joined = rows[0]
    if len(rows) > 1:
        joined = step.emit("CONCATENATION", rows, (None, 3), options={"axis": 0})
    step.alias(t.cast(joined, "int64"))  # whatever size is declared: the real one is known at run time


def _limit(step: Step, index: int, what: str, default: float) -> float:
    found = constant(step.unit, index, what)
    return default if found is None else float(found.reshape(-1)[0])


def _corners(t: Terms, boxes: int) -> int:
    """(x, y, width, height) of centres as corners (y1, x1, y2, x2)."""
    x, y, width, height = (t.slice(boxes, 2, i, i + 1) for i in range(4))
    half_width, half_height = t.scale(width, 0.5), t.scale(height, 0.5)
    parts = [t.sub(y, half_height), t.sub(x, half_width), t.add(y, half_height), t.add(x, half_width)]
    return t.concat(parts, 2)


def _selected(t: Terms, boxes: int, scores: int, limits: list[int], *, place: tuple[int, int]) -> int:
    """Rows (batch, class, box), int32, as many as were kept."""
    step = t.step
    size = step.builder.tensors[limits[0]].data
    most = 1 if size is None else int(size.reshape(()))
    kept, number = step.temporary((most,), "int32"), step.temporary((), "int32")
    step.many("NON_MAX_SUPPRESSION_V4", [boxes, scores, *limits], [kept, number])
    inputs = [kept, t.const([0], "int32"), t.reshape(number, (1,)), t.const([1], "int32")]
    cut = step.emit("STRIDED_SLICE", inputs, (None,), options={"beginMask": 0, "endMask": 0})
    column = t.pad(t.reshape(cut, (None, 1)), [(0, 0), (2, 0)])
    return step.emit("ADD", [column, t.const([[*place, 0]], "int32")], (None, 3))


LOWERINGS: dict[str, Callable[[Step], None]] = {"NonMaxSuppression": lower_non_max_suppression}
