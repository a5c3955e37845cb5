"""Two evaluations x groups of samples -> what is lost within each class and slice, with corrected intervals.

    class    of the label where labels are class numbers (N,): share of right samples (with auc: the class
             against the rest); of miou and map: the class's own IoU or precision
    slice    samples of equal value in a column of the data: the metric itself

A model may keep its mean and lose a class. Of many groups some look bad by chance, so the intervals are those
of Holm's step-down procedure (Scandinavian Journal of Statistics 6:65, 1979): groups are ordered by how
clearly they lose, z = drop / standard error; the k-th of m (k = 0, 1, ...) gets the confidence
1 - (1 - c) / (m - k), and from the first whose interval reaches 0 on all get that one's. All statements "this
group loses" hold together with the confidence c, whatever the dependence between groups.

Right or wrong samples get the interval of paired proportions, other metrics value +- z * standard error of
the paired bootstrap: at the 99.99 % that a thousand groups need, a bootstrap has no quantiles.
A group on which the metric has no value (no box, one class only) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.spec import Array
from edgekit.validation import bootstrap
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import Statistics, TaskMetric, task_metric
from edgekit.validation.proportions import paired_interval
from edgekit.validation.statistics import drops_of

Floats = npt.NDArray[np.float64]

RESAMPLES = 400  # of a standard error: 5 % of it (Efron and Tibshirani, 1993, ch. 6)
MOST_CLASSES = 1000  # a column of more values is no grouping; the classes of ImageNet are
CLASS = "class"


@dataclass(frozen=True)
class Group:
    """One class or slice.

    Attributes:
        kind: "class", or the name of the column.
        name: its value.
        samples: how many.
        reference: the metric within the group.
        candidate: likewise.
        drop: what is lost, in ``unit``; positive = worse.
        low: lower end of the corrected interval.
        high: upper end.
        unit: "pp", "%" or "dB".
    """

    kind: str
    name: str
    samples: int
    reference: float
    candidate: float
    drop: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True, eq=False)
class _Part:
    """What is compared within one group."""

    kind: str
    name: str
    samples: int
    row: TaskMetric
    reference: Statistics
    candidate: Statistics


def group_drops(
    reference: Evaluation,
    candidate: Evaluation,
    *,
    labels: Array,
    slices: Mapping[str, Array],
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Group, ...]:
    """The losses of all classes and slices, the largest first.

    Args:
        reference: the float original's evaluation.
        candidate: that of what would ship.
        labels: (count, ...).
        slices: (count,) columns by name.
        confidence: of all intervals together.
        seed: of the bootstrap's draws.
    """
    parts = [*_classes(reference, candidate, labels)]
    for kind, column in slices.items():
        parts += _slices(reference, candidate, kind, column)
    measured = []
    for part in parts:
        found = _measured(part, np.random.default_rng(seed))
        if found is not None:
            measured.append((part, *found))
    groups = _corrected(measured, confidence)
    return tuple(sorted(groups, key=lambda group: -group.drop))


def _classes(reference: Evaluation, candidate: Evaluation, labels: Array) -> Iterator[_Part]:
    row = reference.row
    if row.id in _BY_CLASS:
        yield from _BY_CLASS[row.id](row, reference.statistics, candidate.statistics)
        return
    rights = _rights(reference), _rights(candidate)
    if rights[0] is None or rights[1] is None or labels.ndim != 1:
        return
    for value in _values(labels):
        inside = labels == value
        hits = [{"hit": right[inside]} for right in rights if right is not None]
        yield _Part(CLASS, str(value), int(inside.sum()), task_metric("top1"), hits[0], hits[1])


def _rights(evaluation: Evaluation) -> npt.NDArray[np.bool_] | None:
    """(N,) whether each sample is right, where the metric or the class scores say so."""
    if "hit" in evaluation.statistics:
        return np.asarray(evaluation.statistics["hit"], bool)
    if evaluation.confidence is not None and evaluation.row.drop_unit == "pp":
        found: npt.NDArray[np.bool_] = np.asarray(evaluation.confidence, np.float64)[:, 1] > 0
        return found
    return None


def _slices(reference: Evaluation, candidate: Evaluation, kind: str, column: Array) -> Iterator[_Part]:
    for value in _values(column):
        inside = column == value
        yield _Part(
            kind,
            str(value),
            int(inside.sum()),
            reference.row,
            {name: array[inside] for name, array in reference.statistics.items()},
            {name: array[inside] for name, array in candidate.statistics.items()},
        )


def _values(column: Array) -> Array:
    found = np.unique(column)
    if len(found) > MOST_CLASSES:
        return found[:0]
    return found


def _miou_classes(row: TaskMetric, reference: Statistics, candidate: Statistics) -> Iterator[_Part]:
    for klass in np.flatnonzero(reference["truth"].sum(axis=0)):
        one, other = ({name: array[:, [klass]] for name, array in s.items()} for s in (reference, candidate))
        samples = int((one["truth"][:, 0] > 0).sum())
        yield _Part(CLASS, str(klass), samples, row, one, other)


def _map_classes(row: TaskMetric, reference: Statistics, candidate: Statistics) -> Iterator[_Part]:
    truth = reference["truth"]
    for klass in np.unique(truth[truth >= 0]):
        one, other = (
            {
                **s,
                "class": np.where(s["class"] == klass, s["class"], -1),
                "truth": np.where(s["truth"] == klass, s["truth"], -1),
            }
            for s in (reference, candidate)
        )
        yield _Part(CLASS, str(klass), int((truth == klass).any(axis=1).sum()), row, one, other)


def _auc_classes(row: TaskMetric, reference: Statistics, candidate: Statistics) -> Iterator[_Part]:
    if reference["score"].ndim != 2:
        return  # two classes: what one loses, the other loses
    for klass in np.unique(reference["label"]):
        one, other = (
            {"score": s["score"][:, klass], "label": (s["label"] == klass).astype(np.int64)}
            for s in (reference, candidate)
        )
        yield _Part(CLASS, str(klass), int(one["label"].sum()), row, one, other)


_BY_CLASS: Mapping[str, Callable[[TaskMetric, Statistics, Statistics], Iterator[_Part]]] = {
    "miou": _miou_classes,
    "map": _map_classes,
    "auc": _auc_classes,
}


def _measured(part: _Part, rng: np.random.Generator) -> tuple[float, float, float, float] | None:
    """Reference, candidate, drop and its standard error; None where the metric has no value there."""
    try:
        reference, candidate = part.row.value(part.reference), part.row.value(part.candidate)
        drop = float(drops_of(part.row, np.array([reference]), np.array([candidate]))[0])
        if not np.isfinite(drop):
            return None
        if _is_right_or_wrong(part):
            lost, gained, count = _counts(part)
            spread = 100.0 * float(np.sqrt(lost + gained + 1.0)) / count  # the 1: none seen is not none
            return reference, candidate, drop, spread
        values = bootstrap.resampled(
            lambda weights: drops_of(
                part.row,
                part.row.aggregate(part.reference, weights),
                part.row.aggregate(part.candidate, weights),
            ),
            count=len(next(iter(part.reference.values()))),
            resamples=RESAMPLES,
            rng=rng,
        )
    except DataError:
        return None
    return reference, candidate, drop, float(values.std())


def _is_right_or_wrong(part: _Part) -> bool:
    return set(part.reference) == {"hit"}


def _counts(part: _Part) -> tuple[int, int, int]:
    right, still = part.reference["hit"].astype(bool), part.candidate["hit"].astype(bool)
    return int((right & ~still).sum()), int((~right & still).sum()), len(right)


Measured = tuple[_Part, float, float, float, float]


def _corrected(measured: list[Measured], confidence: float) -> Iterator[Group]:
    """Holm's step-down procedure over the groups."""
    left, stopped = len(measured), False
    for each in sorted(measured, key=lambda each: -_clarity(each)):
        group = _group(each, 1.0 - (1.0 - confidence) / left)
        yield group
        stopped = stopped or group.low <= 0.0  # from here on all get the confidence of this one
        if not stopped:
            left -= 1


def _clarity(measured: Measured) -> float:
    _, _, _, drop, spread = measured
    return drop / spread if spread > 0 else (np.inf if drop > 0 else 0.0)


def _group(measured: Measured, confidence: float) -> Group:
    part, reference, candidate, drop, spread = measured
    if _is_right_or_wrong(part):
        lost, gained, count = _counts(part)
        ends = paired_interval(lost=lost, gained=gained, count=count, confidence=confidence)
        low, high = (100.0 * end for end in ends)
        if not part.row.higher_is_better:
            low, high = -high, -low
    else:
        z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
        low, high = drop - z * spread, drop + z * spread
    return Group(
        part.kind, part.name, part.samples, reference, candidate, drop, low, high, part.row.drop_unit
    )
