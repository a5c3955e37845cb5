"""Labels of the float reference and of a candidate -> what flipped, and a few of the samples to look at.

    reference: (samples,) most likely classes, candidate: (samples,) --> counts of (class, class), samples

    F1  shown are first those that the reference has right and the candidate wrong, then the others, in the
        data's order
    F2  at most ``SHOWN`` for each candidate; the data is read once more, up to the last of them
    F3  a sample's picture is made of what the data gives before pre-processing: its own colours
    F4  only where the data has one class for each sample: the largest of a few regressed numbers is no label

Memory: one sample and the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.dataset import Dataset
from edgekit.pipeline.result import FlipPairRow, FlipRow, FlipsRow
from edgekit.pipeline.thumbnail import thumbnail

SHOWN = 12
MOST_PAIRS = 30  # rows of a result: the most frequent; of a thousand classes the rest says little

Classes = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The most likely classes of the float reference and of one candidate, (samples,) each."""

    reference: Classes
    candidate: Classes


def flips(
    sides: Mapping[str, Labelled], data: Dataset, *, classes: Sequence[str] = (), pictures: bool = True
) -> dict[str, FlipsRow]:
    """What flipped for each candidate.

    Args:
        sides: by the candidate's name.
        data: the samples, with their labels.
        classes: names of the classes, where they are known.
        pictures: whether samples that are images are shown.
    """
    truth = _classes(data)
    if truth is None:  # F4
        return {}
    found = {name: _row(side, truth, classes) for name, side in sides.items()}
    if not pictures:
        return found
    wanted = {each.sample for row in found.values() for each in row.shown}
    seen = _pictures(data, wanted)
    return {
        name: replace(
            row, shown=tuple(replace(each, picture=seen.get(each.sample, "")) for each in row.shown)
        )
        for name, row in found.items()
    }


def _classes(data: Dataset) -> Classes | None:
    labels = data.labels
    if labels is None or labels.dtype.kind not in "iu" or labels.size != data.count:
        return None
    return labels.reshape(-1)


def _row(side: Labelled, truth: Classes, classes: Sequence[str]) -> FlipsRow:
    def name(index: int) -> str:
        return classes[index] if 0 <= index < len(classes) else str(index)

    where = np.flatnonzero(side.reference != side.candidate)
    lost = where[side.reference[where] == truth[where]]
    others = np.setdiff1d(where, lost)
    pairs = Counter((int(side.reference[at]), int(side.candidate[at])) for at in where)
    return FlipsRow(
        samples=len(side.reference),
        count=len(where),
        lost=len(lost),
        gained=int(np.sum(side.candidate[where] == truth[where])),
        pairs=tuple(
            FlipPairRow(name(one), name(other), count)
            for (one, other), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[
                :MOST_PAIRS
            ]
        ),
        shown=tuple(  # F1, F2
            FlipRow(
                sample=int(at),
                label=name(int(truth[at])),
                reference=name(int(side.reference[at])),
                candidate=name(int(side.candidate[at])),
            )
            for at in (*lost, *others)[:SHOWN]
        ),
    )


def _pictures(data: Dataset, wanted: Iterable[int]) -> dict[int, str]:
    """The pictures of some samples (F2, F3); of the first input that is an image."""
    left = set(wanted)
    found: dict[int, str] = {}
    for place, sample in enumerate((data.raw or data.samples)() if left else ()):
        if place in left:
            pictures = (thumbnail(np.asarray(array)) for array in sample.values())
            found[place] = next(filter(None, pictures), "")
            left.discard(place)
        if not left:
            break
    return found
