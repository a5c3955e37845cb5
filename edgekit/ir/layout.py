"""Graph -> what the axes of its inputs and outputs are, in letters: N batch, C channels, D H W space.

    input --elementwise, Transpose--> Conv, Pool, ...: it says N C (D) (H) W, the Transposes the rest
    output likewise, from its producer

L1 an operator with a fixed layout is reached: its letters, permuted back
L2 several are reached and disagree, or none is: nothing is said ("")
Source: ONNX operator specification, Conv, ConvTranspose, MaxPool, AveragePool, BatchNormalization, Resize is
left out (it takes any axes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from edgekit.ir.graph import constant

_LETTERS = {3: "NCW", 4: "NCHW", 5: "NCDHW"}
_FIXED = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "LpPool",
        "InstanceNormalization",
        "DepthToSpace",
        "SpaceToDepth",
    }
)
# they give each element back at its place (with a constant beside it, or none)
_SAME_PLACE = frozenset(
    {
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Cast",
        "Clip",
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "Tanh",
        "HardSwish",
        "HardSigmoid",
        "Identity",
        "Pad",
        "BatchNormalization",
        "QuantizeLinear",
        "DequantizeLinear",
        "Softmax",
    }
)
_UNKNOWN = -1
_STEPS = 32  # values looked at for one input; what lies further away says little about it


def layouts(model: ir.Model) -> dict[str, str]:
    """Letters by the name of an input or output; without those of which nothing is known."""
    graph = model.graph
    found = {value.name or "": _layout(value, _forward) for value in graph.inputs}
    found |= {value.name or "": _layout(value, _backward) for value in graph.outputs}
    return {name: letters for name, letters in found.items() if letters}


# what lies next to a value: (the value there, or None at a fixed operator; the axes' order on the way)
_Next = tuple[ir.Value | None, tuple[int, ...]]


def _layout(value: ir.Value, nearby: Callable[[ir.Value, int], Iterable[_Next]]) -> str:
    rank = len(value.shape) if value.shape is not None else 0
    if rank not in _LETTERS:
        return ""
    # order[i]: the axis of ``value`` that is axis i here
    seen: set[ir.Value] = {value}
    waiting: list[tuple[ir.Value, tuple[int, ...]]] = [(value, tuple(range(rank)))]
    said = set()
    while waiting and len(seen) < _STEPS:
        here, order = waiting.pop(0)
        for there, step in nearby(here, rank):
            moved = tuple(order[axis] for axis in step)
            if there is None:
                letters = dict(zip(moved, _LETTERS[rank], strict=True))
                said.add("".join(letters[axis] for axis in range(rank)))
            elif there not in seen:
                seen.add(there)
                waiting.append((there, moved))
    return said.pop() if len(said) == 1 else ""


def _forward(value: ir.Value, rank: int) -> Iterator[_Next]:
    same = tuple(range(rank))
    for node, place in value.uses():
        if node.op_type in _FIXED and place == 0:
            yield None, same
        elif node.op_type == "Transpose":
            yield node.outputs[0], _permutation(node, rank)
        elif node.op_type in _SAME_PLACE and _rank(node.outputs[0]) in {rank, _UNKNOWN}:
            yield node.outputs[0], same


def _backward(value: ir.Value, rank: int) -> Iterator[_Next]:
    node = value.producer()
    if node is None:
        return
    if node.op_type in _FIXED:
        yield None, tuple(range(rank))
    elif node.op_type == "Transpose":
        inverse = sorted(range(rank), key=_permutation(node, rank).__getitem__)
        if node.inputs[0] is not None:
            yield node.inputs[0], tuple(inverse)
    elif node.op_type in _SAME_PLACE:
        for source in node.inputs:
            if source is not None and constant(source) is None and _rank(source) in {rank, _UNKNOWN}:
                yield source, tuple(range(rank))


def _permutation(node: ir.Node, rank: int) -> tuple[int, ...]:
    attribute = node.attributes.get("perm")
    return tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(rank)))


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else _UNKNOWN
