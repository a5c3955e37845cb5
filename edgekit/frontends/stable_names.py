"""Model with names that depend on the process -> the same model with names that depend on the graph.

tf2onnx numbers what it inserts with a counter of the process (``Cast__42``, ``cond_frozen_495_``) and walks
sets, so that two runs give two files. Here orders follow from the outputs, and names from the order:

S1 nodes: depth first from the outputs, inputs before users (dead nodes go) · S2 initializers: by first use ·
S3 names: counters and the scope that all share are taken off, a node without a scope gets that of its weight,
repeats are numbered in order · S4 sizes with
generated names (``unk__7``) become unknown · S5 names of inputs and outputs stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import onnx_ir as ir

_COUNTER = re.compile(r"__\d+")  # tf2onnx/utils.py, make_name
_FROZEN = re.compile(r"^.*_frozen_\d+_")  # tf2onnx/tf_loader.py, inlined conditions of loops
_INDEX = re.compile(r":\d+$")  # output 0 of a TensorFlow operation
_GENERATED_SIZE = re.compile(r"^unk__\d+$")


def with_stable_names(model: ir.Model) -> ir.Model:
    """A clone of ``model``, rules S1 to S5 applied; it computes the same."""
    model = model.clone()
    _sort(model.graph)
    scope = _shared_scope(node.name or "" for node in model.graph)
    values = _Names(scope, {value.name or "" for value in (*model.graph.inputs, *model.graph.outputs)})
    _rename(model.graph, _Names(scope, set()), values)
    for graph in model.graphs():
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            _forget_generated_sizes(value)
    return model


class _Names:
    """Hands out each name once: ``name``, ``name_1``, ``name_2``."""

    def __init__(self, scope: str, taken: set[str]) -> None:
        self._scope = scope
        self._taken = taken

    def take(self, name: str, *, otherwise: str) -> str:
        base = _INDEX.sub("", _COUNTER.sub("", _FROZEN.sub("", name))).removeprefix(self._scope) or otherwise
        new, count = base, 0
        while new in self._taken:
            count += 1
            new = f"{base}_{count}"
        self._taken.add(new)
        return new


def _shared_scope(names: Iterator[str]) -> str:
    """``functional_1/`` if all names that have a scope are in that one, else ``""``."""
    scopes = {_FROZEN.sub("", name).partition("/")[0] for name in names if "/" in name}
    return f"{scopes.pop()}/" if len(scopes) == 1 else ""


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


def _rename(graph: ir.Graph, nodes: _Names, values: _Names) -> None:
    """S3 and S5; the graphs inside share the name spaces, so that nothing is hidden."""
    public = {*graph.inputs, *graph.outputs}
    initializers = {name: graph.initializers.pop(name) for name in list(graph.initializers)}
    for value in initializers.values():
        if value not in public:
            value.name = values.take(value.name or "", otherwise="constant")
        graph.register_initializer(value)
    for node in graph:
        node.name = nodes.take(_scoped(node), otherwise=node.op_type)
        for inner in _graphs(node):
            for value in dict.fromkeys((*inner.inputs, *inner.outputs)):
                if not value.is_initializer():
                    value.name = values.take(value.name or "", otherwise=f"{node.name}_value")
            _rename(inner, nodes, values)
        for index, value in enumerate(node.outputs):
            if value not in public:
                name = node.name if index == 0 else f"{node.name}/{index}"
                value.name = values.take(name, otherwise=node.op_type)


def _scoped(node: ir.Node) -> str:
    """``stem_conv/Conv`` for a node that tf2onnx calls ``Conv__41``: the scope is that of its weight."""
    name = node.name or ""
    weights = (v.name or "" for v in node.inputs if v is not None and v.is_initializer())
    scopes = [weight.rpartition("/")[0] for weight in weights if "/" in weight]
    return name if "/" in name or not scopes else f"{scopes[0]}/{node.op_type}"


def _forget_generated_sizes(value: ir.Value) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([_known_size(dim) for dim in value.shape])


def _known_size(dim: int | ir.SymbolicDim) -> int | str | None:
    if isinstance(dim, int):
        return dim
    return None if _GENERATED_SIZE.match(dim.value or "") else dim.value
