"""Float model + what to watch -> a model that gives statistics in place of activations.

    per sample and tensor, in the runtime's own graph:  max, min, and a seeded sample of the values
    rows: (batch, columns) = [ sampled values of all tensors | maxima | minima | sums ], one output

Only that leaves the runtime: on MobileNetV2 at 224 pixels 6 % of the values.

T1: the statistics of a tensor stand where it is still in the processor's cache. ONNX Runtime orders nodes by
    a depth-first search from the leaves that takes the node with the larger index first, so the nodes are
    added last tensor first, and all end in one Concat. In plain order all taps ran after the last layer, with
    every activation alive until then: 1.4 times the time of float inference instead of 1.15.
T2: behind a convolution ONNX Runtime keeps channels in blocks (NCHWc). GlobalMaxPool and Conv work on blocks;
    everything else first needs a copy in plain order. So the maximum of a clamped image-shaped tensor is a
    GlobalMaxPool, and before its sample is taken a depthwise Conv with a single 1 in each kernel of one row
    picks one value in four, exactly (x * 1 + 0 + 0 + 0). Rows stay whole, and each channel picks at its own
    place: one place in a larger tile gave ranges that were 10 % off, because borders are special.
T3: the minimum of such a tensor is not computed: where the sample holds the least value that the clamp can
    give, that value is the minimum. Where it does not, ``collect`` asks for it in a second pass (``exact``).
T4: maxima and minima of ONNX Runtime pass over NaN, sums do not: operators that can make NaN out of numbers
    get a sum too.
T5: a tensor whose first axis is not the batch is looked at as a whole; one whose size is open hands out its
    sample as an output of its own.
T6: a tensor that is not clamped has two tails, and ``mse`` searches for the end of each among the few values
    there: ``tails`` times as many are given. With as many as of the others, ranges were up to 3.1 % off those
    of all values, with twice as many 1.5 %.

Source: onnxruntime core/graph/graph_viewer.cc (order of nodes), core/optimizer/nchwc_transformer.cc (which
operators work on blocks), both 1.31; the figures are benchmarks/calibration_cost.py's.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.calibration.watched import floor_of
from edgekit.ir import io
from edgekit.ir.graph import add_initializer, is_onnx, shape_of
from edgekit.spec import Array, Dim

MOST_ACROSS = 4  # neighbours of which one is picked (T2): the copy to plain order is that much smaller
ENOUGH_PLACES = 64  # channels from which on their places, one for each, stand for all places
UNKNOWN_SIZE = 64  # assumed for a dynamic axis other than the batch
_ROWS, _WHOLE = "edgekit_rows", "edgekit_whole"
_MAKES_NAN = frozenset(  # of finite numbers
    (
        *("Acos", "Acosh", "Asin", "Atanh", "Cosh", "Div", "Exp", "Log"),
        *("Mod", "Pow", "Reciprocal", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "Sinh"),
        *("Softplus", "Sqrt", "Tan"),
    )
)
_IMAGE_OPERATORS = ("Conv", "ConvTranspose", "Add", "Mul", "BatchNormalization", "MaxPool", "AveragePool")


@dataclass(frozen=True)
class Column:
    """Columns ``start`` to ``stop`` of an output belong to ``tensor`` (an index into ``Taps.names``)."""

    tensor: int
    start: int
    stop: int


@dataclass(frozen=True)
class Block:
    """Columns of one kind, side by side."""

    columns: tuple[Column, ...] = ()

    @property
    def start(self) -> int:
        """Of the first column."""
        return self.columns[0].start if self.columns else 0

    @property
    def stop(self) -> int:
        """Behind the last column."""
        return self.columns[-1].stop if self.columns else 0

    @property
    def tensors(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Index of the tensor of each entry of ``columns``."""
        return np.array([column.tensor for column in self.columns], np.intp)

    @property
    def starts(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Where each entry begins, counted from the block's own start."""
        return np.array([column.start - self.start for column in self.columns], np.intp)


@dataclass(frozen=True)
class Layout:
    """What the columns of one output are."""

    samples: Block = Block()
    highs: Block = Block()
    lows: Block = Block()
    sums: Block = Block()

    @property
    def width(self) -> int:
        """Number of columns."""
        return max(block.stop for block in (self.samples, self.highs, self.lows, self.sums))


@dataclass(frozen=True)
class Taps:
    """A model that gives statistics, and how to read them.

    Attributes:
        model: takes what the float model takes.
        names: the tensors, in the order of the graph.
        floors: per tensor the value that its minimum is if the sample holds it (T3); NaN where the minimum
            is computed.
        batched: per tensor whether its first axis is the batch.
        rows: columns of output "edgekit_rows", (batch, width); no columns: no such output.
        whole: columns of output "edgekit_whole", (1, width).
        samples: output name -> tensor, for tensors that hand out their own sample.
        channels: output name -> name of the tensor; minima and maxima, (channels,), are two outputs.
    """

    model: ir.Model
    names: tuple[str, ...]
    floors: np.ndarray[tuple[int], np.dtype[np.float64]]
    batched: np.ndarray[tuple[int], np.dtype[np.bool_]]
    rows: Layout
    whole: Layout
    samples: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    rows_name: str = _ROWS
    whole_name: str = _WHOLE


def tapped(
    model: ir.Model,
    names: Iterable[str],
    *,
    sampled: int,
    seed: int,
    exact: bool = False,
    tails: int = 1,
    channels: Mapping[str, int] | None = None,
) -> Taps:
    """Add statistics to a clone of ``model``.

    Args:
        model: canonical float graph; untouched.
        names: values between nodes that are to be watched.
        sampled: about so many values of each tensor and sample are handed out.
        seed: of the offsets at which sampling starts.
        exact: compute every minimum in the graph, even where the sample may prove it (T3).
        tails: times as many of a tensor that is not clamped (T6).
        channels: value name -> axis: also the extrema along all other axes.
    """
    clone = model.clone()
    wanted = set(names)
    values = [value for node in clone.graph for value in node.outputs if value.name in wanted]
    return _Builder(clone, sampled=sampled, seed=seed, exact=exact, tails=tails).build(values, channels or {})


@dataclass
class _Parts:
    """The statistics of one tensor, before they are joined: (value, width) each."""

    tensor: int
    sample: tuple[ir.Value, int] | None = None
    high: tuple[ir.Value, int] | None = None
    low: tuple[ir.Value, int] | None = None
    total: tuple[ir.Value, int] | None = None


class _Builder:
    """Adds nodes to one graph."""

    def __init__(self, model: ir.Model, *, sampled: int, seed: int, exact: bool, tails: int) -> None:
        self._tails = tails
        self._model, self._graph = model, model.graph
        self._sampled, self._seed, self._exact = sampled, seed, exact
        inputs, _ = io.specs(model)
        self._batch: set[Dim] = {spec.shape[0] for spec in inputs if spec.shape} - {None}
        self._nodes: list[list[ir.Node]] = []
        self._constants: dict[tuple[int, ...], ir.Value] = {}
        self._outputs: list[ir.Value] = []
        self._samples: dict[str, int] = {}
        self._channels: dict[str, str] = {}
        self._numbers = count()

    def build(self, values: list[ir.Value], channels: Mapping[str, int]) -> Taps:
        batched = [bool(value.shape) and _dims(value)[0] in self._batch for value in values]
        floors = [self._floor(value) for value in values]
        parts = [
            self._tap(index, value, batched=batched[index], floor=floors[index])
            for index, value in enumerate(values)
        ]
        for value in values:
            if value.name and value.name in channels:
                self._tap_channels(value, channels[value.name])
        for nodes in reversed(self._nodes):  # T1
            self._graph.extend(nodes)
        rows = self._join(_ROWS, [part for part in parts if batched[part.tensor]], first="batch")
        whole = self._join(_WHOLE, [part for part in parts if not batched[part.tensor]], first=1)
        if self._outputs:
            self._graph.outputs.clear()
            self._graph.outputs.extend(self._outputs)
        return Taps(
            model=self._model,
            names=tuple(value.name or "" for value in values),
            floors=np.array([math.nan if floor is None else floor for floor in floors], np.float64),
            batched=np.array(batched, np.bool_),
            rows=rows,
            whole=whole,
            samples=self._samples,
            channels=self._channels,
        )

    def _floor(self, value: ir.Value) -> float | None:
        """The floor where the sample stands in for the minimum (T3)."""
        return None if self._exact or not self._sampled else floor_of(value)

    # --- one tensor --------------------------------------------------------------------------------

    def _tap(self, index: int, value: ir.Value, *, batched: bool, floor: float | None) -> _Parts:
        nodes: list[ir.Node] = []
        self._nodes.append(nodes)
        parts = _Parts(index)
        flat: ir.Value | None = None

        def flattened() -> ir.Value:  # (batch, rest) or (1, all)
            nonlocal flat
            if flat is None:
                shape = self._constant((0, -1) if batched else (1, -1))
                flat = self._emit(nodes, "Reshape", [value, shape])
            return flat

        def reduced(operator: str) -> tuple[ir.Value, int]:
            node_inputs = [flattened(), self._constant((1,))]
            return self._emit(nodes, operator, node_inputs, keepdims=1), 1

        blocks = floor is not None and batched and _is_image(value)
        if blocks:
            pooled = self._emit(nodes, "GlobalMaxPool", [value])
            channels = int(_sizes(value)[1])
            parts.high = (self._emit(nodes, "Reshape", [pooled, self._constant((0, -1))]), channels)
        else:
            parts.high = reduced("ReduceMax")
        if floor is None:
            parts.low = reduced("ReduceMin")
        producer = value.producer()
        if producer is not None and (
            producer.op_type in _MAKES_NAN or not is_onnx(producer, producer.op_type)
        ):
            parts.total = reduced("ReduceSum")  # T4
        if self._sampled:
            picked, width = (
                self._picked_from_blocks(nodes, value)
                if blocks
                else self._picked(
                    nodes,
                    flattened(),
                    value,
                    _rest(value, batched=batched),
                    sampled=self._sampled * (self._tails if floor_of(value) is None else 1),
                )
            )
            if width is None or not batched:
                self._own_output(picked, index, batched=batched)
            else:
                parts.sample = (picked, width)
        return parts

    def _picked(
        self, nodes: list[ir.Node], flat: ir.Value, value: ir.Value, rest: tuple[Dim, ...], *, sampled: int
    ) -> tuple[ir.Value, int | None]:
        """Every k-th of the values ``flat``, (batch, ...), from a seeded start; and how many, where known.

        k is a prime that divides no size of ``rest`` but the first: all rows, columns and channels are met.
        """
        known = all(isinstance(dim, int) for dim in rest)
        size = math.prod(dim if isinstance(dim, int) else UNKNOWN_SIZE for dim in rest)
        step = _stride(size // max(sampled, 1), [dim for dim in rest[1:] if isinstance(dim, int)])
        if step == 1:
            return flat, size if known else None
        start = int(self._rng(value).integers(0, min(step, size)))
        bounds = [self._constant((item,)) for item in (start, 2**31 - 1, 1, step)]
        picked = self._emit(nodes, "Slice", [flat, *bounds])
        return picked, -(-(size - start) // step) if known else None

    def _picked_from_blocks(self, nodes: list[ir.Node], value: ir.Value) -> tuple[ir.Value, int | None]:
        """T2: one of a few neighbours in a row, at a place drawn for each channel; then as ``_picked``."""
        _, channels, height, width = (int(size) for size in _sizes(value))
        most = MOST_ACROSS if channels >= ENOUGH_PLACES else 1
        across = max(size for size in range(1, most + 1) if width % size == 0)
        picked = value
        if across > 1 and channels * height * width // across > self._sampled:
            weight = np.zeros((channels, 1, 1, across), np.float32)
            places = self._rng(value).integers(0, across, channels)
            weight[np.arange(channels), 0, 0, places] = 1.0
            picked = self._emit(
                nodes,
                "Conv",
                [value, self._initializer("edgekit_pick", weight)],
                group=channels,
                kernel_shape=[1, across],
                strides=[1, across],
            )
            width //= across
        flat = self._emit(nodes, "Reshape", [picked, self._constant((0, -1))])
        return self._picked(nodes, flat, value, (channels, height, width), sampled=self._sampled)

    def _own_output(self, picked: ir.Value, tensor: int, *, batched: bool) -> None:
        """T5. A Reshape of its own, because ``picked`` may be read by reductions too."""
        nodes = self._nodes[-1]
        out = self._emit(nodes, "Reshape", [picked, self._constant((0, -1))])
        name = f"edgekit_sample_{tensor}"
        self._name_output(out, name, ("batch" if batched else 1, f"size_{tensor}"))
        self._samples[name] = tensor

    def _tap_channels(self, value: ir.Value, axis: int) -> None:
        nodes: list[ir.Node] = []
        self._nodes.append(nodes)
        dims = _dims(value)
        axis %= len(dims)
        others = self._constant(tuple(each for each in range(len(dims)) if each != axis))
        for operator in ("ReduceMin", "ReduceMax"):
            out = self._emit(nodes, operator, [value, others], keepdims=0)
            name = f"edgekit_channels_{next(self._numbers)}"
            self._name_output(out, name, (dims[axis],))
            self._channels[name] = value.name or ""

    # --- outputs -----------------------------------------------------------------------------------

    def _join(self, name: str, parts: list[_Parts], *, first: Dim) -> Layout:
        """One Concat over everything that has the same first axis."""
        inputs: list[ir.Value] = []
        blocks: dict[str, Block] = {}
        start = 0
        for kind in ("sample", "high", "low", "total"):
            columns = []
            for part in parts:
                entry: tuple[ir.Value, int] | None = getattr(part, kind)
                if entry is None:
                    continue
                inputs.append(entry[0])
                columns.append(Column(part.tensor, start, start + entry[1]))
                start += entry[1]
            blocks[kind] = Block(tuple(columns))
        if not inputs:
            return Layout()
        node = ir.node("Concat", inputs, attributes={"axis": 1})
        self._graph.append(node)
        node.name = name
        fixed = next((dim for dim in self._batch if isinstance(dim, int)), None)
        self._name_output(node.outputs[0], name, (fixed if first == "batch" and fixed else first, start))
        return Layout(blocks["sample"], blocks["high"], blocks["low"], blocks["total"])

    def _name_output(self, value: ir.Value, name: str, shape: tuple[Dim, ...]) -> None:
        value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
        self._outputs.append(value)

    def _emit(
        self, nodes: list[ir.Node], operator: str, inputs: list[ir.Value], **attributes: Any
    ) -> ir.Value:
        node = ir.node(operator, inputs, attributes=attributes)
        number = next(self._numbers)
        node.name = f"edgekit_tap_{number}"
        node.outputs[0].name = f"edgekit_value_{number}"
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        nodes.append(node)
        return node.outputs[0]

    def _constant(self, numbers: tuple[int, ...]) -> ir.Value:
        if numbers not in self._constants:
            array = np.array(numbers, np.int64)
            self._constants[numbers] = self._initializer("edgekit_constant", array)
        return self._constants[numbers]

    def _initializer(self, name: str, array: Array) -> ir.Value:
        return add_initializer(self._graph, f"{name}_{next(self._numbers)}", array)

    def _rng(self, value: ir.Value) -> np.random.Generator:
        """A tensor's offset depends on the seed and its own name alone."""
        return np.random.default_rng([self._seed, zlib.crc32((value.name or "").encode())])


def _dims(value: ir.Value) -> tuple[Dim, ...]:
    """Sizes: int, name or None."""
    shape = value.shape
    if shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def _rest(value: ir.Value, *, batched: bool) -> tuple[Dim, ...]:
    dims = _dims(value)
    return dims[1:] if batched else dims


def _sizes(value: ir.Value) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 0 for dim in _dims(value))


def _is_image(value: ir.Value) -> bool:
    """Whether ``value`` is (batch, channels, height, width) out of an operator that works on blocks (T2)."""
    sizes = shape_of(value)
    node = value.producer()
    source = node.inputs[0].producer() if node is not None and node.inputs and node.inputs[0] else None
    return (
        sizes is not None
        and len(sizes) == 4
        and None not in sizes[1:]
        and source is not None
        and is_onnx(source, *_IMAGE_OPERATORS)
    )


def _stride(wanted: int, axes: list[int]) -> int:
    """The first prime from ``wanted`` on that divides no axis; 1 where everything is taken."""
    if wanted <= 1:
        return 1
    candidate = wanted
    while not _is_prime(candidate) or any(axis % candidate == 0 for axis in axes):
        candidate += 1
    return candidate


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
