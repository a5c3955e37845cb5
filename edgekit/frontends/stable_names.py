"""Model with names that depend on the process -> the same model with names that depend on the graph.

tf2onnx numbers what it inserts with a counter of the process (``Cast__42``), walks sets of objects, and keeps
the name of either one where it merges two equal nodes; so two runs give two files. Here orders follow from
the outputs, and names from the order:

S1 nodes: depth first from the outputs, inputs before users (dead nodes go) · S2 initializers: by first use ·
S3 a node with weights is called ``layer/OpType`` (its layer is not in doubt), any other one ``OpType``;
repeats are numbered in order · S4 a value is called after its node, an initializer after its first user ·
S5 sizes with generated names (``unk__7``) become unknown · S6 names of inputs and outputs stay · S7 equal
initializers are one, and of two outputs of an inner graph that are copies the later one is the copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

_COUNTER = re.compile(r"__\d+$")  # tf2onnx/utils.py, make_name
_GENERATED_SIZE = re.compile(r"^unk__\d+$")


def with_stable_names(model: ir.Model) -> ir.Model:
    """A clone of ``model``, rules S1 to S7 applied; it computes the same."""
    model = model.clone()
    ir_passes.DeduplicateInitializersPass()(model)
    for inner in model.graph.subgraphs():
        _copy_later(inner)
    _sort(model.graph)
    scope = _shared_scope(node.name or "" for node in model.graph if _weights(node))
    values = _Names({value.name or "" for value in (*model.graph.inputs, *model.graph.outputs)})
    _rename(model.graph, scope, _Names(set()), values)
    for graph in model.graphs():
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            _forget_generated_sizes(value)
    return model


class _Names:
    """Hands out each name once: ``name``, ``name_1``, ``name_2``."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def take(self, name: str) -> str:
        new, count = name, 0
        while new in self._taken:
            count += 1
            new = f"{name}_{count}"
        self._taken.add(new)
        return new


def _shared_scope(names: Iterator[str]) -> str:
    """``functional_1/`` if all names that have a scope are in that one, else ``""``."""
    scopes = {name.partition("/")[0] for name in names if "/" in name}
    return f"{scopes.pop()}/" if len(scopes) == 1 else ""


def _copy_later(graph: ir.Graph) -> None:
    """S7: (copy, original) -> (original, copy) among the outputs of ``graph``; the two are equal."""
    for node in graph:
        if node.op_type != "Identity" or node.inputs[0] not in graph.outputs:
            continue
        first, second = graph.outputs.index(node.outputs[0]), graph.outputs.index(node.inputs[0])
        if first < second:
            graph.outputs[first], graph.outputs[second] = graph.outputs[second], graph.outputs[first]


def _sort(graph: ir.Graph) -> None:
    """S1 and S2, in ``graph`` and the graphs inside it."""
    reads = {node: [value for value in _reads(node) if value.graph is graph] for node in graph}
    order = _depth_first(graph, reads)
    used = {value: None for node in order for value in reads[node]} | dict.fromkeys(graph.outputs)
    graph.remove([node for node in graph if node not in order], safe=True)
    graph.remove(order)
    graph.extend(order)
    initializers = {graph.initializers.pop(name) for name in list(graph.initializers)}
    for value in used:
        if value in initializers:
            graph.register_initializer(value)
    for node in order:
        for inner in _graphs(node):
            _sort(inner)


def _depth_first(graph: ir.Graph, reads: Mapping[ir.Node, list[ir.Value]]) -> dict[ir.Node, None]:
    """Nodes that the outputs need, each after what it reads; without recursion, graphs are deep."""
    order: dict[ir.Node, None] = {}
    stack = [(value.producer(), False) for value in reversed(graph.outputs)]
    while stack:
        node, inputs_done = stack.pop()
        if node is None or node in order:
            continue
        if inputs_done:
            order[node] = None
            continue
        stack.append((node, True))
        stack.extend((value.producer(), False) for value in reversed(reads[node]))
    return order


def _reads(node: ir.Node) -> list[ir.Value]:
    """What ``node`` and the graphs inside it read and give back, in order, of whatever graph it is."""
    values = [value for value in node.inputs if value is not None]
    for inner in _graphs(node):
        for each in inner:
            values.extend(_reads(each))
        values.extend(inner.outputs)
    return values


def _graphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def _rename(graph: ir.Graph, scope: str, nodes: _Names, values: _Names) -> None:
    """S3, S4 and S6; the graphs inside share the name spaces, so that nothing is hidden."""
    public = {*graph.inputs, *graph.outputs}
    names = {node: _name(node, scope) for node in graph}
    initializers = [graph.initializers.pop(name) for name in list(graph.initializers)]
    waiting = {value for value in initializers if value not in public}
    for node in graph:
        node.name = nodes.take(names[node])
        for index, value in enumerate(_reads(node)):
            if value in waiting:
                value.name = values.take(f"{node.name}/{index}")
                waiting.remove(value)
        for inner in _graphs(node):
            for value in dict.fromkeys((*inner.inputs, *inner.outputs)):
                if value.graph is inner and not value.is_initializer():
                    value.name = values.take(f"{node.name}/inner")
            inner.name = f"{node.name}/graph"
            _rename(inner, scope, nodes, values)
        for index, value in enumerate(node.outputs):
            if value not in public:
                value.name = values.take(node.name if index == 0 else f"{node.name}/out{index}")
    for value in initializers:
        graph.register_initializer(value)


def _name(node: ir.Node, scope: str) -> str:
    """``layer/OpType`` for a node with weights; the layer is its own, or that of its weights."""
    weights = _weights(node)
    names = [node.name or "", *(value.name or "" for value in weights)] if weights else []
    for name in names:
        layer, slash, _ = name.removeprefix(scope).partition("/")
        if slash:
            return f"{_COUNTER.sub('', layer)}/{node.op_type}"
    return node.op_type


def _weights(node: ir.Node) -> list[ir.Value]:
    """Constant float inputs with more than one element."""
    return [
        value
        for value in node.inputs
        if value is not None
        and value.is_initializer()
        and value.const_value is not None
        and value.const_value.dtype.is_floating_point()
        and value.const_value.size > 1
    ]


def _forget_generated_sizes(value: ir.Value) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([_known_size(dim) for dim in value.shape])


def _known_size(dim: int | ir.SymbolicDim) -> int | str | None:
    if isinstance(dim, int):
        return dim
    return None if _GENERATED_SIZE.match(dim.value or "") else dim.value
