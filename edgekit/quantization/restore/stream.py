"""Stream of batches x model -> statistics per channel, taken inside the runtime's graph.

    channel_peaks:  value -> (channels,) max |value| over samples and positions

S1: one batch is in memory at a time; what leaves the runtime is one number per channel.
S2: a graph with a fixed batch gets whole batches; the rest is left out, unless it is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir import io
from edgekit.ir.graph import add_initializer, rank
from edgekit.spec import Array, BatchStream, RunOptions, Session

OpenModel = Callable[[ir.Model, RunOptions], Session]
Floats = npt.NDArray[np.float64]


def channel_peaks(
    model: ir.Model, values: Mapping[str, int], *, open_model: OpenModel, batches: BatchStream, count: int
) -> dict[str, Floats]:
    """The largest absolute value of each channel.

    Args:
        model: float model; untouched.
        values: value name -> its channel axis.
        open_model: opens a model in a runtime that computes in float32.
        batches: batch size -> a pass over the data.
        count: samples to look at; 32 tell the scale of a channel.
    """
    if not values:
        return {}
    tapped = model.clone()
    found = {value.name: value for node in tapped.graph for value in node.outputs}
    outputs = {}
    for number, (name, axis) in enumerate(values.items()):
        size = new_value(tapped.graph, "Abs", [found[name]], f"edgekit_size_{number}")
        outputs[name] = reduced(tapped.graph, "ReduceMax", size, axis=axis, name=f"edgekit_peak_{number}")
    tapped.graph.outputs.clear()
    tapped.graph.outputs.extend(outputs.values())
    peaks: dict[str, Floats] = {}
    with open_model(tapped, RunOptions()) as session:
        for feeds, _ in whole_batches(model, batches, count=count):
            results = session.run(feeds)
            for name, value in outputs.items():
                peak = results[value.name or ""].astype(np.float64).ravel()
                peaks[name] = np.maximum(peaks.get(name, peak), peak)
    return peaks


def whole_batches(
    model: ir.Model, batches: BatchStream, *, count: int, size: int = 8
) -> Iterator[tuple[dict[str, Array], int]]:
    """(batch, samples in it) of the first ``count`` samples; a graph's own batch wins over ``size`` (S2)."""
    specs = io.specs(model)[0]
    first = next((spec.shape[0] for spec in specs if spec.shape), None)
    fixed = first if isinstance(first, int) else 0
    seen = 0
    for feeds in batches(fixed or size):
        many = len(next(iter(feeds.values())))
        if seen >= count or (fixed and many < fixed and seen):
            return
        if fixed and many < fixed:
            yield {name: np.resize(array, (fixed, *array.shape[1:])) for name, array in feeds.items()}, many
        elif not fixed and many > count - seen:
            many = count - seen
            yield {name: array[:many] for name, array in feeds.items()}, many
        else:
            yield feeds, many
        seen += many


def reduced(graph: ir.Graph, operator: str, value: ir.Value, *, axis: int, name: str) -> ir.Value:
    """``value`` over all axes but ``axis``; they stay, with size 1."""
    count = rank(value) or 0
    axes = [each for each in range(count) if each != axis % count]
    constant = add_initializer(graph, f"{name}_axes", np.array(axes, np.int64))
    result = new_value(graph, operator, [value, constant], name)
    shape = value.shape
    size = shape[axis % count] if shape is not None else None
    result.shape = ir.Shape([size if each == axis % count else 1 for each in range(count)])
    return result


def new_value(graph: ir.Graph, operator: str, inputs: list[ir.Value], name: str) -> ir.Value:
    """The float32 output ``name`` of a new node behind the producer of the first input, or at the end."""
    node = ir.node(operator, inputs, name=name)
    result = node.outputs[0]
    result.name, result.shape = name, inputs[0].shape
    result.type = ir.TensorType(ir.DataType.FLOAT)
    producer = inputs[0].producer()
    if producer is None:
        graph.append(node)
    else:
        graph.insert_after(producer, node)
    return result
