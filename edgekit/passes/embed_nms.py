"""Candidates of a detector -> its detections: greedy non-maximum suppression inside the model, batch 1.

    boxes (1, n, 4), scores (1, n), classes (1, n)   ->   the same with max_detections rows, best first
    kept = NonMaxSuppression(boxes + classes * span, scores)      span = max(boxes) - min(boxes) + 1

M1: of each class by itself: boxes of another class are moved out of reach (torchvision's "coordinate trick"),
    so that one list of candidates does for all classes.
M2: how many are kept is only known at run time, and the outputs have a fixed size: missing rows have score 0,
    class -1 and a box of zeros.
M3: the batch becomes 1: an app gives one picture at a time, and no runtime's operator takes more than one in
    one call.
M4: corners in the order x1, y1, x2, y2 need no swap: an overlap is the same with x and y exchanged.

Source: ONNX NonMaxSuppression-11; torchvision/ops/boxes.py, _batched_nms_coordinate_trick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import graphs
from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import Back
from edgekit.spec import Array

_FLOAT, _INT64 = ir.DataType.FLOAT, ir.DataType.INT64


@dataclass(frozen=True)
class EmbedNms(Pass):
    """Suppress inside.

    Attributes:
        boxes: name of the output of corners (batch, n, 4), float32.
        scores: name of the output (batch, n), float32.
        classes: name of the output (batch, n), integer or float32.
        iou_threshold: a candidate that overlaps a better one of its class by more is dropped.
        score_threshold: a candidate must be above it.
        max_detections: rows of the result.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    boxes: str
    scores: str
    classes: str
    iou_threshold: float
    score_threshold: float
    max_detections: int

    def apply(self, model: ir.Model) -> ir.Model:
        """Append the operators."""
        fix_batch(model)
        back = Back(model.graph)
        boxes, scores, classes = (back.take(name) for name in (self.boxes, self.scores, self.classes))
        count = scores.shape[1] if scores.shape is not None else None
        if not isinstance(count, int):
            raise TypeError("the number of candidates is open")  # the caller has looked
        row = self._rows(back, self._kept(back, boxes, scores, classes, count), count)
        kind = (classes.dtype or _INT64).numpy()
        for name, old, missing in (
            (self.boxes, boxes, np.zeros((1, 1, 4), np.float32)),
            (self.scores, scores, np.zeros((1, 1), np.float32)),
            (self.classes, classes, np.full((1, 1), -1, kind)),
        ):
            back.give(name, old, self._picked(back, name, old, row, missing=missing, count=count))
        return model

    def _kept(self, back: Back, boxes: ir.Value, scores: ir.Value, classes: ir.Value, count: int) -> ir.Value:
        """Rows (batch, class, candidate), int64, best first (M1)."""
        high = back.node(
            "ReduceMax", [boxes], what="nms/high", dtype=_FLOAT, shape=(), attributes={"keepdims": 0}
        )
        low = back.node(
            "ReduceMin", [boxes], what="nms/low", dtype=_FLOAT, shape=(), attributes={"keepdims": 0}
        )
        width = back.node("Sub", [high, low], what="nms/width", dtype=_FLOAT, shape=())
        one = back.constant("nms/one", np.asarray(1.0, np.float32))
        span = back.node("Add", [width, one], what="nms/span", dtype=_FLOAT, shape=())
        kinds = classes
        if classes.dtype != _FLOAT:
            kinds = back.node(
                "Cast",
                [classes],
                what="nms/kinds",
                dtype=_FLOAT,
                shape=(1, count),
                attributes={"to": int(_FLOAT)},
            )
        away = back.node("Mul", [kinds, span], what="nms/away", dtype=_FLOAT, shape=(1, count))
        last = back.constant("nms/last", np.asarray([2], np.int64))
        column = back.node("Unsqueeze", [away, last], what="nms/column", dtype=_FLOAT, shape=(1, count, 1))
        moved = back.node("Add", [boxes, column], what="nms/moved", dtype=_FLOAT, shape=(1, count, 4))
        middle = back.constant("nms/middle", np.asarray([1], np.int64))
        listed = back.node(
            "Unsqueeze", [scores, middle], what="nms/listed", dtype=_FLOAT, shape=(1, 1, count)
        )
        limits = (
            np.asarray(self.max_detections, np.int64),
            np.asarray(self.iou_threshold, np.float32),
            np.asarray(self.score_threshold, np.float32),
        )
        held = [back.constant("nms/limit", each) for each in limits]
        return back.node(
            "NonMaxSuppression", [moved, listed, *held], what="nms/kept", dtype=_INT64, shape=("kept", 3)
        )

    def _rows(self, back: Back, kept: ir.Value, count: int) -> ir.Value:
        """(max_detections,) places of candidates; ``count`` where there is none (M2)."""
        most = self.max_detections
        place = back.constant("nms/place", np.asarray(2, np.int64))
        found = back.node(
            "Gather", [kept, place], what="nms/found", dtype=_INT64, shape=("kept",), attributes={"axis": 1}
        )
        none = back.constant("nms/none", np.full(most, count, np.int64))
        whole = back.node(
            "Concat", [found, none], what="nms/whole", dtype=_INT64, shape=("filled",), attributes={"axis": 0}
        )
        start, end = (back.constant("nms/end", np.asarray([each], np.int64)) for each in (0, most))
        return back.node("Slice", [whole, start, end], what="nms/rows", dtype=_INT64, shape=(most,))

    def _picked(
        self, back: Back, name: str, source: ir.Value, row: ir.Value, *, missing: Array, count: int
    ) -> ir.Value:
        """The rows of one output; ``missing`` (1, 1, ...) stands behind the last candidate."""
        dtype = source.dtype or _FLOAT
        rest = tuple(missing.shape[2:])
        whole = back.node(
            "Concat",
            [source, back.constant(f"nms/{name}_missing", missing)],
            what=f"nms/{name}_whole",
            dtype=dtype,
            shape=(1, count + 1, *rest),
            attributes={"axis": 1},
        )
        return back.node(
            "Gather",
            [whole, row],
            what=f"nms/{name}_rows",
            dtype=dtype,
            shape=(1, self.max_detections, *rest),
            attributes={"axis": 1},
        )


def fix_batch(model: ir.Model) -> None:
    """M3: where the first axis of the inputs has a name, that size is 1 in every shape."""
    names = {
        str(value.shape[0].value)
        for value in model.graph.inputs
        if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int)
    }
    for graph in graphs(model):
        values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
        for value in values:
            if value.shape is not None:
                value.shape = ir.Shape([_fixed(dim, names) for dim in value.shape])


def _fixed(dim: int | ir.SymbolicDim, names: set[str]) -> int | ir.SymbolicDim:
    return 1 if not isinstance(dim, int) and str(dim.value) in names else dim
