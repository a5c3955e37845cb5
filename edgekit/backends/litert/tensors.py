"""TFLite tensors, operators and one subgraph, as plain values before they become bytes.

A dimension that is not an ``int`` is dynamic: it is written as 1 with -1 in the shape signature
(schema.fbs, ``Tensor.shape_signature``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgekit.spec import Array, Dim, QuantParams

Shape = tuple[Dim, ...]

SAMPLED_BYTES = 256  # enough that different weights are told apart without reading them

UNKNOWN_RANK: Shape = ("?",)
"""Stands for a shape of which nothing is known; whatever meets it is refused."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Scales of an int4 tensor (out, in) in blocks along its last axis.

    Attributes:
        scales: index of the float16 tensor (out, in / ``size``) that holds them.
        size: integers that share a scale.
    """

    scales: int
    size: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the elements of a sparse tensor stand: compressed rows along its last axis.

    Attributes:
        ends: of each row, how many elements stand before and in it; the first is 0.
        columns: of each element.
    """

    ends: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """One TFLite tensor.

    Attributes:
        name: shown by tools; that of an input or output is its reference name.
        dtype: NumPy name of the element type ("int8" for quantized tensors).
        shape: stored shape, in the artifact's own layout.
        quant: scale(s) and zero point(s); ``axis`` counts stored axes.
        data: the constant's elements, or None; of int4 the bytes (``packed_int4``).
        blocks: scales in blocks, in place of ``quant``.
        rows: ``data`` holds what is not zero, and this says where it stands.
        variable: whether it keeps its elements from one inference to the next.
    """

    name: str
    dtype: str
    shape: Shape
    quant: QuantParams | None = None
    data: Array | None = None
    blocks: Blocks | None = None
    rows: Rows | None = None
    variable: bool = False


@dataclass(frozen=True)
class Operator:
    """One TFLite operator: builtin name, tensor indices (-1 = absent), options by schema field name.

    ``graphs`` are those that WHILE (condition, body) and IF (then, else) run.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    graphs: tuple[Graph, ...] = ()


@dataclass(frozen=True)
class Graph:
    """One subgraph, ready to be written.

    Attributes:
        tensors: all tensors; operators name them by index.
        operators: in the order in which they run.
        inputs: tensor indices.
        outputs: tensor indices.
        input_names: signature names, one for each input.
        output_names: likewise.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


def every_graph(graph: Graph) -> list[Graph]:
    """``graph`` and all that its operators run, each before those inside it."""
    found = [graph]
    for each in found:  # grows while it is read
        found.extend(inner for op in each.operators for inner in op.graphs)
    return found


class EqualBytes:
    """Arrays by their bytes: a sample of them first, then all; nothing is copied or hashed as a whole."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, bytes], list[tuple[Array, int]]] = {}

    def find(self, data: Array) -> int | None:
        """The number under which equal bytes were added."""
        mine = _bytes_of(data)
        for known, number in self._found.get(_sample(mine), ()):
            if np.array_equal(known, mine):
                return number
        return None

    def add(self, data: Array, number: int) -> None:
        """Remember ``data``, of which there is no equal."""
        mine = _bytes_of(data)
        self._found.setdefault(_sample(mine), []).append((mine, number))


def _bytes_of(data: Array) -> Array:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def _sample(data: Array) -> tuple[int, bytes]:
    return data.size, data[:: max(1, data.size // SAMPLED_BYTES)].tobytes()


class GraphBuilder:
    """Collects tensors and operators, behind those of a graph that is ``begun``; equal constants are one."""

    def __init__(self, begun: Graph | None = None) -> None:
        self.tensors: list[Tensor] = list(begun.tensors) if begun else []
        self.operators: list[Operator] = list(begun.operators) if begun else []
        self.inputs: list[int] = list(begun.inputs) if begun else []
        self._constants: dict[tuple[str, tuple[int, ...], QuantParams | Blocks | None], EqualBytes] = {}
        self._names: dict[str, int] = {tensor.name: 1 for tensor in self.tensors}

    def tensor(self, name: str, dtype: str, shape: Shape, *, quant: QuantParams | None = None) -> int:
        """Add a tensor that an operator or the caller fills; ``name`` is made unique."""
        return self._add(Tensor(self._unique(name), dtype, tuple(shape), quant))

    def constant(self, name: str, data: Array, *, quant: QuantParams | None = None) -> int:
        """Add a constant, or find the equal one that is there already."""
        data = np.asarray(data, order="C")
        known = self._constants.setdefault((data.dtype.name, data.shape, quant), EqualBytes())
        index = known.find(data)
        if index is None:
            index = self._add(Tensor(self._unique(name), data.dtype.name, data.shape, quant, data))
            known.add(data, index)
        return index

    def variable(self, name: str, shape: Shape) -> int:
        """A float32 tensor that kernels read and write, and that outlives the inference."""
        return self._add(Tensor(self._unique(name), "float32", shape, variable=True))

    def small_constant(
        self, name: str, data: Array, *, quant: QuantParams | None = None, blocks: Blocks | None = None
    ) -> int:
        """An int4 constant, with one kind of scales."""
        packed = packed_int4(data)
        known = self._constants.setdefault(("int4", data.shape, quant or blocks), EqualBytes())
        index = known.find(packed)
        if index is None:
            index = self._add(Tensor(self._unique(name), "int4", data.shape, quant, packed, blocks))
            known.add(packed, index)
        return index

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name."""
        self.tensors[index] = replace(self.tensors[index], name=name)

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        options: Mapping[str, Any] | None = None,
        graphs: tuple[Graph, ...] = (),
    ) -> None:
        """Append one operator."""
        self.operators.append(Operator(code, tuple(inputs), tuple(outputs), dict(options or {}), graphs))

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else self._unique(f"{name}#{count}")


def packed_int4(data: Array) -> Array:
    """Two numbers from -8 to 7 in a byte, the first one in its low half (schema.fbs, ``TensorType.INT4``)."""
    nibbles = np.ascontiguousarray(data, np.int8).reshape(-1).view(np.uint8) & 0x0F
    if nibbles.size % 2:
        nibbles = np.append(nibbles, np.uint8(0))
    packed: Array = nibbles[0::2] | (nibbles[1::2] << 4)
    return packed


def written_shape(shape: Shape) -> tuple[int, ...]:
    """The shape as the file holds it: 1 where a size is dynamic."""
    return tuple(dim if isinstance(dim, int) else 1 for dim in shape)


def signature(shape: Shape) -> tuple[int, ...]:
    """The shape signature: -1 where a size is dynamic."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in shape)
