"""Artifact -> what its file's operators cost, and which of them a kernel stands for.

    .onnx         ir.macs, ir.traffic on the file's graph        .tflite, .xml    the reader's LayerCosts

A kernel that fuses several operators costs what they cost together. Runtimes name kernels in their own ways
(``validation.coverage`` knows them); no operator is given to two kernels, because it would count twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgekit.backends.openvino_xml import parse
from edgekit.ir import io
from edgekit.ir.graph import walk
from edgekit.ir.macs import macs, multiplies
from edgekit.ir.traffic import traffic
from edgekit.pipeline import compiled_file
from edgekit.pipeline.coverage import aliases
from edgekit.pipeline.inspect.onnx_file import with_sizes
from edgekit.spec import Artifact, KernelTime
from edgekit.validation.coverage import Layer, named_layers

_FOLLOWED = 4  # a kernel fuses an operator with a bias, an addition, an activation and a quantizer at most
# words in the types of operators that only move values, in the three runtimes' vocabularies
_MOVING = (
    *("reorder", "transpose", "concat", "split", "slice", "gather", "pad", "reshape", "squeeze", "expand"),
    *(
        "tile",
        "copy",
        "shape",
        "spacetodepth",
        "space_to_depth",
        "depth_to_space",
        "depthtospace",
        "broadcast",
    ),
    *("identity", "scatter", "resize", "unpack", "where", "select"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kernel computes and moves in one inference; None where it is not known.

    Attributes:
        macs: multiply-accumulates.
        operations: two for each MAC; of other operators one for each element of the largest activation, and
            none of what only moves values.
        read_bytes: activations that it reads.
        weight_bytes: constants that it reads.
        written_bytes: what it writes.
    """

    macs: int | None
    operations: int | None
    read_bytes: int | None
    weight_bytes: int | None
    written_bytes: int | None

    @property
    def moved_bytes(self) -> int | None:
        """All of them together."""
        parts = (self.read_bytes, self.weight_bytes, self.written_bytes)
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the file that multiplies.

    Attributes:
        layer: its names and its multiply-accumulates.
        weight_bytes: constants that it reads, as they are stored.
    """

    layer: Layer
    weight_bytes: int


def operators_of(artifact: Artifact) -> tuple[Operator, ...]:
    """The operators of the artifact's file that multiply.

    Raises:
        ModelFileError: the file is damaged.
        MissingBackendError: what reads it is not installed.
    """
    if artifact.path.suffix == ".onnx":
        nodes = [node for node in walk(with_sizes(io.load(artifact.path))) if multiplies(node)]
        return tuple(
            Operator(Layer(node.name or "", tuple(aliases(node)), macs(node)), traffic(node).weight_bytes)
            for node in nodes
        )
    if not compiled_file.is_compiled(artifact.path):  # a plug-in's own format
        return ()
    heavy = [each for each in compiled_file.contents(artifact.path).layers if each.macs != 0]
    behind = _followers(artifact, {each.name for each in heavy}) if artifact.path.suffix == ".xml" else {}
    return tuple(
        Operator(Layer(each.name, behind.get(each.name, ()), each.macs), each.parameter_bytes)
        for each in heavy
    )


def _followers(artifact: Artifact, heavy: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Layer of an IR -> what reads it, up to the next branch or layer that multiplies.

    OpenVINO may call a layer by the name of what it was fused with.
    """
    net = parse(artifact.path.read_bytes(), name=artifact.path.name)
    readers: dict[str, list[str]] = {}
    for key, layer in net.layers.items():
        for source in layer.sources:
            if source is not None:
                readers.setdefault(source[0], []).append(key)
    found = {}
    for key, layer in net.layers.items():
        names: list[str] = []
        while len(names) < _FOLLOWED and len(readers.get(key, ())) == 1:
            key = readers[key][0]  # noqa: PLW2901 - walks on from the layer
            if net.layers[key].name in heavy:
                break
            names.append(net.layers[key].name)
        found[layer.name] = tuple(names)
    return found


def costs(kernels: Sequence[KernelTime], operators: Sequence[Operator]) -> tuple[Cost, ...]:
    """The cost of each kernel, in the order of ``kernels``."""
    return tuple(_cost(kernel, own) for kernel, own in zip(kernels, _owners(kernels, operators), strict=True))


def _owners(kernels: Sequence[KernelTime], operators: Sequence[Operator]) -> list[tuple[Operator, ...]]:
    """For each kernel the operators that it stands for.

    Exact names go before likely ones. What is left over belongs to a kernel that lists what follows it: a
    fusion took its name.
    """
    by_layer = {id(each.layer): each for each in operators}
    free = {id(each.layer): each.layer for each in operators}
    found: list[tuple[Operator, ...]] = [()] * len(kernels)
    for exact in (True, False):
        for place, kernel in enumerate(kernels):
            if not kernel.multiplies or found[place] or not kernel.names:
                continue
            layers = named_layers(kernel.names, tuple(free.values()), exact=exact)
            found[place] = tuple(by_layer[id(layer)] for layer in layers)
            for layer in layers:
                del free[id(layer)]
    for layer in free.values():
        names = set(layer.aliases)
        for place, kernel in enumerate(kernels):
            if kernel.multiplies and names.intersection(kernel.names):
                found[place] = (*found[place], by_layer[id(layer)])
                break
    return found


def _cost(kernel: KernelTime, own: Sequence[Operator]) -> Cost:
    counts = [each.layer.macs for each in own]
    known = [count for count in counts if count is not None]
    if not kernel.multiplies:
        total: int | None = 0
        operations = 0 if _moves(kernel.operator) else kernel.elements
    elif not own or len(known) < len(counts):
        total = operations = None
    else:
        total = sum(known) * kernel.calls
        operations = 2 * total
    weights = kernel.weight_bytes
    if weights is None:  # the runtime packs weights for itself and does not say how much it reads
        weights = sum(each.weight_bytes for each in own) if own or not kernel.multiplies else None
    return Cost(total, operations, kernel.read_bytes, weights, kernel.written_bytes)


def _moves(operator: str) -> bool:
    lower = operator.lower().replace(" ", "_")
    return any(word in lower for word in _MOVING)
