"""What is inside a model file, whatever its format: the values that every reader gives.

    .onnx --ir.cost--> LayerCost, Quantization          .tflite, .xml --backends' readers--> Contents

The convention of the figures is stated in ``ir.cost``; the readers of compiled files follow it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from edgekit.spec import Dim, IoBinding, Precision


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one operator of a graph costs.

    Attributes:
        name: of the operator in its file.
        operator: its type, in the file's own words ("Conv", "CONV_2D", "Convolution").
        macs: multiply-accumulates of one inference; None where a size that counts is unknown.
        parameters: elements of the constants that it is the first to read.
        parameter_bytes: their size as stored.
        output: shape of the first output; None where the rank is unknown.
        output_bytes: size of all outputs; None where a size is unknown.
    """

    name: str
    operator: str
    macs: int | None
    parameters: int = 0
    parameter_bytes: int = 0
    output: tuple[Dim, ...] | None = None
    output_bytes: int | None = None


@dataclass(frozen=True)
class Quantization:
    """How much of a graph is integer.

    Attributes:
        weighted: operators that multiply with constant weights.
        quantized: those of them whose weights and activations are both integer.
        schemes: "weights s8:channel:sym, activations u8:tensor:asym" -> weighted operators; the words are
            those of the targets (targets/README.md), and ``float`` means what it says.
        tensors: scheme or element type -> tensors, where the format says it for each tensor.
    """

    weighted: int
    quantized: int
    schemes: Mapping[str, int] = field(default_factory=dict)
    tensors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What a compiled file says about itself.

    Attributes:
        form: "TFLite" or "OpenVINO IR".
        files: names of the files that belong together, the main one first.
        facts: what else is worth knowing, in words.
        inputs: each standing for itself: the reference is the file's own interface, in floats where the file
            takes integers with a scale.
        outputs: likewise.
        precision: what the numbers inside are.
        layers: every operator but constants, in the file's order.
        versions: operator -> versions of it, where the format has them.
        peak_bytes: the most that activations take at once if each lives no longer than it is read.
        notes: what the reader wants the user to know.
    """

    form: str
    files: tuple[str, ...]
    facts: Mapping[str, str]
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    precision: Precision
    layers: tuple[LayerCost, ...]
    quantization: Quantization
    versions: Mapping[str, str] = field(default_factory=dict)
    peak_bytes: int | None = None
    notes: tuple[str, ...] = ()


FLOAT = "float"
"""The scheme of a tensor that is not quantized."""

Step = tuple[Sequence[Hashable], Sequence[Hashable]]
"""The tensors that one operator reads, and those that it writes."""

Key = TypeVar("Key", bound=Hashable)


def total_macs(layers: Iterable[LayerCost]) -> int:
    """Sum of what is known."""
    return sum(layer.macs or 0 for layer in layers)


def peak_bytes(
    steps: Sequence[Step],
    sizes: Mapping[Key, int | None],
    *,
    given: Sequence[Key],
    kept: Sequence[Key],
) -> int | None:
    """Largest sum of tensors that are alive at one step, run in the given order, nothing computed in place.

    Args:
        steps: operators in order.
        sizes: bytes by tensor; tensors that are not in it (constants) take no room.
        given: inputs of the graph, alive from the start.
        kept: outputs of the graph, alive to the end.

    Returns:
        Bytes, or None where the size of a tensor is unknown.
    """
    if any(size is None for size in sizes.values()):
        return None
    known: dict[Hashable, int] = {key: size for key, size in sizes.items() if size is not None}
    last: dict[Hashable, int] = {
        key: number for number, (reads, writes) in enumerate(steps) for key in (*writes, *reads)
    }
    last |= dict.fromkeys(kept, len(steps))
    alive: set[Hashable] = set(given)
    now = largest = sum(known.get(key, 0) for key in alive)
    for number, (reads, writes) in enumerate(steps):
        for key in writes:
            if key not in alive:
                alive.add(key)
                now += known.get(key, 0)
        largest = max(largest, now)
        for key in (*reads, *writes):
            if key in alive and last[key] <= number:
                alive.discard(key)
                now -= known.get(key, 0)
    return largest


def scheme(dtype: str, *, zero_points: Iterable[int], channels: bool) -> str:
    """``s8:channel:sym`` in the vocabulary of the targets, of an integer type with its zero points.

    An unsigned type is called asymmetric whatever its zero points are: 0 is no middle of its range.
    """
    sign = "s" if dtype.startswith("int") else "u"
    bits = dtype.removeprefix("u").removeprefix("int")
    middle = sign == "s" and not any(zero_points)
    return f"{sign}{bits}:{'channel' if channels else 'tensor'}:{'sym' if middle else 'asym'}"


def schemes_in_words(weights: str, activations: str) -> str:
    """The key of ``Quantization.schemes`` for one operator."""
    return FLOAT if weights == activations == FLOAT else f"weights {weights}, activations {activations}"
