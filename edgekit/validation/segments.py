"""Float model x the places that are looked at -> what lies between them, and models that compute it.

    exposed(model, ends)   the model, with every end as an output          gives r
    cut(model, ends)       every end is an output, and readers of an end   gives e, from the candidate's c
                           read an input in its place
    injected(model, ends)  readers of an end read end + an input           gives y with one layer's own error
    segments(model, ends)  nodes and inputs of each piece, as facts
    extracted(model, s)    one piece as a model of its own

An end is the value where a kernel of the candidate ends. All ends are cut in one model, so that each segment
computes from the candidate's inputs in one run, whatever their number.

G1 an end that nothing reads is an output only      G2 an end that is an input of the model is no segment
G3 an end inside of control flow is not in ``ends``: it has no place in the main graph
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx, rank, replace_value
from edgekit.spec import Array, TensorSpec
from edgekit.validation.layers import Attribute, NodeFact, WeightEvidence

SEEN, ADDED = "edgekit_seen_", "edgekit_added_"
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
_IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize")


@dataclass(frozen=True)
class Segment:
    """A piece of the float model that ends at ``name``.

    Attributes:
        name: of the value.
        inputs: ends and inputs of the model that it computes from.
        nodes: in order; empty for an input of the model (G2).
        head: the node with a constant operand, where there is one; else the last; None without nodes.
        weight: the head's constant operand; None where it has none.
        axis: of the channels of the value; None = none.
        shape: of the value.
    """

    name: str
    inputs: tuple[str, ...]
    nodes: tuple[NodeFact, ...]
    head: NodeFact | None
    weight: WeightEvidence | None
    axis: int | None
    shape: tuple[int | None, ...]


def values(model: ir.Model) -> Mapping[str, ir.Value]:
    """Float32 values of the main graph that could be ends, by name, in order: inputs first."""
    made = [value for node in model.graph for value in node.outputs]
    return {
        value.name: value
        for value in (*model.graph.inputs, *made)
        if value.name and value.dtype == ir.DataType.FLOAT and value.shape is not None
    }


def exposed(model: ir.Model, ends: Collection[str]) -> ir.Model:
    """A clone with ``ends`` as outputs beside the model's own; inputs of the model are left out."""
    clone = model.clone()
    _expose(clone, ends)
    return clone


def cut(model: ir.Model, ends: Collection[str]) -> ir.Model:
    """A clone whose readers of an end read the input ``SEEN + end``; its outputs are ``ends`` and its own."""
    clone = model.clone()
    found = values(clone)
    _expose(clone, ends)
    for name in ends:
        value = found[name]
        if value.uses():  # G1
            seen = _input(clone, f"{SEEN}{name}", value)
            replace_value(value, seen)
    return clone


def fed(
    inputs: Iterable[TensorSpec], feeds: Mapping[str, Array], candidate: Mapping[str, Array]
) -> dict[str, Array]:
    """What a model of ``cut`` takes: the artifact's values where it is cut, else what the model is fed."""
    return {
        spec.name: candidate[spec.name.removeprefix(SEEN)] if spec.name.startswith(SEEN) else feeds[spec.name]
        for spec in inputs
    }


def injected(model: ir.Model, ends: Collection[str]) -> ir.Model:
    """A clone with an input ``ADDED + end``, of the value's rank, for each end: it is added to the value."""
    clone = model.clone()
    found = values(clone)
    for name in ends:
        value = found[name]
        readers = tuple(value.uses())
        added = _input(clone, f"{ADDED}{name}", value, free=True)
        node = ir.node("Add", [value, added], name=f"{ADDED}node_{name}")
        result = node.outputs[0]
        result.name, result.type, result.shape = f"{ADDED}sum_{name}", value.type, value.shape
        for reader, index in readers:
            reader.replace_input_with(index, result)
        producer = value.producer()
        if producer is None:
            clone.graph.insert_before(clone.graph[0], node)
        else:
            clone.graph.insert_after(producer, node)
        for index, output in enumerate(clone.graph.outputs):
            if output is value:  # the name of an output stays: value and sum change places
                value.name, result.name = f"{ADDED}before_{name}", name
                clone.graph.outputs[index] = result
    return clone


def extracted(model: ir.Model, piece: Segment) -> ir.Model:
    """The nodes of ``piece`` alone: its inputs keep their names, its value is the one output."""
    clone = model.clone()
    found = values(clone)
    graph = clone.graph
    for name in piece.inputs:
        value = found[name]
        if not value.is_graph_input():
            replace_value(value, _input(clone, f"{SEEN}{name}", value))
    graph.outputs.clear()
    graph.outputs.append(found[piece.name])
    mine = {node.name for node in piece.nodes}
    graph.remove([node for node in graph if node.name not in mine], safe=True)
    wanted = {*piece.inputs, *(f"{SEEN}{name}" for name in piece.inputs)}
    for value in tuple(graph.inputs):
        if value.name not in wanted:
            graph.inputs.remove(value)
        elif value.name is not None:
            value.name = value.name.removeprefix(SEEN)
    for name, constant_value in tuple(graph.initializers.items()):
        if not constant_value.uses():
            del graph.initializers[name]
    return clone


