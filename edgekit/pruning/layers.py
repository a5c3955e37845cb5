"""Node with a constant weight -> rows that read columns: what pruning scores and re-solves.

    y[row] = weight[row] . patch + bias[row]        patch: (channels * taps,) of the layer's input

K1  Conv of one group over one or two spatial axes: taps are the kernel's; patches at positions drawn anew for
    each batch.
K2  Conv with groups: one weight for each group.
K3  Gemm, MatMul with a constant matrix: one tap; a patch is a row of the input.
K4  RNN, GRU, LSTM read their input and their own past output (``reads_itself``): scored, never re-solved,
    because gates lie between the product and what is seen.
K5  anything else (padding by name, ConvTranspose, three spatial axes) is no layer here.

Shapes: weight (groups, rows, columns), patches (groups, count, columns); columns = channels * taps.

K6  a layer holds no copy of its weight: of a large model all of them together are gigabytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, ints_attribute, is_onnx
from edgekit.spec import Array

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
PATCHES_PER_COLUMN = 32  # of one layer over all samples: a covariance is known to a few per cent from as many
FEWEST_POSITIONS = 4  # of each sample and convolution: neighbours say the same, samples do not
LARGEST_COLUMNS = 4608  # 512 channels of a 3x3 kernel: 170 MB of moments in float64


@dataclass(frozen=True, eq=False)
class Layer:
    """A node as rows that read columns.

    Attributes:
        index: of the node in the graph.
        name: of the node; with "/past" where it reads itself.
        source: value that it reads.
        output: value that it gives.
        weight_name: of the initializer.
        axis: of the initializer, along which the input's channels lie.
        stored: (groups, rows, columns), the initializer's own numbers, seen so.
        taps: columns of one channel; a channel's columns lie together.
        node: it itself.
    """

    index: int
    name: str
    source: str
    output: str
    weight_name: str
    axis: int
    stored: Array
    taps: int
    node: ir.Node

    @property
    def weight(self) -> Floats:
        """(groups, rows, columns), made anew each time (K6)."""
        return self.stored.astype(np.float64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(groups, rows, columns) of the weight."""
        groups, rows, columns = self.stored.shape
        return groups, rows, columns

    @property
    def size(self) -> int:
        """Numbers of the weight."""
        return self.stored.size

    @property
    def is_conv(self) -> bool:
        """Whether patches lie at positions of an image or a sequence (K1, K2)."""
        return is_onnx(self.node, "Conv")

    @property
    def is_solvable(self) -> bool:
        """Whether its output is linear in the weight (K4 is not)."""
        return is_onnx(self.node, "Conv", "Gemm", "MatMul")

    @property
    def bias(self) -> ir.Value | None:
        """The bias that the node has."""
        value = self.node.inputs[2] if len(self.node.inputs) > 2 else None
        return value if value is not None and value.name else None

    @property
    def takes_bias(self) -> bool:
        """Whether the node has a place for a bias of one number for each row."""
        if is_onnx(self.node, "MatMul"):
            return False
        bias = constant(self.bias)
        return self.bias is None or (bias is not None and bias.size == self.shape[0] * self.shape[1])

    @property
    def moment_bytes(self) -> int:
        """Of sums of products of the columns and one more, for the bias."""
        return 8 * int(self.shape[0] * (self.shape[2] + 1) ** 2)


def layers(model: ir.Model, *, widest: int = LARGEST_COLUMNS) -> tuple[Layer, ...]:
    """All layers of at most ``widest`` columns in the order of the graph."""
    found: list[Layer] = []
    for index, node in enumerate(model.graph):
        found.extend(_layers_of(index, node))
    return tuple(layer for layer in found if layer.shape[2] <= widest)


def _layers_of(index: int, node: ir.Node) -> list[Layer]:
    if is_onnx(node, "Conv"):
        return _conv(index, node)
    if is_onnx(node, "Gemm", "MatMul"):
        return _matrix(index, node)
    if is_onnx(node, "RNN", "GRU", "LSTM"):
        return _recurrent(index, node)
    return []


def _plain(index: int, node: ir.Node, *, rows: Array, taps: int, axis: int, place: int = 1) -> Layer | None:
    source, weight = node.inputs[0], node.inputs[place]
    if source is None or weight is None or not weight.is_initializer():
        return None
    return Layer(
        index=index,
        name=node.name or "",
        source=source.name or "",
        output=node.outputs[0].name or "",
        weight_name=weight.name or "",
        axis=axis,
        stored=rows,
        taps=taps,
        node=node,
    )


def _conv(index: int, node: ir.Node) -> list[Layer]:
    weight = constant(node.inputs[1])
    automatic = "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() != "NOTSET"
    if weight is None or automatic or weight.ndim not in {3, 4}:
        return []
    groups = int_attribute(node, "group", 1)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    found = _plain(index, node, rows=rows, taps=math.prod(weight.shape[2:]), axis=1)
    return [found] if found else []


