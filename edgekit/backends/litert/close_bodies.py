"""If, Loop, Scan -> nodes of the domain "edgekit" whose bodies read nothing but what they are given.

    Loop(count, going, state) {number, going, state -> reads w}
      -> edgekit.Loop(count, going, state, w) {number, going, state, w -> ...}

TFLite's IF and WHILE hand every value that a subgraph reads to it. So does this form, and every body is a
model of its own, which is read, laid out and lowered as the whole model is.

B1 a value of the outer graph that a body reads: a further input of the node and of the body
B2 a constant: the body's own; a DequantizeLinear of constants is copied, so that weights stay weights
B3 Scan: a Loop whose body takes the row of its number; other axes and directions behind and in front of it
B4 shapes: a state has that of its first value, a scan output that of one row behind the count where that is
   known; an If what both branches agree on

Source: ONNX If-21, Loop-21, Scan-21.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert.shapes import shape_of
from edgekit.backends.litert.unroll import CONTROL, LATEST_FIRST, goes_on, integers_of
from edgekit.ir.graph import add_initializer, constant, free_name, is_onnx, replace_value, subgraphs
from edgekit.ir.infer import infer_shapes

DOMAIN = "edgekit"
IF, LOOP = f"{DOMAIN}.If", f"{DOMAIN}.Loop"
STATES = "states"
"""Attribute of an edgekit.Loop: how many of its outputs are states; scan outputs follow."""
BRANCHES = ("then_branch", "else_branch")
FIXED = 2  # inputs of a Loop, and of its body, before the states

_IR_VERSION, _OPSET = 10, 21  # of the canonical form


def closed(model: ir.Model) -> ir.Model:
    """``model`` itself where it has no control flow, else a clone in which all bodies are closed."""
    if not any(_is_open(node) for node in model.graph):
        return model
    model = infer_shapes(model)
    model.opset_imports[DOMAIN] = 1
    while True:
        node = next((node for node in model.graph if _is_open(node)), None)
        if node is None:
            return model
        if node.op_type == "Scan":
            node = _loop_of_scan(model.graph, node)
        _replace(model.graph, node, _closed_if(node) if node.op_type == "If" else _closed_loop(node))
        model = infer_shapes(model)


def as_model(body: ir.Graph) -> ir.Model:
    """A closed body as a model."""
    return ir.Model(body, ir_version=_IR_VERSION)


def _is_open(node: ir.Node) -> bool:
    return is_onnx(node, *CONTROL)


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    graph.insert_before(old, new)
    for mine, theirs in zip(new.outputs, old.outputs, strict=True):
        name, theirs.name = theirs.name, None
        mine.name = name
        mine.type = mine.type or theirs.type
        mine.shape = theirs.shape if mine.shape is None else mine.shape
        replace_value(theirs, mine)
        for index, output in enumerate(graph.outputs):
            if output is theirs:
                graph.outputs[index] = mine
    graph.remove(old, safe=True)


# B4 ------------------------------------------------------------------------------------------------------


def _closed_loop(node: ir.Node) -> ir.Node:
    body: ir.Graph = node.attributes["body"].as_graph().clone(allow_outer_scope_values=True)
    count, going, *states = node.inputs
    for value, kind in zip(body.inputs[:FIXED], (ir.DataType.INT64, ir.DataType.BOOL), strict=True):
        value.type, value.shape = ir.TensorType(kind), ir.Shape(())
    for value, first in zip(body.inputs[FIXED:], states, strict=True):
        _take_type(value, first)
    captured = _close(body, _captured([body]))
    body = closed(infer_shapes(_standalone(body))).graph
    made = ir.Node(
        DOMAIN,
        "Loop",
        [count, going, *states, *captured],
        [ir.AttrGraph("body", body), ir.AttrInt64(STATES, len(states))],
        num_outputs=len(node.outputs),
        name=node.name,
    )
    length = _length(count, going, body)
    for index, (output, value) in enumerate(zip(made.outputs, body.outputs[1:], strict=True)):
        output.type = value.type
        if index < len(states):
            _take_type(output, states[index])
        elif value.shape is not None:
            output.shape = ir.Shape([length, *value.shape])
    return made


def _length(count: ir.Value | None, going: ir.Value | None, body: ir.Graph) -> int | None:
    """How often the body runs, where that is sure."""
    known, begins = constant(count), constant(going)
    if known is None or not goes_on(body) or (going is not None and (begins is None or not begins.all())):
        return None
    return max(0, int(known.reshape(-1)[0]))


def _closed_if(node: ir.Node) -> ir.Node:
    branches = [node.attributes[name].as_graph().clone(allow_outer_scope_values=True) for name in BRANCHES]
    values = _captured(branches)
    captured: list[ir.Value] = []
    for branch in branches:
        captured = _close(branch, values)
    branches = [closed(infer_shapes(_standalone(branch))).graph for branch in branches]
    made = ir.Node(
        DOMAIN,
        "If",
        [node.inputs[0], *captured],
        [ir.AttrGraph(name, branch) for name, branch in zip(BRANCHES, branches, strict=True)],
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for output, one, other in zip(made.outputs, branches[0].outputs, branches[1].outputs, strict=True):
        output.type = one.type
        a, b = shape_of(one), shape_of(other)
        if one.shape is not None and other.shape is not None and len(a) == len(b):
            output.shape = ir.Shape([x if x == y else None for x, y in zip(a, b, strict=True)])
    return made


def _take_type(value: ir.Value, source: ir.Value | None) -> None:
    if source is not None:
        value.type, value.shape = source.type, source.shape


# B1, B2 --------------------------------------------------------------------------------------------------


def _standalone(body: ir.Graph) -> ir.Model:
    """The closed body as a model of its own."""
    body.opset_imports.update({"": _OPSET, DOMAIN: 1})
    return as_model(body)


def _captured(bodies: Sequence[ir.Graph]) -> list[ir.Value]:
    """Values that the bodies read and do not make, in the order in which they are read."""
    found: dict[int, ir.Value] = {}
    for body in bodies:
        own = {id(value) for value in _made_in(body)}
        read = [value for node in _nodes(body) for value in node.inputs if value is not None]
        found |= {id(value): value for value in (*read, *body.outputs) if id(value) not in own}
    return list(found.values())


def _made_in(body: ir.Graph) -> Iterator[ir.Value]:
    yield from (*body.inputs, *body.initializers.values())
    for node in body:
        yield from node.outputs
        for inner in subgraphs(node):
            yield from _made_in(inner)


def _nodes(body: ir.Graph) -> Iterator[ir.Node]:
    for node in body:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)


def _close(body: ir.Graph, values: Sequence[ir.Value]) -> list[ir.Value]:
    """Give ``body`` its own form of each of ``values``; those that became inputs, in their order."""
    captured: list[ir.Value] = []
    for value in values:
        own = _own_constant(body, value)
        if own is None:
            own = ir.Value(name=free_name(body, value.name or "captured"), type=value.type, shape=value.shape)
            body.inputs.append(own)
            captured.append(value)
        for node in _nodes(body):
            for index, read in enumerate(node.inputs):
                if read is value:
                    node.replace_input_with(index, own)
        for index, output in enumerate(body.outputs):
            if output is value:
                body.outputs[index] = own
    return captured


def _own_constant(body: ir.Graph, value: ir.Value) -> ir.Value | None:
    """B2."""
    data = constant(value)
    if data is not None:
        return add_initializer(body, free_name(body, value.name or "constant"), data)
    node = value.producer()
    if (
        node is None
        or node.op_type != "DequantizeLinear"
        or any(constant(each) is None for each in node.inputs)
    ):
        return None
    inputs = [_own_constant(body, each) for each in node.inputs if each is not None]
    made = ir.Node("", node.op_type, inputs, list(node.attributes.values()), num_outputs=1)
    first = next(iter(body), None)
    if first is None:
        body.append(made)
    else:
        body.insert_before(first, made)
    made.outputs[0].name = free_name(body, value.name or "weights")
    made.outputs[0].type, made.outputs[0].shape = value.type, value.shape
    return made.outputs[0]


# B3 ------------------------------------------------------------------------------------------------------


def _loop_of_scan(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """The Loop in the Scan's place."""
    body: ir.Graph = node.attributes["body"].as_graph().clone(allow_outer_scope_values=True)
    scanned = node.attributes["num_scan_inputs"].as_int()
    values = [value for value in node.inputs if value is not None]
    states, sources = values[:-scanned], values[-scanned:]
    axes = integers_of(node, "scan_input_axes", scanned)
    backwards = integers_of(node, "scan_input_directions", scanned)
    count = _size(graph, node, sources[0], axes[0])
    number = ir.Value(name=free_name(body, "number"))
    going = ir.Value(name=free_name(body, "going"))
    rows = body.inputs[len(states) :]
    del body.inputs[len(states) :]
    for row, source, axis, direction in zip(rows, sources, axes, backwards, strict=True):
        ordered = _reversed(graph, node, source, axis) if direction == LATEST_FIRST else source
        taken = ir.Node("", "Gather", [ordered, number], [ir.AttrInt64("axis", axis)], num_outputs=1)
        first = next(iter(body), None)
        if first is None:
            body.append(taken)
        else:
            body.insert_before(first, taken)
        taken.outputs[0].name, row.name = row.name, None
        replace_value(row, taken.outputs[0])
        for index, output in enumerate(body.outputs):
            if output is row:
                body.outputs[index] = taken.outputs[0]
    body.inputs[:0] = [number, going]
    body.outputs.insert(0, going)
    attributes = [ir.AttrGraph("body", body)]
    made = ir.Node(
        "", "Loop", [count, None, *states], attributes, num_outputs=len(node.outputs), name=node.name
    )
    graph.insert_before(node, made)
    for value, old in zip(made.outputs, node.outputs, strict=True):
        value.name, value.type = free_name(graph, f"{old.name}/rows"), old.type
    outputs = _placed(graph, node, made.outputs, len(states))
    for old, new in zip(node.outputs, outputs, strict=True):
        _rename(graph, old, new)
    graph.remove(node, safe=True)
    return made