def segments(model: ir.Model, ends: Collection[str]) -> tuple[Segment, ...]:
    """Each end's piece, in the order of the graph; inputs of the model come first."""
    found = values(model)
    wanted = set(ends)
    return tuple(_segment(model, found[name], wanted) for name in found if name in wanted)


def _expose(model: ir.Model, ends: Collection[str]) -> None:
    given = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    found = values(model)
    model.graph.outputs.extend(found[name] for name in ends if name not in given)


def _input(model: ir.Model, name: str, like: ir.Value, *, free: bool = False) -> ir.Value:
    """A new input of the type and shape of ``like``; ``free``: of its rank only."""
    assert like.shape is not None  # noqa: S101  values() has looked
    sizes = [f"{name}_{axis}" for axis in range(len(like.shape))] if free else list(like.shape)
    made = ir.Value(name=name, type=like.type, shape=ir.Shape(sizes))
    model.graph.inputs.append(made)
    return made


def _segment(model: ir.Model, value: ir.Value, ends: set[str]) -> Segment:
    nodes: set[ir.Node] = set()
    inputs: set[str] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        for source in node.inputs:
            if source is None or constant(source) is not None:
                continue
            if source.name in ends or source.is_graph_input():
                inputs.add(source.name or "")
            else:
                waiting.append(source)
    ordered = [node for node in model.graph if node in nodes]
    head = next((node for node in reversed(ordered) if _weight_of(node) is not None), None)
    last = head or (ordered[-1] if ordered else None)
    order = {name: place for place, name in enumerate(values(model))}
    return Segment(
        name=value.name or "",
        inputs=tuple(sorted(inputs, key=lambda name: order.get(name, -1))),
        nodes=tuple(map(fact, ordered)),
        head=None if last is None else fact(last),
        weight=None if head is None else _weight(head),
        axis=_channel_axis(value, last),
        shape=tuple(dim if isinstance(dim, int) else None for dim in value.shape or ()),
    )


def fact(node: ir.Node) -> NodeFact:
    """What is said of a node."""
    return NodeFact(
        name=node.name or "",
        op_type=node.op_type,
        inputs=tuple((value.name or "") if value is not None else "" for value in node.inputs),
        outputs=tuple(value.name or "" for value in node.outputs),
        attributes=_attributes(node),
    )


def _attributes(node: ir.Node) -> Mapping[str, Attribute]:
    found: dict[str, Attribute] = {}
    for name, attribute in node.attributes.items():
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT):
            found[name] = float(attribute.value)
        elif attribute.type is ir.AttributeType.STRING:
            found[name] = attribute.as_string()
        elif attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
            found[name] = tuple(map(float, attribute.value))
    return found


def _weight_of(node: ir.Node) -> ir.Value | None:
    if not is_onnx(node, *_WEIGHTED):
        return None
    places: Sequence[int] = (0,) if node.op_type == "Gather" else (1, 0) if node.op_type == "MatMul" else (1,)
    for place in places:
        value = node.inputs[place]
        array = constant(value)
        if array is not None and array.dtype.kind == "f" and array.ndim > 1:
            return value
    return None


def _weight(node: ir.Node) -> WeightEvidence | None:
    value = _weight_of(node)
    array = constant(value)
    if value is None or array is None:
        return None
    group = int_attribute(node, "group", 1)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gather": 1}.get(node.op_type, array.ndim - 1)
    if node.op_type == "Gemm":
        axis = 0 if int_attribute(node, "transB", 0) else 1
    rows = np.moveaxis(array, axis, 0)
    if node.op_type == "ConvTranspose" and group > 1:  # (out / group, in, ...): the inputs are in groups
        rows = np.concatenate(np.split(rows, group, axis=1), axis=0)
    rows = rows.reshape(rows.shape[0], -1)
    shape = tuple(map(int, (value.shape or ())))  # type: ignore[arg-type]  # a constant's sizes are numbers
    depthwise = node.op_type == "Conv" and group > 1 and shape[1] == 1
    return WeightEvidence(
        name=value.name or "",
        shape=shape,
        axis=axis,
        low=tuple(map(float, rows.min(axis=1))),
        high=tuple(map(float, rows.max(axis=1))),
        depthwise=depthwise,
        params=None,
        input_peak=_input_peaks(array, node.op_type, axis),
    )


def _input_peaks(array: Array, op_type: str, axis: int) -> tuple[float, ...]:
    """The largest absolute value for each input channel; of a Gather none: its rows are not summed."""
    if op_type == "Gather":
        return ()
    other = 1 - axis if op_type != "MatMul" else array.ndim - 2
    rows = np.abs(np.moveaxis(array, other, 0))
    return () if len(rows) == 1 else tuple(map(float, rows.reshape(len(rows), -1).max(axis=1)))


def _channel_axis(value: ir.Value, node: ir.Node | None) -> int | None:
    """1 for images, and for sequences behind an image operator; the last axis otherwise."""
    axes = rank(value) or 0
    if axes < 2:
        return None
    if axes >= 4 or (node is not None and is_onnx(node, *_IMAGES)):
        return 1
    return axes - 1
