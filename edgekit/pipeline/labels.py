"""`[model] labels` -> names of classes, held against the output that they name.

    L1 the file is not there, or no UTF-8 · L2 an empty line · L3 a name twice
    L4 another number of names than the output has classes
    L5 a box of the evaluation data is of a class without a name (a detector's output has no width)

A text file with one name in each line, in the order of the classes. Before `labels` existed, a file
labels.txt among `[model] files` meant the same; it still does, unchecked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekit.errors import RecipeError
from edgekit.pipeline.plan import Plan, associated_files
from edgekit.spec import TensorSpec

LABELS = "labels.txt"
CLASS_METRICS = frozenset({"top1", "top5", "accuracy"})
"""Metrics whose scored output has one column for each class, the last axis."""
BOX_METRIC = "map"
_MORE = "docs/embed.md#labels"
_MAP_RANK = 4  # (batch, classes, height, width), or the classes last


@dataclass(frozen=True)
class Labels:
    """Names of classes.

    Attributes:
        name: of the file in the bundle.
        names: in the order of the classes.
        output: name of the output that they belong to; "" where nobody knows.
        axis: of the classes.
    """

    name: str
    names: tuple[str, ...]
    output: str
    axis: int = -1


def of_plan(plan: Plan, outputs: Sequence[TensorSpec]) -> Labels | None:
    """The labels of a recipe, checked against the model's outputs; None where it names none.

    Raises:
        RecipeError: L1 to L4.
    """
    table, scored = plan.recipe.model, plan.recipe.data.evaluation
    path = associated_files(plan.recipe, base=plan.base).get(Path(table.labels or LABELS).name)
    if path is None or not (table.labels or scored.metric in CLASS_METRICS):
        return None
    if not table.labels:
        names = tuple(path.read_text("utf-8", errors="replace").splitlines())
        return Labels(path.name, names, scored.output or (outputs[0].name if len(outputs) == 1 else ""))
    names = _read(path)
    if table.nms is not None:
        return Labels(path.name, names, table.nms.classes)
    output = next((spec for spec in outputs if spec.name == scored.output), None)
    if output is None and len(outputs) == 1:
        output = outputs[0]
    if output is None:  # a detector without nms: the role's own name
        found = "classes" if any(spec.name == "classes" for spec in outputs) else ""
        return Labels(path.name, names, found)
    axis = _axis(output, len(names))
    _check_count(path, names, output, axis)
    return Labels(path.name, names, output.name, axis)


def check_boxes(labels: Labels | None, boxes: npt.NDArray[Any], *, metric: str) -> None:
    """Hold names against a detector's evaluation data: (samples, boxes, 5), the class last.

    Raises:
        RecipeError: L5.
    """
    if labels is None or metric != BOX_METRIC or not boxes.size:
        return
    highest = int(boxes[..., -1].max())
    if highest >= len(labels.names):
        what = f"has {len(labels.names)} names, and the evaluation data has a box of class {highest}"
        raise _wrong(Path(labels.name), what, "give one name for each class, class 0 in the first line")


def _axis(output: TensorSpec, count: int) -> int:
    return 1 if len(output.shape) == _MAP_RANK and output.shape[1] == count else -1


def _read(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(path.read_text("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:  # L1
        raise _wrong(
            path, f"is not UTF-8: {error.reason} at byte {error.start}", "store it as UTF-8"
        ) from error
    empty = next((number for number, name in enumerate(names, 1) if not name.strip()), None)
    if empty is not None or not names:  # L2
        raise _wrong(
            path,
            f"has no name in line {empty or 1}",
            "write one name in each line, in the order of the classes",
        )
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:  # L3
        first = names.index(twice)
        lines = f"{first + 1} and {names.index(twice, first + 1) + 1}"
        raise _wrong(path, f"names {twice!r} twice, in lines {lines}", "give each class a name of its own")
    return names


def _check_count(path: Path, names: Sequence[str], output: TensorSpec, axis: int) -> None:
    """L4, where the width is fixed."""
    width = output.shape[axis] if output.shape else 1
    if isinstance(width, int) and width != len(names):
        raise _wrong(
            path,
            f"has {len(names)} names, and output {output.name!r} has {width} classes",
            "give one name for each class; a background class counts",
        )


def _wrong(path: Path, what: str, remedy: str) -> RecipeError:
    return RecipeError(
        f"labels {path.name} {what}",
        why="an app shows the name in the line of the class that it found",
        remedy=remedy,
        more=_MORE,
    )
