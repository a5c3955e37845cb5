"""Graph -> the same graph without RESHAPEs of RESHAPEs, and without what nobody reads.

T1  RESHAPE reads a RESHAPE: it reads what that one reads
T2  RESHAPE to the shape that its input has: readers take the input; not where the result is a model output
T3  an operator of which no output is read: dropped; then tensors that nothing names: dropped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit.backends.litert.tensors import Graph, Operator, Tensor, signature


def tidy(graph: Graph) -> Graph:
    """Apply T1, T2, T3 in this order."""
    return _without_unread(_with_short_reshapes(graph))


def _with_short_reshapes(graph: Graph) -> Graph:
    """T1 and T2."""
    source: dict[int, int] = {}
    instead: dict[int, int] = {}
    operators: list[Operator] = []
    for op in graph.operators:
        inputs = tuple(instead.get(index, index) for index in op.inputs)
        if op.code == "RESHAPE":
            first = source.get(inputs[0], inputs[0])
            inputs = (first, *inputs[1:])
            source[op.outputs[0]] = first
            result = op.outputs[0]
            if result not in graph.outputs and _equal(graph.tensors[first], graph.tensors[result]):
                instead[op.outputs[0]] = first
        operators.append(replace(op, inputs=inputs))
    return replace(graph, operators=tuple(operators))


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of the same elements have one shape, by whatever name a dynamic size goes."""
    sizes = signature(a.shape)
    return sizes == signature(b.shape) and sizes.count(-1) <= 1


def _without_unread(graph: Graph) -> Graph:
    """T3."""
    read = set(graph.outputs)
    kept: list[Operator] = []
    for op in reversed(graph.operators):
        if any(index in read for index in op.outputs):
            read.update(op.inputs)
            kept.append(op)
    kept.reverse()
    named = {*graph.inputs, *graph.outputs, *(i for op in kept for i in (*op.inputs, *op.outputs) if i >= 0)}
    named |= {blocks.scales for i in named if (blocks := graph.tensors[i].blocks) is not None}
    number = {old: new for new, old in enumerate(sorted(named))}
    number[-1] = -1
    return Graph(
        tuple(_renumbered(graph.tensors[index], number) for index in sorted(named)),
        tuple(
            replace(
                op,
                inputs=tuple(number[index] for index in op.inputs),
                outputs=tuple(number[index] for index in op.outputs),
            )
            for op in kept
        ),
        tuple(number[index] for index in graph.inputs),
        tuple(number[index] for index in graph.outputs),
        graph.input_names,
        graph.output_names,
    )


def _renumbered(tensor: Tensor, number: Mapping[int, int]) -> Tensor:
    if tensor.blocks is None:
        return tensor
    return replace(tensor, blocks=replace(tensor.blocks, scales=number[tensor.blocks.scales]))