def _rename(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    name, old.name = old.name, None
    new.name = name
    replace_value(old, new)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = new


def _placed(graph: ir.Graph, node: ir.Node, values: Sequence[ir.Value], states: int) -> list[ir.Value]:
    """Scan outputs along their axes and in their directions."""
    count = len(values) - states
    axes = integers_of(node, "scan_output_axes", count)
    backwards = integers_of(node, "scan_output_directions", count)
    found = list(values[:states])
    for value, old, axis, direction in zip(
        values[states:], node.outputs[states:], axes, backwards, strict=True
    ):
        rank = len(shape_of(old))
        ordered = _reversed(graph, node, value, 0) if direction == LATEST_FIRST else value
        place = axis % rank if rank else 0
        perm = [*range(1, place + 1), 0, *range(place + 1, rank)]
        moves = [ir.AttrInt64s("perm", perm)]
        found.append(_emit(graph, node, "Transpose", [ordered], moves) if place else ordered)
    return found


def _reversed(graph: ir.Graph, before: ir.Node, value: ir.Value, axis: int) -> ir.Value:
    bounds = (-1, np.iinfo(np.int64).min, axis, -1)
    made = [add_initializer(graph, free_name(graph, "bound"), np.asarray([n], np.int64)) for n in bounds]
    found = _emit(graph, before, "Slice", [value, *made], [])
    found.type, found.shape = value.type, value.shape
    return found


def _size(graph: ir.Graph, before: ir.Node, value: ir.Value, axis: int) -> ir.Value:
    """The size of ``value`` along ``axis``, as int64."""
    size = shape_of(value)[axis]
    if isinstance(size, int):
        return add_initializer(graph, free_name(graph, "length"), np.asarray(size, np.int64))
    sizes = _emit(graph, before, "Shape", [value], [])
    place = add_initializer(graph, free_name(graph, "axis"), np.asarray(axis, np.int64))
    return _emit(graph, before, "Gather", [sizes, place], [])


def _emit(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value],
    attributes: Sequence[ir.Attr],
) -> ir.Value:
    node = ir.Node("", op, inputs, attributes, num_outputs=1)
    graph.insert_before(before, node)
    node.outputs[0].name = free_name(graph, f"{before.name or before.op_type}/{op}")
    return node.outputs[0]
