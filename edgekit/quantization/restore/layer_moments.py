"""Float model x data -> second moments of what each weight is multiplied with.

    G = mean over samples and positions of (x - m)(x - m)^T      x: (columns,) the patch that an output reads

M1: a Conv's patches are taken at a few positions of each sample, drawn anew for each batch from the seed.
M2: m is the mean where a bias takes up what rounding does to the mean (``correct_bias``), else zero.
M3: a convolution with groups has one G for each group.
M4: activations of one batch are in memory at a time, and the moments of a few layers: ``chunks``.
M5: a layer holds no copy of its weight: of a large model all of them together are gigabytes.

Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020), equation 13,
whose objective is a quadratic form in G.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, ints_attribute, is_onnx, rank
from edgekit.quantization.restore.stream import Floats, OpenModel, whole_batches
from edgekit.spec import Array, BatchStream, RunOptions

POSITIONS = 32  # of each sample and convolution: with 64 samples 2,048 patches
LARGEST_COLUMNS = 4608  # 512 channels of a 3x3 kernel: 170 MB in float64
MEMORY_BYTES = 512 * 2**20  # of the moments that are gathered in one pass
BATCH = 4  # activations that leave the runtime at once


@dataclass(frozen=True)
class Layer:
    """A weight as rows that read columns.

    Attributes:
        name: of the node.
        source: the value that it reads.
        stored: (groups, rows, columns), the initializer's own numbers, seen so (M5).
        node: Conv, Gemm or MatMul.
    """

    name: str
    source: str
    stored: Array
    node: ir.Node

    @property
    def weight(self) -> Floats:
        """(groups, rows, columns) in float64, made anew each time (M5)."""
        return self.stored.astype(np.float64)

    @property
    def moment_bytes(self) -> int:
        """Of G."""
        return 8 * int(self.stored.shape[0] * self.stored.shape[2] ** 2)


def layer_of(node: ir.Node) -> Layer | None:
    """The layer of a node; None where its patches are not known here (padding by name, other ranks)."""
    source = node.inputs[0]
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or source is None or not source.name or not is_onnx(node, "Conv", "Gemm", "MatMul"):
        return None
    if is_onnx(node, "Conv"):
        automatic = "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET"
        if automatic or weight.ndim != 4 or rank(source) != 4:
            return None
        groups = int_attribute(node, "group", 1)
        rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    elif weight.ndim != 2 or int_attribute(node, "transA", 0):
        return None
    else:
        flip = not int_attribute(node, "transB", 0)  # MatMul has no such attribute
        rows = (weight.T if flip else weight)[None]
    return Layer(node.name or "", source.name, rows, node) if rows.shape[2] <= LARGEST_COLUMNS else None


def weight_from_rows(layer: Layer, rows: Array) -> Array:
    """(groups, rows, columns) -> the shape of the weight: the inverse of ``layer_of``."""
    weight = constant(layer.node.inputs[1])
    if weight is None:
        raise TypeError(f"{layer.name} has no constant weight")
    if is_onnx(layer.node, "Conv") or int_attribute(layer.node, "transB", 0):
        return rows.reshape(weight.shape)
    return np.ascontiguousarray(rows[0].T)


def chunks(layers: Sequence[Layer], *, memory_bytes: int) -> list[list[Layer]]:
    """M4: layers in order, as many together as the memory takes."""
    found: list[list[Layer]] = []
    held = 0
    for layer in layers:
        if not found or held + layer.moment_bytes > memory_bytes:
            found.append([])
            held = 0
        found[-1].append(layer)
        held += layer.moment_bytes
    return found


def moments(
    model: ir.Model,
    layers: Sequence[Layer],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
) -> dict[str, tuple[Floats, Floats]]:
    """(G with m = 0: (groups, columns, columns), mean: (groups, columns)) by name of the layer."""
    shown = model.clone()
    inputs = {value.name for value in shown.graph.inputs}
    wanted = {layer.source for layer in layers}
    shown.graph.outputs.clear()
    shown.graph.outputs.extend(
        value for node in shown.graph for value in node.outputs if value.name in wanted - inputs
    )
    if not shown.graph.outputs:  # a session gives something
        shown.graph.outputs.append(next(iter(shown.graph)).outputs[0])
    total: dict[str, tuple[Floats, Floats, int]] = {}
    with open_model(shown, RunOptions()) as session:
        for number, (feeds, many) in enumerate(whole_batches(model, batches, count=count, size=BATCH)):
            values = {**feeds, **session.run(feeds)}
            for layer in layers:
                value = (
                    values[layer.source][:many] if rank(layer.node.inputs[0]) == 4 else values[layer.source]
                )
                patches = _patches(layer, value, np.random.default_rng([seed, number]))
                square = patches.transpose(0, 2, 1) @ patches
                old = total.get(layer.name, (np.zeros(()), np.zeros(()), 0))
                seen = old[2] + patches.shape[1]
                total[layer.name] = (old[0] + square, old[1] + patches.sum(axis=1), seen)
    return {name: (square / seen, sums / seen) for name, (square, sums, seen) in total.items()}


def _patches(layer: Layer, value: Array, rng: np.random.Generator) -> Floats:
    """(groups, patches, columns) that the rows of ``layer`` are multiplied with (M1, M3)."""
    if not is_onnx(layer.node, "Conv"):
        return np.asarray(value.astype(np.float64).reshape(-1, value.shape[-1])[None])
    kernel, padding, strides, dilations = _geometry(layer.node)
    padded = np.pad(value.astype(np.float64), ((0, 0), (0, 0), *padding))
    sizes = [
        (padded.shape[2 + axis] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        for axis in (0, 1)
    ]
    chosen = rng.choice(math.prod(sizes), size=min(POSITIONS, math.prod(sizes)), replace=False)
    y, x = np.unravel_index(chosen, sizes)
    rows = y[:, None] * strides[0] + np.arange(kernel[0]) * dilations[0]  # (positions, kernel)
    across = x[:, None] * strides[1] + np.arange(kernel[1]) * dilations[1]
    found = padded[:, :, rows[:, :, None], across[:, None, :]]  # (n, channels, positions, *kernel)
    groups = layer.stored.shape[0]
    split = found.reshape(found.shape[0], groups, -1, *found.shape[2:])
    return np.asarray(np.moveaxis(split, (1, 0, 3), (0, 1, 2)).reshape(groups, -1, layer.stored.shape[2]))


def _geometry(
    node: ir.Node,
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...], tuple[int, ...], tuple[int, ...]]:
    """(kernel, (before, after) padding, strides, dilations) over both spatial axes."""
    weight = constant(node.inputs[1])
    kernel = () if weight is None else weight.shape[2:]
    pads = ints_attribute(node, "pads", (0, 0, 0, 0))
    strides, dilations = (ints_attribute(node, name, (1, 1)) for name in ("strides", "dilations"))
    return kernel, ((pads[0], pads[2]), (pads[1], pads[3])), strides, dilations