def _matrix(index: int, node: ir.Node) -> list[Layer]:
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 2 or int_attribute(node, "transA", 0):
        return []
    flip = not int_attribute(node, "transB", 0)  # MatMul has no such attribute
    found = _plain(index, node, rows=(weight.T if flip else weight)[None], taps=1, axis=0 if flip else 1)
    return [found] if found else []


def _recurrent(index: int, node: ir.Node) -> list[Layer]:
    weight, past = constant(node.inputs[1]), constant(node.inputs[2])
    if weight is None or past is None or int_attribute(node, "layout", 0) or not node.outputs[0].name:
        return []
    rows = weight.reshape(1, -1, weight.shape[2])
    outer = _plain(index, node, rows=rows, taps=1, axis=2)
    inner = _plain(index, node, rows=past.reshape(1, -1, past.shape[2]), taps=1, axis=2, place=2)
    if outer is None or inner is None:
        return []
    return [outer, replace(inner, name=f"{inner.name}/past", source=inner.output)]


def patches(layer: Layer, value: Array, *, at: Positions | None) -> Singles:
    """(groups, count, columns) that the rows of ``layer`` are multiplied with."""
    if at is None:
        return np.asarray(value, np.float32).reshape(1, -1, value.shape[-1])
    padded = np.pad(np.asarray(value, np.float32), ((0, 0), (0, 0), *at.padding))
    if padded.ndim == 3:
        found = padded[:, :, at.taken[0]]  # (n, channels, positions, kernel)
    else:
        found = padded[:, :, at.taken[0][:, :, None], at.taken[1][:, None, :]]
    groups = layer.shape[0]
    split = found.reshape(found.shape[0], groups, -1, *found.shape[2:])
    return np.asarray(np.moveaxis(split, (1, 0, 3), (0, 1, 2)).reshape(groups, -1, layer.shape[2]))


def answers(layer: Layer, value: Array, *, at: Positions | None) -> Singles:
    """(groups, count, rows) of an output, in the order of ``patches``."""
    groups, rows = layer.shape[:2]
    if at is None:
        return np.asarray(value, np.float32).reshape(1, -1, value.shape[-1])
    flat = np.asarray(value, np.float32).reshape(*value.shape[:2], -1)[:, :, at.chosen]
    split = flat.reshape(len(flat), groups, rows, -1)
    return np.asarray(np.moveaxis(split, (1, 0, 3), (0, 1, 2)).reshape(groups, -1, rows))


@dataclass(frozen=True, eq=False)
class Positions:
    """Where patches of a convolution are taken.

    Attributes:
        chosen: (positions,) flat indices into the output's spatial axes.
        taken: per spatial axis (positions, kernel) indices into the padded input.
        padding: per spatial axis (before, after).
    """

    chosen: npt.NDArray[np.int64]
    taken: tuple[npt.NDArray[np.int64], ...]
    padding: tuple[tuple[int, int], ...]


def positions(
    layer: Layer, shape: tuple[int, ...], *, count: int, rng: np.random.Generator
) -> Positions | None:
    """Some places of an input of ``shape``; None for layers that have none (K3, K4).

    Together the ``count`` samples give PATCHES_PER_COLUMN patches for each column.
    """
    if not layer.is_conv:
        return None
    weight = constant(layer.node.inputs[1])
    kernel = () if weight is None else weight.shape[2:]
    axes = len(kernel)
    pads = ints_attribute(layer.node, "pads", (0,) * (2 * axes))
    strides = ints_attribute(layer.node, "strides", (1,) * axes)
    dilations = ints_attribute(layer.node, "dilations", (1,) * axes)
    padding = tuple((pads[axis], pads[axis + axes]) for axis in range(axes))
    sizes = [
        (shape[2 + axis] + sum(padding[axis]) - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        for axis in range(axes)
    ]
    total = math.prod(sizes)
    wanted = max(FEWEST_POSITIONS, -(-PATCHES_PER_COLUMN * layer.shape[2] // max(count, 1)))
    chosen = np.sort(rng.choice(total, size=min(wanted, total), replace=False))
    corners = np.unravel_index(chosen, sizes)
    taken = tuple(
        corner[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis]
        for axis, corner in enumerate(corners)
    )
    return Positions(chosen, taken, padding)


def weight_from_rows(layer: Layer, rows: Array) -> Array:
    """(groups, rows, columns) -> the shape of the initializer."""
    weight = constant(layer.node.inputs[1])
    if weight is None:
        raise TypeError(f"{layer.name} has no constant weight")
    if layer.is_conv or int_attribute(layer.node, "transB", 0):
        return rows.reshape(weight.shape)
    return np.ascontiguousarray(rows[0].T)
