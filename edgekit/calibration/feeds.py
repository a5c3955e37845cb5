"""Stream of batches x model inputs -> batches that fit, or the one error that says what does not.

F1 names, F2 different numbers of samples, F3 type or sizes, F4 NaN or infinity: each a DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgekit.errors import DataError, ModelFileError
from edgekit.spec import Array, Feeds, TensorSpec


def batch_of(
    inputs: tuple[TensorSpec, ...], *, limit: int, sample_bytes: int, memory_bytes: int
) -> tuple[int, bool]:
    """(samples per run, whether the model fixes that number).

    Raises:
        ModelFileError: inputs fix different numbers.
    """
    fixed = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)}
    if len(fixed) > 1:
        raise ModelFileError(
            f"inputs disagree about the batch: {', '.join(str(spec) for spec in inputs)}",
            why="calibration feeds one sample after the other along axis 0 of every input",
            remedy="export the model with the same first axis for all inputs, or a dynamic one",
        )
    if fixed:
        return int(fixed.pop() or 1), True
    return max(1, min(limit, memory_bytes // max(sample_bytes, 1))), False


def limited(stream: Iterator[dict[str, Array]], count: int) -> Iterator[dict[str, Array]]:
    """The first ``count`` samples of the stream."""
    left = count
    for feeds in stream:
        if left <= 0:
            return
        many = len(next(iter(feeds.values()))) if feeds else 0
        yield feeds if many <= left else {name: array[:left] for name, array in feeds.items()}
        left -= many


def padded(feeds: Feeds, size: int) -> Feeds:
    """A short last batch, filled up with its last sample, which is in the ranges already."""
    return {
        name: array
        if len(array) == size
        else np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        for name, array in feeds.items()
    }


def check_feeds(feeds: Feeds, inputs: tuple[TensorSpec, ...], *, start: int) -> int:
    """F1 to F4 of one batch; the number of its samples.

    Raises:
        DataError: see the module.
    """
    wanted = {spec.name for spec in inputs}
    if set(feeds) != wanted:  # F1
        raise DataError(
            f"calibration data has {sorted(feeds)}, the model takes {sorted(wanted)}",
            why="arrays are matched to inputs by name",
            remedy="name the arrays like the model's inputs (`edgekit inspect MODEL.onnx` lists them)",
        )
    lengths = {name: len(feeds[name]) for name in sorted(wanted)}
    if len(set(lengths.values())) != 1:  # F2
        raise DataError(
            f"inputs have different numbers of samples: {lengths}",
            why="sample i is row i of every input",
            remedy="make all arrays equally long",
        )
    for spec in inputs:
        _check_feed(feeds[spec.name], spec, start=start)
    return next(iter(lengths.values()))


def _check_feed(array: Array, spec: TensorSpec, *, start: int) -> None:
    sizes_fit = array.ndim == len(spec.shape) and all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not sizes_fit or array.dtype.name != spec.dtype:  # F3
        raise DataError(
            f"calibration data for {spec.name!r} is {array.dtype.name}{list(array.shape)}, "
            f"the model takes {spec}",
            why="type and sizes after the batch must be the model's",
            remedy="fix the data or its pre-processing",
        )
    check_finite(array, name=spec.name, start=start, many=len(array), kind="calibration data")


def check_finite(array: Array, *, name: str, start: int, many: int, kind: str) -> None:
    """F4 for one array.

    Args:
        array: floats are looked at, everything else is finite.
        name: of the tensor.
        start: index of the first sample of the batch.
        many: samples in the batch; where axis 0 has another length, no single sample can be named.
        kind: "calibration data" or "activation".

    Raises:
        DataError: with tensor and sample.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return
    low, high = array.min(), array.max()  # both are NaN where any value is
    if np.isfinite(low) and np.isfinite(high):
        return
    broken = ~np.isfinite(array.reshape(array.shape[0] if array.ndim else 1, -1)).all(axis=1)
    row = int(np.argmax(broken))
    place = f"sample {start + row}" if array.ndim and array.shape[0] == many else f"samples from {start} on"
    raise DataError(
        f"{kind} {name!r} is not finite in {place}",
        why="NaN and infinity have no place in a range",
        remedy="look at that sample and its pre-processing"
        if kind == "calibration data"
        else "the float model itself overflows there: check the sample, or the model",
    )


def extrema(array: Array) -> tuple[Array, Array]:
    """Smallest and largest value of each sample, (samples,) each; infinite and inverted where it is empty."""
    flat = array.reshape(len(array), -1)
    if flat.size == 0:
        return np.full(len(array), np.inf), np.full(len(array), -np.inf)
    return flat.min(axis=1), flat.max(axis=1)


def strided(array: Array, *, sampled: int, offset: int) -> Array:
    """(samples, about ``sampled``) values of each sample, evenly from ``offset`` on."""
    flat = array.reshape(len(array), -1)
    step = max(1, flat.shape[1] // max(sampled, 1))
    return flat[:, offset % step :: step]


def by_name(names: Mapping[str, int], feeds: Feeds) -> list[tuple[int, Array]]:
    """(index, array) of those feeds that have an index."""
    return [(index, feeds[name]) for name, index in names.items()]
