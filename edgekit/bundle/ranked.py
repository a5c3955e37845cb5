"""Detections of one machine -> the same rows in the order of another's, so that golden outputs compare.

    found, recorded -> found, each row beside the recorded one that it stands for

Suppression inside an artifact gives the best first. Two scores that differ by less than the tolerance may
stand in the other order on another CPU, and what is just above the threshold here may be just below it there.

R1  a row belongs to the nearest recorded box of its own class that has none yet (largest gap of corners)
R2  a recorded row that is the weakest of its picture, within the tolerance, may be missing, and a new one as
    weak may be there: neither is a difference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.bundle.processing import Processing

Arrays = Mapping[str, npt.NDArray[Any]]
NONE = -1  # class of a row without a detection
OPEN = -1  # place of a row whose partner is not known yet


def in_order_of(
    recorded: Arrays, found: Arrays, processing: Processing, *, tolerance: float
) -> dict[str, npt.NDArray[Any]]:
    """``found`` with its detections in the order of ``recorded``; as it is where no suppression is inside.

    Args:
        recorded: outputs (samples, ...) by name.
        found: likewise.
        processing: of the artifact.
        tolerance: of a score, as a part of the recorded scores' range.
    """
    roles = {each.role: each.name for each in processing.outputs if each.role}
    if "nms" not in processing.embedded or set(roles) != {"boxes", "scores", "classes"}:
        return dict(found)
    names = (roles["boxes"], roles["scores"], roles["classes"])
    if any(found[name].shape != recorded[name].shape for name in names if name in found):
        return dict(found)
    result = {**found, **{name: found[name].copy() for name in names}}
    reach = tolerance * (float(np.ptp(recorded[names[1]])) or 1.0)
    for sample in range(len(recorded[names[0]])):
        here = [recorded[name][sample] for name in names]
        there = [found[name][sample] for name in names]
        rows = _partners(here, there, reach)
        for name, own, other in zip(names, here, there, strict=True):
            result[name][sample] = np.stack([own[r] if p is None else other[p] for r, p in enumerate(rows)])
    return result


def _partners(
    recorded: list[npt.NDArray[Any]], found: list[npt.NDArray[Any]], reach: float
) -> list[int | None]:
    """For each recorded row the row found for it; None where there need be none (R2)."""
    boxes, scores, classes = recorded
    there, strength, kinds = found
    held = scores[classes != NONE]
    weak = (float(held.min()) if held.size else 0.0) + reach
    free = [place for place in range(len(kinds)) if kinds[place] != NONE]
    rows: list[int | None] = []
    for row in range(len(classes)):
        same = [place for place in free if kinds[place] == classes[row]]
        if classes[row] == NONE or not same:
            rows.append(None if classes[row] != NONE and scores[row] <= weak else OPEN)
            continue
        nearest = min(same, key=lambda place: float(np.abs(there[place] - boxes[row]).max()))
        free.remove(nearest)
        rows.append(nearest)
    strong = [place for place in free if strength[place] > weak]  # found, and nobody recorded it
    empty = [place for place in range(len(kinds)) if kinds[place] == NONE]
    return [_instead(strong, empty) if each == OPEN else each for each in rows]


def _instead(strong: list[int], empty: list[int]) -> int | None:
    """What stands beside a recorded row without a partner: what is too much, else an empty row."""
    if strong:
        return strong.pop(0)
    return empty[0] if empty else None
