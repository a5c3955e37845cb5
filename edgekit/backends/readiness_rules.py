"""Model x [readiness] of a target -> per node what stands in the way, and how much would be placed.

B1  operator     no row of the table has it
B2  shape        a size of an input or output is not a number, and the device wants numbers
B3  rank         more axes than the device has
B4  input-rank   another rank of the first input than the row takes
B5  constant     an input that must be a constant is computed
B6  attribute    a value that the row does not take
B7  type         another element type of the first input than the row takes
B8  integers     a quantized activation of a type that the device has not
B9  per-channel  a weight with a scale for each channel, where the operator takes one

B10 weight-type  a quantized constant operand of a type that the row does not take

A node is placed where nothing stands in its way. Multiply-accumulates as in ``ir.macs``; the body of control
flow belongs to its owner.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.backends.readiness_partitions import partitions
from edgekit.ir import macs
from edgekit.ir.graph import constant, is_onnx, rank, shape_of, subgraphs
from edgekit.spec import Readiness, Rejection
from edgekit.target import Readiness as Rules
from edgekit.target import Support

_REMEDY = "replace it in the model, or leave it to the CPU beside the device"
_QUANTIZE = "quantize for this very target (edgekit quantize --target)"


def ready(model: ir.Model, rules: Rules) -> Readiness:
    """What the device of ``rules`` would take of ``model``, whose shapes are known as far as they can be."""
    table: dict[str, list[Support]] = {}
    for row in rules.support:
        for operator in row.operators:
            table.setdefault(operator, []).append(row)
    blocked: list[Rejection] = []
    taken: set[ir.Node] = set()
    unchecked: dict[str, None] = {}
    for node in model.graph:
        found = tuple(_of_node(node, rules, table))
        blocked += found
        if not found:
            taken.add(node)
            rows = (row for row in table[_name(node)] if row.unchecked)
            unchecked.update({f"{_name(node)}: {row.unchecked}": None for row in rows})
    nodes = list(model.graph)
    return Readiness(
        nodes=len(nodes),
        placed=len(taken),
        macs=_macs(nodes),
        placed_macs=_macs(node for node in nodes if node in taken),
        partitions=partitions(model.graph, taken),
        blocked=tuple(blocked),
        unchecked=tuple(unchecked),
    )


def _of_node(node: ir.Node, rules: Rules, table: dict[str, list[Support]]) -> Iterator[Rejection]:
    rows = table.get(_name(node))
    if rows is None:  # B1
        remedy = (
            f"give the float model: it computes in {rules.floats} there" if _is_rounding(node) else _REMEDY
        )
        yield _rejection(node, "operator", f"{rules.device} has no {_name(node)}", remedy)
        return
    yield from _of_sizes(node, rules)
    # of several rows the one that comes closest says what is missing
    yield from min((tuple(_of_row(node, row)) for row in rows), key=len)
    yield from _of_integers(node, rules)


def _of_sizes(node: ir.Node, rules: Rules) -> Iterator[Rejection]:
    """B2 and B3."""
    every = (value for value in (*node.inputs, *node.outputs) if value is not None)
    values = [value for value in every if constant(value) is None]
    open_ = next((value for value in values if _is_open(value)), None)
    if rules.static and open_ is not None:
        remedy = f"fix its sizes: {_sizes(open_)}" if open_.shape is not None else "export with fixed sizes"
        yield _rejection(node, "shape", f"{open_.name} has no fixed size ({_shape(open_)})", remedy)
    large = next((value for value in values if (rank(value) or 0) > rules.largest_rank), None)
    if rules.largest_rank and large is not None:
        reason = f"{large.name} has {rank(large)} axes, {rules.device} takes {rules.largest_rank} at most"
        yield _rejection(node, "rank", reason, "split or flatten axes in the model")


def _of_row(node: ir.Node, row: Support) -> Iterator[Rejection]:
    """B4 to B7, and B10."""
    first = node.inputs[0] if node.inputs else None
    found = rank(first)
    if row.ranks and found is not None and found not in row.ranks:  # B4
        wanted = " or ".join(map(str, row.ranks))
        reason = f"its input has {found} axes, and {node.op_type} is taken with {wanted}"
        yield _rejection(node, "input-rank", reason, "add axes of size 1 with a Reshape, and take them away")
    for index in row.constants:  # B5
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None and not _is_constant(value):
            reason = f"its input {index} ({value.name}) is computed, and must be a constant"
            yield _rejection(node, "constant", reason, "make it an initializer: export with fixed sizes")
    for name, values in row.attributes.items():  # B6
        said = _attribute(node, name)
        if said not in values:
            wanted = " or ".join(str(value) or "the default" for value in values)
            reason = f"its {name} is {said if said != '' else 'the default'}, taken is {wanted}"
            yield _rejection(node, "attribute", reason, f"export {node.op_type} with {name} = {wanted}")
    dtype = _type(first)
    if row.types and dtype and dtype not in row.types:  # B7
        reason = f"its input is {dtype}, taken is {', '.join(row.types)}"
        yield _rejection(node, "type", reason, "cast it in the model")
    for stored in _stored(node):  # B10
        if row.weights and _type(stored) not in row.weights:
            reason = f"its weight is {_type(stored)}, taken is {' or '.join(row.weights)}"
            yield _rejection(node, "weight-type", reason, _QUANTIZE)


def _stored(node: ir.Node) -> Iterator[ir.Value]:
    """The integer constants that the node reads through a DequantizeLinear, biases left out."""
    for value in node.inputs:
        maker = value.producer() if value is not None else None
        source = maker.inputs[0] if maker is not None and is_onnx(maker, "DequantizeLinear") else None
        if source is not None and constant(source) is not None and _type(source) != "int32":
            yield source


def _of_integers(node: ir.Node, rules: Rules) -> Iterator[Rejection]:
    """B8 of QuantizeLinear and DequantizeLinear, B9 of an operator that reads a weight."""
    if _is_rounding(node):
        integer = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        dtype = _type(integer)
        if rules.integers and constant(integer) is None and dtype and dtype not in rules.integers:
            reason = f"it has activations in {dtype}, and the device has {', '.join(rules.integers)}"
            yield _rejection(node, "integers", reason, _QUANTIZE)
        return
    if not rules.per_channel or node.op_type in rules.per_channel:
        return
    for stored in _stored(node):
        scale = next(constant(use.node.inputs[1]) for use in stored.uses())
        if scale is not None and scale.size > 1:
            reason = f"its weight has {scale.size} scales, and only {', '.join(rules.per_channel)} take more"
            yield _rejection(node, "per-channel", f"{reason} than one", _QUANTIZE)


def _macs(nodes: Iterator[ir.Node] | list[ir.Node]) -> int | None:
    total = 0
    for node in nodes:
        own = macs.macs(node)
        inside = _macs([each for body in subgraphs(node) for each in body])
        if own is None or inside is None:
            return None
        total += own + inside
    return total


def _is_rounding(node: ir.Node) -> bool:
    return is_onnx(node, "QuantizeLinear", "DequantizeLinear")


def _is_open(value: ir.Value) -> bool:
    shape = shape_of(value)
    return shape is None or None in shape


def _is_constant(value: ir.Value) -> bool:
    """An initializer, or the DequantizeLinear of one."""
    maker = value.producer()
    if maker is not None and is_onnx(maker, "DequantizeLinear", "Constant"):
        return all(each is None or _is_constant(each) for each in maker.inputs)
    return constant(value) is not None


def _attribute(node: ir.Node, name: str) -> str | int:
    """The attribute as the table writes it: a list joined by commas, "" where it is left out."""
    found = node.attributes.get(name)
    if found is None:
        return ""
    if found.type == ir.AttributeType.INT:
        return found.as_int()
    if found.type == ir.AttributeType.STRING:
        return found.as_string()
    if found.type == ir.AttributeType.INTS:
        return ",".join(map(str, found.as_ints()))
    return str(found.value)


def _type(value: ir.Value | None) -> str:
    return value.dtype.numpy().name if value is not None and value.dtype is not None else ""


def _name(node: ir.Node) -> str:
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"


def _shape(value: ir.Value) -> str:
    if value.shape is None:
        return "of unknown rank"
    return "x".join(str(dim) if isinstance(dim, int) else dim.value or "?" for dim in value.shape)


def _sizes(value: ir.Value) -> str:
    names = [dim.value or "?" for dim in value.shape or () if not isinstance(dim, int)]
    return ", ".join(f"--size {name}=NUMBER" for name in dict.fromkeys(names))


def _rejection(node: ir.Node, rule: str, reason: str, remedy: str) -> Rejection:
    return Rejection(node=node.name or node.op_type, rule=rule, reason=reason, remedy=remedy)
