"""What a package must know of a .tflite: tensors and operators of its one graph, as plain values.

The file is read by a back end (``Tools.read_tflite``): the bundle knows no FlatBuffers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphTensor:
    """One tensor.

    Attributes:
        size_bytes: room that it takes as an activation.
        constant: whether its data is in the file.
        open_axes: axes whose size is open.
        channels: number of scales; 0 where it has none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    constant: bool
    open_axes: tuple[int, ...] = ()
    channels: int = 0


@dataclass(frozen=True)
class GraphOperator:
    """One operator; tensors by index, -1 = an optional input that is absent."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteGraph:
    """The main graph; ``subgraphs``: how many the file has."""

    tensors: tuple[GraphTensor, ...]
    operators: tuple[GraphOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int = 1
