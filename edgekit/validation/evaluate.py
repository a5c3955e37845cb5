"""Runner + data + labels -> Evaluation: the metric's value and the per-sample statistics behind it.

Streams: one batch of outputs is alive at a time; what stays is a few numbers for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import DataError, UnknownNameError
from edgekit.spec import Array, BatchStream, Progress, Runner, Silent
from edgekit.validation.metrics import concatenate, task_metric
from edgekit.validation.streaming import checked, stream

DEFAULT_BATCH_SIZE = 32  # large enough that a batch outweighs its overhead, small enough for a laptop


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well one runner does on labelled samples.

    Attributes:
        metric: id in TASK_METRICS.
        value: the metric over all samples.
        statistics: the metric's sufficient statistics; axis 0 counts samples in data order.
        count: number of samples.
        output: what was scored, by role.
    """

    metric: str
    value: float
    statistics: Mapping[str, Array]
    count: int
    output: Mapping[str, str]


def scored_outputs(
    names: tuple[str, ...], *, roles: tuple[str, ...], output: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Role -> output name.

    One role: ``output`` names it, or the model has only one. Several: ``output`` maps each role to a name,
    or outputs of the roles' own names exist.

    Raises:
        UnknownNameError: an output of that name does not exist.
        DataError: the choice is open.
    """
    wanted: Mapping[str, str]
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


def evaluate(
    runner: Runner,
    *,
    metric: str,
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
        metric: id in TASK_METRICS.
        batches: the samples.
        labels: (count, ...), in data order.
        count: number of samples, all of which are used.
        output: which output is scored; needed where the model has several. By role for detection.
        progress: one step for each sample.
        batch_size: samples for one call of the runner.
        who: "reference" or "candidate", for messages.

    Raises:
        UnknownNameError: metric or output unknown.
        DataError: no samples, labels of another number, outputs that are not finite or of a wrong shape.
    """
    row = task_metric(metric)
    if len(labels) != count:
        raise DataError(
            f"{len(labels)} labels for {count} samples",
            why="labels and samples must belong together one by one",
            remedy="give one label for each sample, in the same order",
        )
    chosen = scored_outputs(tuple(s.name for s in runner.outputs), roles=row.roles, output=output)
    told = progress or Silent()
    told.stage(f"evaluate {who} ({metric})", total=count)
    parts = []
    for first, feeds in stream(batches, count=count, batch_size=batch_size, exact=True):
        length = max(len(v) for v in feeds.values() if v.ndim > 0)
        outputs = checked(runner.run(feeds), first=first, length=length, who=who)
        scored = {role: outputs[name] for role, name in chosen.items()}
        parts.append(row.sufficient(scored, labels[first : first + length]))
        told.advance(length)
    statistics = concatenate(row, parts)
    return Evaluation(metric, row.value(statistics), statistics, count, chosen)
