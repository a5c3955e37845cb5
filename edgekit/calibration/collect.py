"""Float model x stream of batches -> one Range per float tensor.

    clone of the model with every float activation as an output --open_model--> session
    for batch in batches:  session.run(batch) -> observers          (memory: one batch, whatever the count)

A value that only re-arranges another one (Reshape, Transpose, ...) has that one's range; it is not taken out
of the runtime. Initializers have no range: their values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.calibration.findings import Finding, SampleLog, findings
from edgekit.calibration.observers import Extent, MinMax, Percentile, observer_from_method
from edgekit.errors import DataError, ModelFileError
from edgekit.ir import io
from edgekit.ir.graph import is_float32, is_onnx
from edgekit.spec import (
    Array,
    BatchStream,
    Feeds,
    Progress,
    Range,
    RunOptions,
    Session,
    Silent,
    TensorSpec,
)

REARRANGING = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity")
DEFAULT_BATCH = 32
MEMORY_BYTES = 256 * 2**20  # activations of one batch; the batch shrinks until they fit
UNKNOWN_SIZE = 64  # assumed for a dynamic axis other than the batch when memory is estimated


@dataclass(frozen=True)
class Calibration:
    """What calibration found.

    Attributes:
        tensors: range by value name, for graph inputs and every float32 value between nodes.
        findings: what the user should know about the data.
        samples: how many samples were seen.
    """

    tensors: Mapping[str, Range]
    findings: tuple[Finding, ...]
    samples: int


@dataclass
class _Watched:
    """Running state of one tensor."""

    state: Any
    extent: Extent


def collect(
    model: ir.Model,
    *,
    open_model: Callable[[ir.Model, RunOptions], Session],
    batches: BatchStream,
    count: int,
    method: str,
    progress: Progress | None = None,
    batch_size: int = DEFAULT_BATCH,
) -> Calibration:
    """Stream the data through the float model once and observe every float tensor.

    Args:
        model: canonical float graph; untouched.
        open_model: opens a model in a runtime that computes in float32.
        batches: batch size -> a pass over the samples.
        count: how many samples ``batches`` yields at most; more are not read.
        method: see ``observers``: "minmax", "percentile:99.99".
        progress: advanced by samples; the caller has opened the stage.
        batch_size: upper limit; a fixed batch axis or the memory of the activations may make it smaller.

    Raises:
        DataError: no samples; names, shapes or types that are not the model's; NaN or infinity in the data
            or in an activation (with tensor and sample).
        UnknownNameError, InputError: no such method.
    """
    observer = observer_from_method(method)
    progress = progress or Silent()
    inputs, _ = io.specs(model)
    watched = {name: _Watched(observer.start(), Extent()) for name in _watched_names(model)}
    given = {spec.name: Extent() for spec in inputs}
    log = SampleLog()
    size, fixed = _batch(model, inputs, watched, limit=batch_size)
    samples = 0
    with open_model(with_activations(model, watched), RunOptions()) as session:
        for feeds in _limited(batches(size), count):
            many = _check_feeds(feeds, inputs, start=samples)
            log.add(feeds, start=samples, count=many)
            given = {name: extent.widened(feeds[name]) for name, extent in given.items()}
            values = {**session.run(_padded(feeds, size) if fixed else feeds), **feeds}
            for name, tensor in watched.items():
                _observe(tensor, values[name], name=name, start=samples, many=many, observer=observer)
            samples += many
            progress.advance(many)
    if samples == 0:
        raise DataError(
            "the calibration data has no samples",
            why="ranges of activations come from data",
            remedy="check the data source and its split; 100 to 300 samples are a good number",
        )
    tensors = {name: observer.finish(tensor.state) for name, tensor in watched.items()}
    extents = {name: Range(t.extent.low, t.extent.high) for name, t in watched.items() if name not in given}
    seen = {name: Range(extent.low, extent.high) for name, extent in given.items()}
    return Calibration(
        _with_rearranged(model, tensors),
        findings(samples=samples, log=log, inputs=seen, activations=extents),
        samples,
    )


def with_activations(model: ir.Model, names: Mapping[str, Any]) -> ir.Model:
    """A clone of ``model`` whose values ``names`` are outputs too."""
    clone = model.clone()
    present = {value.name for value in (*clone.graph.outputs, *clone.graph.inputs)}
    for node in clone.graph:
        clone.graph.outputs.extend(
            value for value in node.outputs if value.name in names and value.name not in present
        )
    return clone


def _watched_names(model: ir.Model) -> tuple[str, ...]:
    """Float inputs, and float outputs of nodes that do more than re-arrange."""
    inputs, _ = io.specs(model)
    names = [spec.name for spec in inputs if spec.dtype == "float32"]
    for node in model.graph:
        if is_onnx(node, *REARRANGING):
            continue
        names.extend(
            value.name
            for value in node.outputs
            if value.name and is_float32(value) and value.shape is not None
        )
    return tuple(names)


def _with_rearranged(model: ir.Model, tensors: Mapping[str, Range]) -> dict[str, Range]:
    ranges = dict(tensors)
    for node in model.graph:
        source, result = (node.inputs[0] if node.inputs else None), node.outputs[0]
        if is_onnx(node, *REARRANGING) and source is not None and result.name and source.name in ranges:
            ranges[result.name] = ranges[source.name]
    return ranges


def _batch(
    model: ir.Model, inputs: tuple[TensorSpec, ...], watched: Mapping[str, Any], *, limit: int
) -> tuple[int, bool]:
    """(samples per run, whether the model fixes that number)."""
    fixed = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)}
    if fixed:
        if len(fixed) > 1:
            raise ModelFileError(
                f"inputs disagree about the batch: {', '.join(str(spec) for spec in inputs)}",
                why="calibration feeds one sample after the other along axis 0 of every input",
                remedy="export the model with the same first axis for all inputs, or a dynamic one",
            )
        return int(fixed.pop() or 1), True
    per_sample = 0
    for node in model.graph:
        for value in node.outputs:
            if value.name in watched and value.shape is not None:
                sizes = [dim if isinstance(dim, int) else UNKNOWN_SIZE for dim in list(value.shape)[1:]]
                per_sample += 4 * int(np.prod(sizes, dtype=np.int64))
    return max(1, min(limit, MEMORY_BYTES // max(per_sample, 1))), False


def _limited(stream: Iterator[dict[str, Array]], count: int) -> Iterator[dict[str, Array]]:
    """The first ``count`` samples of the stream."""
    left = count
    for feeds in stream:
        if left <= 0:
            return
        many = len(next(iter(feeds.values()))) if feeds else 0
        yield feeds if many <= left else {name: array[:left] for name, array in feeds.items()}
        left -= many


def _padded(feeds: Feeds, size: int) -> Feeds:
    """A short last batch, filled up with its last sample, which is in the ranges already."""
    return {
        name: array
        if len(array) == size
        else np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        for name, array in feeds.items()
    }


def _check_feeds(feeds: Feeds, inputs: tuple[TensorSpec, ...], *, start: int) -> int:
    """Names, types, sizes and finiteness of one batch; the number of its samples."""
    wanted = {spec.name for spec in inputs}
    if set(feeds) != wanted:
        raise DataError(
            f"calibration data has {sorted(feeds)}, the model takes {sorted(wanted)}",
            why="arrays are matched to inputs by name",
            remedy="name the arrays like the model's inputs (`edgekit inspect MODEL.onnx` lists them)",
        )
    lengths = {len(feeds[name]) for name in wanted}
    if len(lengths) != 1:
        raise DataError(
            f"inputs have different numbers of samples: "
            f"{ {name: len(array) for name, array in sorted(feeds.items())} }",
            why="sample i is row i of every input",
            remedy="make all arrays equally long",
        )
    for spec in inputs:
        _check_feed(feeds[spec.name], spec, start=start)
    return lengths.pop()


def _check_feed(array: Array, spec: TensorSpec, *, start: int) -> None:
    sizes_fit = array.ndim == len(spec.shape) and all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not sizes_fit or array.dtype.name != spec.dtype:
        raise DataError(
            f"calibration data for {spec.name!r} is {array.dtype.name}{list(array.shape)}, "
            f"the model takes {spec}",
            why="type and sizes after the batch must be the model's",
            remedy="fix the data or its pre-processing",
        )
    _check_finite(array, name=spec.name, start=start, many=len(array), kind="calibration data")


def _check_finite(array: Array, *, name: str, start: int, many: int, kind: str) -> None:
    if array.dtype.kind != "f" or array.size == 0:
        return
    low, high = array.min(), array.max()  # both are NaN where any value is
    if np.isfinite(low) and np.isfinite(high):
        return
    flat = ~np.isfinite(array.reshape(array.shape[0] if array.ndim else 1, -1)).all(axis=1)
    row = int(np.argmax(flat))
    place = f"sample {start + row}" if array.ndim and array.shape[0] == many else f"samples from {start} on"
    raise DataError(
        f"{kind} {name!r} is not finite in {place}",
        why="NaN and infinity have no place in a range",
        remedy="look at that sample and its pre-processing"
        if kind == "calibration data"
        else "the float model itself overflows there: check the sample, or the model",
    )


def _observe(
    tensor: _Watched, values: Array, *, name: str, start: int, many: int, observer: MinMax | Percentile
) -> None:
    _check_finite(values, name=name, start=start, many=many, kind="activation")
    tensor.extent = tensor.extent.widened(values)
    tensor.state = observer.update(tensor.state, values)
