"""BatchStream -> (first sample's number, feeds), one batch at a time; outputs -> the same, checked.

Memory never grows with the number of samples. What is refused, cited in the code below:

    S1  the stream has no sample at all, or no input
    S2  the arrays of one batch disagree about its length
    S3  the stream ends before ``count`` samples
    S4  the stream goes on after ``count`` samples (only where every sample has a label)
    F1  an output holds NaN or infinity: of the reference an error of the data or the model (exit code 2), of
        a candidate, for which the reference is finite, a broken artifact (3)
    F2  an output's leading axis is not the batch
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.errors import DataError, NonFiniteOutputError
from edgekit.spec import Array, BatchStream, Runner


def _length(feeds: Mapping[str, Array], *, first: int) -> int:
    lengths = {name: len(value) for name, value in feeds.items() if np.ndim(value) > 0}
    if not lengths:
        raise DataError(  # S1
            f"the batch that starts at sample {first} has no array with a leading batch axis",
            why="without one, samples cannot be counted",
            remedy="yield mappings of input name -> array of shape (batch, ...)",
        )
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in sorted(lengths.items()))
        raise DataError(  # S2
            f"the inputs of the batch that starts at sample {first} have different lengths ({shown})",
            why="axis 0 of every input counts the same samples",
            remedy="give every input one row for each sample",
        )
    return next(iter(lengths.values()))


def stream(
    batches: BatchStream, *, count: int, batch_size: int, exact: bool
) -> Iterator[tuple[int, dict[str, Array]]]:
    """The first ``count`` samples as (number of the batch's first sample, feeds).

    Args:
        batches: the data.
        count: how many samples are wanted, > 0.
        batch_size: samples in one batch; the last may be shorter.
        exact: a stream that is longer than ``count`` is an error instead of being cut.

    Raises:
        DataError: S1 to S4 of this module.
    """
    if count < 1:
        raise DataError(  # S1
            f"{count} samples were asked for",
            why="a metric over no sample has no value, and 0 would look like a result",
            remedy="name a data set with samples, or a positive number of them",
        )
    first = 0
    for feeds in batches(batch_size):
        length = _length(feeds, first=first)
        if first + length > count:
            if exact:
                raise DataError(  # S4
                    f"the data has more than {count} samples, but there are {count} labels",
                    why="a sample without its label cannot be scored, and the rest may be shifted",
                    remedy="give one label for each sample, in the same order",
                )
            length = count - first
            feeds = {n: v[:length] if np.ndim(v) > 0 else v for n, v in feeds.items()}  # noqa: PLW2901 - cut
        if length:
            yield first, dict(feeds)
        first += length
        if first == count and not exact:
            return
    if first == 0:
        raise DataError(  # S1
            "the data has no sample at all",
            why="a metric over no sample has no value, and 0 would look like a result",
            remedy="check the source, the split and the selection of the data set",
        )
    if first < count:
        raise DataError(  # S3
            f"the data ended after {first} samples, but {count} were expected",
            why="labels and samples must belong together one by one",
            remedy="give one label for each sample, or ask for fewer samples",
        )


def checked(
    outputs: Mapping[str, Array], *, first: int, length: int, who: str, is_reference: bool = False
) -> dict[str, Array]:
    """``outputs`` as they are, once every value is finite and every leading axis is the batch.

    Args:
        outputs: arrays of shape (length, ...) by output name.
        first: number of the batch's first sample.
        length: samples in this batch.
        who: "reference" or "candidate", for the message.
        is_reference: whether these are the float reference's.

    Raises:
        DataError: F1 of the reference, or F2.
        NonFiniteOutputError: F1 of a candidate.
    """
    for name, value in outputs.items():
        if value.ndim == 0 or len(value) != length:
            raise DataError(  # F2
                f"output {name!r} of the {who} has shape {value.shape} for {length} samples",
                why="a metric needs one row for each sample",
                remedy="export the model with the batch on axis 0, or evaluate with batch size 1",
            )
        if value.dtype.kind in "iub":
            continue
        finite = np.isfinite(value)
        if not finite.all():
            where = np.unravel_index(int(np.argmin(finite)), value.shape)
            kind = DataError if is_reference else NonFiniteOutputError
            raise kind(  # F1
                f"output {name!r} of the {who} is {value[where]} at sample {first + int(where[0])}"
                f" (index {tuple(int(i) for i in where[1:])})",
                why="a value that is not finite makes every figure computed from it meaningless",
                remedy="look at that sample: bad input data, an overflow in fp16 or a broken operator",
                more="edgekit inspect",
            )
    return dict(outputs)


def run_in_batches(runner: Runner, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """``runner.run`` on a batch of any length, also where its inputs have a fixed one.

    What is missing from the last fixed batch is filled with copies of its last sample and cut off again; an
    output without the batch on its leading axis is left to ``checked``.
    """
    fixed = fixed_batch(runner)
    length = _length(feeds, first=0)
    if fixed is None or fixed == length:
        return runner.run(feeds)
    parts = []
    for start in range(0, length, fixed):
        stop = min(start + fixed, length)
        rows = np.minimum(np.arange(start, start + fixed), stop - 1)
        outputs = runner.run({n: v[rows] if np.ndim(v) > 0 else v for n, v in feeds.items()})
        parts.append(
            {n: v[: stop - start] if v.ndim > 0 and len(v) == fixed else v for n, v in outputs.items()}
        )
    if len(parts) == 1:
        return parts[0]
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if arrays[0].ndim == 0 else np.concatenate(arrays)


def fixed_batch(runner: Runner) -> int | None:
    """The batch that the runner's inputs insist on; None where it is open."""
    sizes = [spec.shape[0] for spec in runner.inputs if spec.shape and isinstance(spec.shape[0], int)]
    return next((size for size in sizes if isinstance(size, int)), None)
