"""One thing changed in a segment of the reference: what is tried where the artifact computes something else.

A change is a clone of the segment. Inputs and the output keep their names, so every change can be computed
from the same arrays and held against the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgekit.ir.graph import add_initializer, free_name
from edgekit.spec import Array, QuantParams
from edgekit.validation.layers import WeightEvidence

Inputs = Sequence[ir.Value | None]


@dataclass(frozen=True, eq=False)
class Segment:
    """What a kernel's end is computed from.

    Attributes:
        model: nodes of the reference with the kernel's inputs as inputs and its end as the one output. Where
            the end is an input of the reference itself, an Identity.
        params: of the artifact's tensors, by name of the input; absent = float there, or unknown.
        weight: the constant operand of the kernel; None where it has none.
        fed: inputs of the segment that are inputs of the whole model.
    """

    model: ir.Model
    params: Mapping[str, QuantParams] = field(default_factory=dict)
    weight: WeightEvidence | None = None
    fed: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Change:
    """A changed segment.

    Attributes:
        kind: see ``evidence.Trial.change``.
        says: to what, in words.
        value: for the remedy.
        model: the changed segment.
    """

    kind: str
    says: str
    value: str
    model: ir.Model


def before(node: ir.Node, index: int, operator: str, inputs: Inputs, **attributes: object) -> ir.Value:
    """Put a new node in front of input ``index`` of ``node``; ``inputs`` are its own. Gives its output."""
    graph = node.graph
    source = node.inputs[index]
    if graph is None or source is None:
        raise ValueError(f"{node.name!r} has no input {index}")
    made = _made(graph, operator, inputs, name=f"{source.name}_{operator.lower()}", **attributes)
    graph.insert_before(node, made)
    made.outputs[0].type = source.type
    node.replace_input_with(index, made.outputs[0])
    return made.outputs[0]


def behind_input(
    value: ir.Value, steps: Sequence[tuple[str, Sequence[ir.Value], Mapping[str, object]]]
) -> None:
    """Put a chain of nodes between an input of the graph and everything that reads it."""
    graph = value.graph
    readers = tuple(value.uses())
    if graph is None or not readers:
        raise ValueError(f"{value.name!r} is no input that somebody reads")
    first = next(iter(graph))
    current = value
    for operator, more, attributes in steps:
        made = _made(graph, operator, [current, *more], name=f"{value.name}_{operator.lower()}", **attributes)
        graph.insert_before(first, made)
        made.outputs[0].type = value.type
        current = made.outputs[0]
    for node, index in readers:
        node.replace_input_with(index, current)


def number(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A constant."""
    return add_initializer(graph, name, array)


def _made(graph: ir.Graph, operator: str, inputs: Inputs, *, name: str, **attributes: object) -> ir.Node:
    free = free_name(graph, name)
    node = ir.node(operator, inputs, attributes=dict(attributes), name=free)
    node.outputs[0].name = free
    return node


def same_node(clone: ir.Model, node: ir.Node) -> ir.Node:
    """The node of ``clone`` that stands for ``node``: names are unique."""
    return next(each for each in clone.graph if each.name == node.name)


def forget_shapes(model: ir.Model) -> ir.Model:
    """No inferred shape of a value that a node makes is kept: a change may have another one."""
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    return model
