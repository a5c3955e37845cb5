"""If, Loop, Scan -> the operators of their bodies, where the number of iterations is known.

U1 If with a constant condition: the branch that is taken
U2 If otherwise: both branches, and Where for each output, where both give the same shapes and cost next to
   nothing. ONNX operators have no side effects, so that computing the other branch changes nothing.
U3 Loop with a constant trip count whose condition is constantly true: one copy of the body per iteration
U4 Scan over axes of fixed size: likewise

What does not fit becomes IF and WHILE (``close_bodies``). XNNPACK runs what is inside of those, too, but an
unrolled body of one convolution took 0.9 of its time in a WHILE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert.shapes import shape_of
from edgekit.ir.graph import add_initializer, constant, free_name, is_onnx, replace_value
from edgekit.ir.infer import infer_shapes
from edgekit.ir.quiet import quiet
from edgekit.passes.fold_constants import FoldConstants

CONTROL = frozenset({"If", "Loop", "Scan"})
MOST_COPIES = 64  # of one body
MOST_IN_VAIN = 8  # operators of a branch that is not taken
CHEAP = frozenset(
    {"Abs", "Add", "And", "Cast", "Clip", "Concat", "Constant", "Equal", "Flatten", "Floor"}
    | {"Greater", "Identity", "LeakyRelu", "Less", "Max", "Min", "Mul", "Neg", "Not", "Or"}
    | {"Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
    | {"Where"}
)
"""Operators of such a branch: they take next to nothing, and none fails as Div by zero or Gather does."""
LATEST_FIRST = 1  # Scan: directions that count from the end


def unrolled(model: ir.Model) -> ir.Model:
    """``model`` itself where there is nothing to unroll, else a clone."""
    if not any(_is_ours(node) for node in model.graph):
        return model
    model = model.clone()
    done = False
    for node in list(model.graph):
        expand = {"If": _if, "Loop": _loop, "Scan": _scan}.get(node.op_type) if _is_ours(node) else None
        results = expand(model.graph, node) if expand is not None else None
        if results is not None:
            for old, new in zip(node.outputs, results, strict=True):
                _replace(model.graph, node, old, new)
            model.graph.remove(node, safe=True)
            done = True
    if not done:
        return model
    model = infer_shapes(model)
    with quiet():
        model = FoldConstants().apply(model)
    return infer_shapes(model)


def _is_ours(node: ir.Node) -> bool:
    return is_onnx(node, *CONTROL)


def _replace(graph: ir.Graph, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """``new`` stands for ``old``, under the name of ``old``: it may be an output of the model."""
    named = _emit(graph, node, "Identity", [new], {})
    name, old.name = old.name, None
    named.name, named.type, named.shape = name, old.type, old.shape
    replace_value(old, named)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = named


def _graph_of(node: ir.Node, name: str) -> ir.Graph | None:
    attribute = node.attributes.get(name)
    body: Any = attribute.value if attribute is not None else None
    if not isinstance(body, ir.Graph):
        return None
    nested = any(attr.type == ir.AttributeType.GRAPH for inner in body for attr in inner.attributes.values())
    return None if nested else body


def _emit(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
) -> ir.Value:
    """One operator in front of ``before``; its first output."""
    values = [ir.Attr(name, ir.AttributeType.INT, value) for name, value in attributes.items()]
    node = ir.Node("", op, inputs, values, num_outputs=1)
    graph.insert_before(before, node)
    node.outputs[0].name = free_name(graph, f"{before.name or before.op_type}/{op}")
    return node.outputs[0]


def _copy(graph: ir.Graph, before: ir.Node, body: ir.Graph, inputs: Sequence[ir.Value]) -> list[ir.Value]:
    """The nodes of ``body`` in front of ``before``, on ``inputs``; the values of its outputs."""
    known: dict[int, ir.Value] = {id(old): new for old, new in zip(body.inputs, inputs, strict=True)}
    for name, value in body.initializers.items():
        data = constant(value)
        if data is not None:
            known[id(value)] = add_initializer(graph, free_name(graph, name), data)
    for node in body:
        mapped = [None if value is None else known.get(id(value), value) for value in node.inputs]
        made = ir.Node(
            node.domain, node.op_type, mapped, list(node.attributes.values()), num_outputs=len(node.outputs)
        )
        graph.insert_before(before, made)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = free_name(graph, f"{before.name or before.op_type}/{old.name}") if old.name else ""
            new.type = old.type
            known[id(old)] = new
    return [known.get(id(value), value) for value in body.outputs]


def _if(graph: ir.Graph, node: ir.Node) -> list[ir.Value] | None:
    """U1, U2."""
    branches = [_graph_of(node, name) for name in ("then_branch", "else_branch")]
    condition = node.inputs[0]
    taken, other = branches
    if condition is None or taken is None or other is None:
        return None
    known = constant(condition)
    if known is not None:
        return _copy(graph, node, taken if known.reshape(-1)[0] else other, [])
    shapes = [[shape_of(value) for value in branch.outputs] for branch in (taken, other)]
    fixed = all(isinstance(dim, int) for shape in shapes[0] for dim in shape)
    if shapes[0] != shapes[1] or not fixed or not (_is_cheap(taken) and _is_cheap(other)):
        return None
    pairs = zip(_copy(graph, node, taken, []), _copy(graph, node, other, []), strict=True)
    return [_emit(graph, node, "Where", [condition, a, b], {}) for a, b in pairs]


def _is_cheap(branch: ir.Graph) -> bool:
    """Whether running it in vain costs less than choosing, and cannot fail."""
    return len(branch) <= MOST_IN_VAIN and all(node.op_type in CHEAP for node in branch)


def _loop(graph: ir.Graph, node: ir.Node) -> list[ir.Value] | None:
    """U3."""
    body = _graph_of(node, "body")
    count, start = (constant(value) for value in node.inputs[:2])
    begins = node.inputs[1] is None or (start is not None and bool(start.reshape(-1)[0]))
    if body is None or count is None or not begins or not 0 < int(count.reshape(-1)[0]) <= MOST_COPIES:
        return None
    if not goes_on(body):
        return None
    states = [value for value in node.inputs[2:] if value is not None]
    going = add_initializer(graph, free_name(graph, "going"), np.asarray(True))
    collected: list[list[ir.Value]] = []
    for step in range(int(count.reshape(-1)[0])):
        number = add_initializer(graph, free_name(graph, "step"), np.asarray(step, np.int64))
        _, *results = _copy(graph, node, body, [number, going, *states])
        states, scanned = results[: len(states)], results[len(states) :]
        collected.append(scanned)
    return [*states, *(_stacked(graph, node, list(rows), 0) for rows in zip(*collected, strict=True))]


def goes_on(body: ir.Graph) -> bool:
    """Whether the condition that the body gives is the one it got, or true."""
    value = body.outputs[0]
    while (producer := value.producer()) is not None and producer.op_type == "Identity":
        source = producer.inputs[0]
        if source is None:
            return False
        value = source
    found = constant(value)
    return value is body.inputs[1] or (found is not None and bool(found.reshape(-1)[0]))


def _scan(graph: ir.Graph, node: ir.Node) -> list[ir.Value] | None:
    """U4."""
    body = _graph_of(node, "body")
    scanned = int(node.attributes["num_scan_inputs"].value)
    values = [value for value in node.inputs if value is not None]
    states, sources = values[:-scanned], values[-scanned:]
    axes = integers_of(node, "scan_input_axes", scanned)
    sizes = {shape_of(source)[axis] for source, axis in zip(sources, axes, strict=True)}
    length = sizes.pop() if len(sizes) == 1 else None
    if body is None or not isinstance(length, int) or not 0 < length <= MOST_COPIES:
        return None
    backwards = integers_of(node, "scan_input_directions", scanned)
    collected: list[list[ir.Value]] = []
    for step in range(length):
        rows = []
        for source, axis, direction in zip(sources, axes, backwards, strict=True):
            place = length - 1 - step if direction == LATEST_FIRST else step
            index = add_initializer(graph, free_name(graph, "step"), np.asarray(place, np.int64))
            rows.append(_emit(graph, node, "Gather", [source, index], {"axis": axis}))
        results = _copy(graph, node, body, [*states, *rows])
        states, made = results[: len(states)], results[len(states) :]
        collected.append(made)
    count = len(node.outputs) - len(states)
    out_axes = integers_of(node, "scan_output_axes", count)
    directions = integers_of(node, "scan_output_directions", count)
    outputs = []
    for column, axis, direction in zip(zip(*collected, strict=True), out_axes, directions, strict=True):
        ordered = list(column)[::-1] if direction == LATEST_FIRST else list(column)
        outputs.append(_stacked(graph, node, ordered, axis))
    return [*states, *outputs]


def integers_of(node: ir.Node, name: str, count: int) -> list[int]:
    """Attribute ``name``, one integer for each of ``count`` values; zeros where it is absent."""
    attribute = node.attributes.get(name)
    return [0] * count if attribute is None else [int(value) for value in attribute.value]


def _stacked(graph: ir.Graph, node: ir.Node, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """``values`` along a new ``axis``."""
    place = add_initializer(graph, free_name(graph, "axis"), np.asarray([axis], np.int64))
    rows = [_emit(graph, node, "Unsqueeze", [value, place], {}) for value in values]
    return _emit(graph, node, "Concat", rows, {"axis": axis})
