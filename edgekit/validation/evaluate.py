"""Runner + data + labels -> Evaluation: the metric's value and the per-sample statistics behind it.

Streams: one batch of outputs is alive at a time; what stays is a few numbers for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.errors import DataError, UnknownNameError
from edgekit.spec import Array, BatchStream, Progress, Runner, Silent
from edgekit.validation.confidence import confidence_of
from edgekit.validation.metrics import TaskMetric, concatenate, task_metric
from edgekit.validation.streaming import checked, run_in_batches, stream

DEFAULT_BATCH_SIZE = 32  # large enough that a batch outweighs its overhead, small enough for a laptop


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well one runner does on labelled samples.

    Attributes:
        metric: id in TASK_METRICS, or of ``own``.
        value: the metric over all samples.
        statistics: the metric's sufficient statistics; axis 0 counts samples in data order.
        count: number of samples.
        output: what was scored, by role.
        own: the row, where it is the user's own metric.
        confidence: (count, 3) confidence, right or wrong, and guess of each sample; None without classes.
        mispaired: statistics of the same outputs with the labels of other samples; None unless asked for.
    """

    metric: str
    value: float
    statistics: Mapping[str, Array]
    count: int
    output: Mapping[str, str]
    own: TaskMetric | None = None
    confidence: Array | None = None
    mispaired: Mapping[str, Array] | None = None

    @property
    def row(self) -> TaskMetric:
        """The metric's row."""
        return self.own or task_metric(self.metric)


def scored_outputs(
    names: tuple[str, ...], *, roles: tuple[str, ...], output: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Role -> output name.

    No role: every output, under its own name. One role: ``output`` names it, or the model has only one.
    Several: ``output`` maps each role to a name, or outputs of the roles' own names exist.

    Raises:
        UnknownNameError: an output of that name does not exist.
        DataError: the choice is open.
    """
    wanted: Mapping[str, str]
    if not roles:
        return {name: name for name in names}
    if isinstance(output, str):
        wanted = {roles[0]: output} if len(roles) == 1 else {}
    elif output:
        wanted = output
    elif len(roles) == 1:
        wanted = {roles[0]: names[0]} if len(names) == 1 else {}
    else:
        wanted = {role: role for role in roles if role in names}
    if set(wanted) != set(roles):
        raise DataError(
            f"the model has {len(names)} outputs ({', '.join(names)}), and it is open which one is"
            f" {' / '.join(roles)}",
            why="scoring a guessed output would give a figure that means nothing",
            remedy="name the output that is scored"
            if len(roles) == 1
            else f"map each of {', '.join(roles)} to an output",
        )
    for name in wanted.values():
        if name not in names:
            raise UnknownNameError("output", name, names, listing="edgekit inspect MODEL")
    return dict(wanted)


class Scoring:
    """What is kept of one runner's outputs while they stream by.

    Args:
        outputs: names of the runner's outputs.
        metric: the row.
        labels: (count, ...), in data order.
        output: which output is scored; needed where the model has several.
        mispaired: the same labels in another order, for ``Evaluation.mispaired``.
    """

    def __init__(
        self,
        outputs: tuple[str, ...],
        *,
        metric: TaskMetric,
        labels: Array,
        output: str | Mapping[str, str] | None,
        mispaired: Array | None = None,
    ) -> None:
        self._chosen = scored_outputs(outputs, roles=metric.roles, output=output)
        self._metric = metric
        self._labels = labels
        self._mispaired = mispaired
        self._parts: list[dict[str, Array]] = []
        self._other: list[dict[str, Array]] = []
        self._confidence: list[Array | None] = []

    def add(self, outputs: Mapping[str, Array], *, first: int, length: int) -> None:
        """Outputs of the samples from ``first`` on, checked."""
        scored = {role: outputs[name] for role, name in self._chosen.items()}
        own = self._labels[first : first + length]
        self._parts.append(self._metric.sufficient(scored, own))
        if self._mispaired is not None:
            self._other.append(self._metric.sufficient(scored, self._mispaired[first : first + length]))
        found = confidence_of(scored["output"], own) if self._metric.roles == ("output",) else None
        self._confidence.append(found)

    def finish(self) -> Evaluation:
        """The evaluation of everything that was added."""
        statistics = concatenate(self._metric, self._parts)
        known = [each for each in self._confidence if each is not None]
        complete = len(known) == len(self._confidence)
        return Evaluation(
            metric=self._metric.id,
            value=self._metric.value(statistics),
            statistics=statistics,
            count=len(self._labels),
            output=self._chosen,
            own=self._metric if self._metric.is_own else None,
            confidence=np.concatenate(known) if complete else None,
            mispaired=concatenate(self._metric, self._other) if self._other else None,
        )


def check_labels(labels: Array, count: int) -> None:
    """Raise DataError unless there is one label for each sample."""
    if len(labels) != count:
        raise DataError(
            f"{len(labels)} labels for {count} samples",
            why="labels and samples must belong together one by one",
            remedy="give one label for each sample, in the same order",
        )


def evaluate(
    runner: Runner,
    *,
    metric: str | TaskMetric,
    batches: BatchStream,
    labels: Array,
    count: int,
    output: str | Mapping[str, str] | None = None,
    progress: Progress | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    who: str = "candidate",
) -> Evaluation:
    """Score ``count`` samples.

    Args:
        runner: what computes.
        metric: id in TASK_METRICS, or a row.
        batches: the samples.
        labels: (count, ...), in data order.
        count: number of samples, all of which are used.
        output: which output is scored; needed where the model has several. By role for detection.
        progress: one step for each sample.
        batch_size: samples for one call of the runner.
        who: "reference" or "candidate", for messages; whose fault outputs are that are not finite.

    Raises:
        UnknownNameError: metric or output unknown.
        DataError: no samples, labels of another number, outputs of a wrong shape or not finite.
    """
    row = task_metric(metric) if isinstance(metric, str) else metric
    check_labels(labels, count)
    kept = Scoring(tuple(s.name for s in runner.outputs), metric=row, labels=labels, output=output)
    told = progress or Silent()
    told.stage(f"evaluate {who} ({row.id})", total=count)
    for first, feeds in stream(batches, count=count, batch_size=batch_size, exact=True):
        length = max(len(v) for v in feeds.values() if v.ndim > 0)
        is_reference = who == "reference"
        outputs = run_in_batches(runner, feeds)
        kept.add(
            checked(outputs, first=first, length=length, who=who, is_reference=is_reference),
            first=first,
            length=length,
        )
        told.advance(length)
    return kept.finish()
