"""A .tflite file -> the same file with every operator's output as a further output of the graph.

    file | outputs of the subgraph: [out]   =>   file | old bytes, one offset patched | [out, tap, tap ...]

The new vector stands behind the end of the file, and the subgraph's table is pointed at it: no other byte
changes, so constants keep their places and their alignment. An operator's output is where its kernel ends,
and XNNPACK computes the same operators whether a tensor leaves its part of the graph or not; that it takes
the same ones is read back.

F1 a tensor that is an input, a constant or a variable is not tapped
F2 a tensor without a name, or with that of another: the engine finds outputs by name, so it is not tapped
F3 what only rearranges values in front of a kernel ("relu/part": a PAD that the compiler wrote out) is not
   tapped where the float model knows other names: XNNPACK fuses constant padding into the convolution

Source: schema.fbs of TFLite, table SubGraph; flatbuffers internals (an uoffset counts forward from itself).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import file_entries
from edgekit.backends.litert.tables import Graph, Operator, Tensor, parse
from edgekit.backends.taps import Attribute, Tap, Tapped, binding, is_ours, plain_names
from edgekit.backends.worker import call_in_worker
from edgekit.errors import missing_extra
from edgekit.spec import Artifact, Dim, QuantParams

_OUTPUTS = 8  # place of "outputs" in the vtable of SubGraph: its third field
_ALIGNMENT = 4  # of a vector of int32
_FLOATS = ("float32", "float16")
_WEIGHTED = {  # operator -> its constant operand
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
    "CONV_3D": 1,
    "BATCH_MATMUL": 1,
}


def tapped(
    artifact: Artifact, folder: Path, *, batch: int, known: Collection[str], avoid: Collection[str]
) -> Tapped:
    """``backends.taps.tapped`` for LiteRT; kernels do not depend on the batch."""
    del batch
    content = artifact.path.read_bytes()
    graph = parse(content, name=artifact.path.name)[0][0]
    chosen = _chosen(graph, known=frozenset(known), avoid=frozenset(avoid))
    path = folder / artifact.path.name
    path.write_bytes(with_outputs(content, [tensor.key[1] for tensor, _ in chosen]))
    before, after = (_executed(each, artifact) for each in (artifact.path, path))
    makers = {tensor.key: operator for operator in graph.operators for tensor in operator.outputs}
    taps = tuple(_tap(tensor, operator, before, after, makers) for tensor, operator in chosen)
    made = replace(
        artifact,
        folder=folder,
        files=file_entries(folder, [path.name]),
        outputs=(*artifact.outputs, *map(binding, taps)),
    )
    return Tapped((made,), taps)


def with_outputs(content: bytes, tensors: list[int]) -> bytes:
    """``content`` with ``tensors`` (indices) as further outputs of its main graph."""
    schema = _schema()
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    outputs = [int(graph.Outputs(index)) for index in range(graph.OutputsLength())] + tensors
    place = graph._tab.Pos + graph._tab.Offset(_OUTPUTS)
    padded = content + bytes(-len(content) % _ALIGNMENT)
    vector = b"".join(number.to_bytes(4, "little", signed=True) for number in (len(outputs), *outputs))
    offset = (len(padded) - place).to_bytes(4, "little")
    return b"".join((padded[:place], offset, padded[place + 4 :], vector))


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="reading .tflite files") from error
    return schema_py_generated


def _chosen(graph: Graph, *, known: frozenset[str], avoid: frozenset[str]) -> list[tuple[Tensor, Operator]]:
    names = Counter(tensor.name for tensor in graph.tensors)
    given = {tensor.key for tensor in (*graph.inputs, *graph.outputs)}
    made = [(tensor, operator) for operator in graph.operators for tensor in operator.outputs]
    free = [
        (tensor, operator)
        for tensor, operator in made
        if tensor.key not in given  # F1
        and (tensor.is_integer or tensor.dtype in _FLOATS)
        and tensor.name
        and names[tensor.name] == 1  # F2
        and not avoid.intersection(plain_names(tensor.name))
    ]
    ours = [each for each in free if is_ours(each[0].name, known)]
    if 2 * len(ours) <= len(free):  # names of another tool
        return free
    return [each for each in free if known.intersection(plain_names(each[0].name))]  # F3


def _executed(path: Path, artifact: Artifact) -> Mapping[int, tuple[str, bool]]:
    """Index of a tensor -> the operator that makes it, and whether the delegate took that."""
    found = call_in_worker(
        "edgekit.backends.litert.executed:operators",
        {
            "path": str(path.absolute()),
            "threads": artifact.options.threads,
            "settings": [list(pair) for pair in artifact.options.settings],
        },
        subject=f"{path.name} (litert)",
        doing="reading which kernels run",
    )
    return {
        int(tensor): (str(each["name"]), bool(each["delegated"]))
        for each in found
        for tensor in each["outputs"]
    }


def _tap(
    tensor: Tensor,
    operator: Operator,
    before: Mapping[int, tuple[str, bool]],
    after: Mapping[int, tuple[str, bool]],
    makers: Mapping[tuple[int, int], Operator],
) -> Tap:
    index = tensor.key[1]
    name, delegated = after.get(index, (operator.name, False))
    source = operator.inputs[0] if operator.name == "QUANTIZE" else None
    if source is not None and not source.is_integer and source.key in makers:
        name = f"{makers[source.key].name}+{name}"
    weight = _weight(operator)
    return Tap(
        names=plain_names(tensor.name),
        tensor=tensor.name,
        dtype=tensor.dtype,
        shape=_shape(tensor),
        params=_params(tensor),
        kernel=f"{name} ({'xnnpack' if delegated else 'builtin'})",
        integer=tensor.is_integer and _reads_integers(operator),
        weight=None if weight is None else _params(weight),
        attributes=_attributes(operator),
        disturbed=before.get(index) != after.get(index),
    )


def _reads_integers(operator: Operator) -> bool:
    free = [each for each in operator.inputs if each is not None and not each.stored_bytes]
    return all(each.is_integer for each in free)


def _weight(operator: Operator) -> Tensor | None:
    place = _WEIGHTED.get(operator.name)
    if place is None or place >= len(operator.inputs):
        return None
    found = operator.inputs[place]
    return found if found is not None and found.stored_bytes and found.is_integer else None


def _params(tensor: Tensor) -> QuantParams | None:
    if not tensor.is_integer:
        return None
    axis = tensor.axis if len(tensor.scale) > 1 else None
    return QuantParams(tensor.dtype, tensor.scale, tensor.zero_point, axis)


def _shape(tensor: Tensor) -> tuple[Dim, ...]:
    return tuple(None if axis in tensor.open_axes else size for axis, size in enumerate(tensor.shape))


def _attributes(operator: Operator) -> Mapping[str, Attribute]:
    del operator
    return {}
