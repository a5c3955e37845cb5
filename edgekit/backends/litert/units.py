"""ir.Model -> Units: what becomes one TFLite kernel, with its constants, fused parts and quantization.

The rules that make several ONNX nodes one unit:

    F1  bias:     Conv or MatMul, then Add of a constant per output channel
    F2  clamp:    a kernel with a fused activation, then Relu or Clip with constant bounds
    F3  pad:      Pad with zeros along spatial axes, then Conv
    F4  integer:  DequantizeLinear..., an operator with an int8 kernel, QuantizeLinear (``integer.reason``)
    F6  adjoint:  Transpose of the last two axes, then the second factor of a MatMul
    F7  gelu:     x * 0.5 * (1 + erf(x / sqrt(2))), in whatever order the products are
    F5  spread:   what repeats along named sizes (``probing``): one row where broadcasting spreads it

A fused value must have one consumer and must not be a graph output. What F4 does not take stays float
between a DEQUANTIZE and a QUANTIZE, which computes exactly what the QDQ graph says.

uint8 tensors become int8, the zero point moves by exactly -128: s * (u8 - z) = s * (i8 - (z - 128)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert import integer
from edgekit.backends.litert.close_bodies import closed
from edgekit.backends.litert.constants import Constants
from edgekit.backends.litert.gelu import gelu_of, sole_consumer
from edgekit.backends.litert.layout_rules import BROADCASTING
from edgekit.backends.litert.nonnegative import with_zero_padding
from edgekit.backends.litert.operands import Clamp, Operand, Unit
from edgekit.backends.litert.probing import Probed, probe
from edgekit.backends.litert.shapes import shape_of, with_probed, with_shapes
from edgekit.backends.litert.tensors import Shape
from edgekit.backends.litert.unroll import unrolled
from edgekit.spec import QuantParams

# Kernels with a fused activation that XNNPACK and the builtin kernels both run (schema.fbs, options tables).
CLAMPED_KERNELS = frozenset({"Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool"})

# Inputs that are parameters, known when compiling, and not data that flows at run time.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "EyeLike": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "NonMaxSuppression": (2, 3, 4),
    "DequantizeLinear": (1, 2),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}

# Parameters that the kernels also take when they are computed: these keep what makes them alive.
COMPUTABLE = {
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Pad": (2,),
    "QuantizeLinear": (1, 2),
    "Slice": (1, 2),
}


SIZES = "[sizes]"
"""Attribute of a unit whose values are sizes, or computed of sizes alone: they fit int32."""


@dataclass(frozen=True, eq=False)
class Program:
    """The whole model as units in topological order, dead ones removed.

    Attributes:
        inputs: model inputs that are not initializers.
        outputs: model outputs; a constant output carries its value.
        units: what runs.
        notes: what the user should know about the quantization.
    """

    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    units: tuple[Unit, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Reader:
    """State of one reading: what has been found out about the graph's values so far."""

    constants: Constants
    outputs: frozenset[str]
    inputs: tuple[Operand, ...]
    probed: Probed = field(default_factory=Probed)
    units: list[Unit] = field(default_factory=list)
    taken: set[ir.Node] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    spread: set[str] = field(default_factory=set)
    notes: list[tuple[str, str]] = field(default_factory=list)


def read(model: ir.Model) -> Program:
    """Group the nodes of ``model`` into units. ``model`` is not changed."""
    model = closed(unrolled(model))
    probed = probe(model)
    graph = with_shapes(with_probed(model, probed.shapes)).graph
    constants = Constants(graph, probed.constants)
    inputs = tuple(
        Operand(_name(value), shape_of(value), dtype_of(value), _input_params(value, constants))
        for value in graph.inputs
        if _name(value) not in constants
    )
    reader = _Reader(constants, frozenset(_name(value) for value in graph.outputs), inputs, probed)
    for node in graph:
        if node not in reader.taken and not _is_known(node, reader):
            _read_node(node, reader)
    outputs = tuple(_operand(value, reader) for value in graph.outputs)
    units = tuple(with_zero_padding(_live(reader.units, {out.key for out in outputs})))
    alive = {unit.node for unit in units}
    notes = tuple(text for node, text in reader.notes if node in alive)
    return Program(inputs, outputs, units, notes)


def dtype_of(value: ir.Value) -> str:
    """NumPy name of the element type; "unknown" where there is none."""
    return "unknown" if value.dtype is None else value.dtype.numpy().name


def _input_params(value: ir.Value, constants: Constants) -> QuantParams | None:
    """Scale and zero point of an integer model input that DequantizeLinear alone reads, always alike."""
    nodes = [use.node for use in value.uses()]
    if not nodes or any(node.op_type != "DequantizeLinear" or node.inputs[0] is not value for node in nodes):
        return None
    found = {constants.params(node) for node in nodes}
    params = found.pop()
    wanted = not found and params is not None and params.axis is None and params.dtype in {"int8", "uint8"}
    return params if wanted else None


def _is_known(node: ir.Node, reader: _Reader) -> bool:
    """Whether nothing runs for ``node``: its outputs are constants, or constants that are spread."""
    spreads = reader.probed.spreads
    return reader.constants.holds_all(node) or all(_name(out) in spreads for out in node.outputs)


def _name(value: ir.Value) -> str:
    return value.name or ""


def _read_node(node: ir.Node, reader: _Reader) -> None:
    """Append the unit that begins with ``node``."""
    if node.op_type == "QuantizeLinear" and node.domain in {"", "ai.onnx"}:
        _read_quantize(node, reader)
        return
    if node.op_type == "DequantizeLinear" and node.domain in {"", "ai.onnx"}:
        source = _quantized(node.outputs[0], reader)
        if source is not None:
            parameters = tuple(None if v is None else _operand(v, reader) for v in node.inputs[1:])
            made = (_operand(node.outputs[0], reader),)
            operands = (source, *parameters)
            reader.units.append(Unit(node.op_type, _label(node), attributes_of(node), operands, made))
            return
    gelu = gelu_of(node, reader.constants, reader.outputs) if node.op_type == "Erf" else None
    if gelu is not None:  # F7
        reader.taken.update(gelu.nodes)
        result = _operand(gelu.nodes[-1].outputs[0], reader)
        reader.units.append(Unit("Gelu", _label(node), {}, (_operand(gelu.source, reader),), (result,)))
        return
    inputs: list[ir.Value | None] = list(node.inputs)
    attributes = attributes_of(node)
    last = node
    if node.op_type == "Conv" and inputs[0] is not None:
        inputs[0], attributes = _fuse_pad(inputs[0], attributes, reader)
    if node.op_type in {"Conv", "MatMul"}:
        last = _fuse_bias(node, inputs, reader)
    if node.op_type == "MatMul" and inputs[1] is not None:
        inputs[1], attributes = _fuse_transpose(inputs[1], attributes, reader)
    last, clamp = _fuse_clamp(node, last, reader)
    parts = _Parts(_op_name(node), attributes, tuple(inputs), last, clamp)
    unit = _integer_unit(node, parts, reader)
    if unit is None:
        wanted = _operands(parts.op, inputs, reader)
        outputs = tuple(_operand(value, reader) for value in last.outputs)
        unit = Unit(parts.op, _label(node), attributes, wanted, outputs, clamp)
        unit = _gather_of_rows(unit, reader) or unit
        if outputs[0].dtype == "int64" and outputs[0].key in reader.probed.known:
            unit = replace(unit, attributes={**attributes, SIZES: True})
    reader.units.append(unit)


@dataclass(frozen=True, eq=False)
class _Parts:
    """One unit before it is known whether it is integer."""

    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[ir.Value | None, ...]
    last: ir.Node
    clamp: Clamp | None


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """Attributes as plain Python values; subgraphs and references are left out."""
    return {name: attr.value for name, attr in node.attributes.items() if isinstance(attr, ir.Attr)}


def _op_name(node: ir.Node) -> str:
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"


def _label(node: ir.Node) -> str:
    return node.name or f"{node.op_type}({', '.join(_name(out) for out in node.outputs)})"


def _operand(value: ir.Value, reader: _Reader) -> Operand:
    """``value`` as the float graph sees it."""
    name = _name(value)
    if name in reader.probed.spreads and name not in reader.constants:
        _materialize(name, reader)
    if name in reader.constants:
        data = reader.constants[name]
        return Operand(name, data.shape, data.dtype.name, None, data)
    return Operand(reader.aliases.get(name, name), shape_of(value), dtype_of(value))


# F5 ------------------------------------------------------------------------------------------------------


def _operands(op: str, values: Sequence[ir.Value | None], reader: _Reader) -> tuple[Operand | None, ...]:
    """The inputs of a unit; a spread constant stays one row where broadcasting spreads it anyway."""
    if op not in BROADCASTING:
        return tuple(None if value is None else _operand(value, reader) for value in values)
    spreads = reader.probed.spreads
    others = [shape_of(v) for v in values if v is not None and _name(v) not in spreads]
    found: list[Operand | None] = []
    for value in values:
        spread = spreads.get(_name(value)) if value is not None else None
        if value is not None and spread is not None and any(_covers(o, spread.shape) for o in others):
            row = spread.data
            found.append(Operand(f"{_name(value)}/row", row.shape, row.dtype.name, None, row))
        else:
            found.append(None if value is None else _operand(value, reader))
    return tuple(found)


def _covers(other: Shape, shape: Shape) -> bool:
    """Whether ``other`` has every named size of ``shape`` in its place."""
    return all(
        isinstance(dim, int) or (len(other) >= place and other[-place] == dim)
        for place, dim in enumerate(reversed(shape), start=1)
    )


def _materialize(name: str, reader: _Reader) -> None:
    """Append the unit that spreads a constant, once: its row, and an input that has each named size."""
    if name in reader.spread:
        return
    spread = reader.probed.spreads[name]
    carriers: list[Operand] = []
    axes: list[tuple[int, int]] = []
    for axis, dim in enumerate(spread.shape):
        if not isinstance(dim, int):
            carrier = min((x for x in reader.inputs if dim in x.shape), key=lambda x: x.rank, default=None)
            if carrier is None:
                return
            carriers.append(carrier)
            axes.append((axis, carrier.shape.index(dim)))
    reader.spread.add(name)
    row = Operand(f"{name}/row", spread.data.shape, spread.data.dtype.name, None, spread.data)
    out = Operand(name, spread.shape, spread.data.dtype.name)
    reader.units.append(Unit("[spread]", name, {"axes": axes}, (row, *carriers), (out,)))


def _gather_of_rows(unit: Unit, reader: _Reader) -> Unit | None:
    """GatherND by (b, i) with b = 0, 1, 2... along the first axis: a Gather by i along axis 1."""
    data, indices = unit.operand(0), unit.operand(1)
    if unit.op != "GatherND" or data is None or indices is None or unit.attributes.get("batch_dims", 0):
        return None
    known = reader.probed.known.get(indices.key)
    if known is None or any(grid.shape[-1] != 2 for grid in known):
        return None
    rows = []
    for grid in known:
        count = np.arange(len(grid)).reshape(-1, *(1,) * (grid.ndim - 2))
        if not np.array_equal(np.broadcast_to(count, grid.shape[:-1]), grid[..., 0]):
            return None
        rows.append(grid[0, ..., 1])
        if not np.array_equal(np.broadcast_to(rows[-1], grid.shape[:-1]), grid[..., 1]):
            return None
    if not np.array_equal(rows[0], rows[1]):
        return None
    places = Operand(f"{indices.key}/row", rows[0].shape, rows[0].dtype.name, None, rows[0])
    return replace(unit, op="Gather", attributes={"axis": 1}, inputs=(data, places))


# F3 ------------------------------------------------------------------------------------------------------


def _fuse_pad(
    value: ir.Value, attributes: dict[str, Any], reader: _Reader
) -> tuple[ir.Value, dict[str, Any]]:
    pad = value.producer()
    if pad is None or pad.op_type != "Pad" or sole_consumer(value, reader.outputs) is None:
        return value, attributes
    if attributes.get("auto_pad", "NOTSET") != "NOTSET" or pad.inputs[0] is None:
        return value, attributes
    amounts = _zero_padding(pad, reader)
    if amounts is None:
        return value, attributes
    rank = len(amounts) // 2
    spatial = rank - 2
    befores, afters = amounts[:rank], amounts[rank:]
    if spatial < 1 or any(befores[:2]) or any(afters[:2]) or min(amounts) < 0:
        return value, attributes
    own = list(attributes.get("pads") or [0] * (2 * spatial))
    own = [a + b for a, b in zip(own, [*befores[2:], *afters[2:]], strict=True)]
    return pad.inputs[0], {**attributes, "pads": own}


def _zero_padding(pad: ir.Node, reader: _Reader) -> list[int] | None:
    """Amounts of a Pad node that pads with constant zeros along all axes in order, else None."""
    if attributes_of(pad).get("mode", "constant") != "constant" or len(pad.inputs) < 2:
        return None
    amounts = reader.constants.get(pad.inputs[1])
    fill = reader.constants.get(pad.inputs[2]) if len(pad.inputs) > 2 else None
    if amounts is None or (len(pad.inputs) > 2 and pad.inputs[2] is not None and fill is None):
        return None
    if (fill is not None and np.any(fill != 0)) or (len(pad.inputs) > 3 and pad.inputs[3] is not None):
        return None
    return [int(amount) for amount in amounts]


# F1 ------------------------------------------------------------------------------------------------------


def _fuse_bias(node: ir.Node, inputs: list[ir.Value | None], reader: _Reader) -> ir.Node:
    """Take a following Add of a constant into ``inputs[2]``; returns the unit's last node."""
    weight = inputs[1]
    if weight is None or (len(inputs) > 2 and inputs[2] is not None) or _name(weight) not in reader.constants:
        return node
    add = sole_consumer(node.outputs[0], reader.outputs)
    if add is None or add.op_type != "Add" or node.outputs[0].shape is None:
        return node
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    data = reader.constants.get(other)
    if other is None or data is None:
        return node
    rank = len(shape_of(node.outputs[0]))
    channel_axis = 1 if node.op_type == "Conv" else rank - 1
    kernel = reader.constants[_name(weight)]
    if node.op_type == "MatMul" and kernel.ndim != 2:
        return node
    channels = kernel.shape[0 if node.op_type == "Conv" else -1]
    expected = [1] * rank
    expected[channel_axis] = channels
    padded = (1,) * (rank - data.ndim) + data.shape
    if data.ndim > rank or tuple(expected) != padded:
        return node
    inputs[:] = [inputs[0], inputs[1], other]
    reader.taken.add(add)
    return add


# F6 ------------------------------------------------------------------------------------------------------


def _fuse_transpose(
    value: ir.Value, attributes: dict[str, Any], reader: _Reader
) -> tuple[ir.Value, dict[str, Any]]:
    """The second factor before a Transpose of its last two axes, and BATCH_MATMUL's flag for it."""
    node = value.producer()
    rank = len(shape_of(value))
    if node is None or node.op_type != "Transpose" or rank < 2 or _name(value) in reader.constants:
        return value, attributes
    perm = list(attributes_of(node).get("perm") or reversed(range(rank)))
    source = node.inputs[0]
    if source is None or perm != [*range(rank - 2), rank - 1, rank - 2] or dtype_of(value) != "float32":
        return value, attributes
    return source, {**attributes, "transB": 1}


# F2 ------------------------------------------------------------------------------------------------------


def _fuse_clamp(node: ir.Node, last: ir.Node, reader: _Reader) -> tuple[ir.Node, Clamp | None]:
    if node.op_type not in CLAMPED_KERNELS or node.domain not in {"", "ai.onnx"}:
        return last, None
    follower = sole_consumer(last.outputs[0], reader.outputs)
    if follower is None or follower.op_type not in {"Relu", "Clip"}:
        return last, None
    if dtype_of(last.outputs[0]) != "float32" or follower.inputs[0] is not last.outputs[0]:
        return last, None
    if len([out for out in last.outputs if out.name and (out.uses() or out.name in reader.outputs)]) > 1:
        return last, None
    bounds = clip_bounds(follower, reader.constants)
    if bounds is None:
        return last, None
    reader.taken.add(follower)
    return follower, bounds


def clip_bounds(node: ir.Node, constants: Constants) -> Clamp | None:
    """Bounds of a Relu or Clip node, or None where they are not constants."""
    if node.op_type == "Relu":
        return Clamp(0.0, float("inf"))
    bounds = [float("-inf"), float("inf")]
    for index in (1, 2):
        value = node.inputs[index] if len(node.inputs) > index else None
        if value is None:
            continue
        data = constants.get(value)
        if data is None:
            return None
        bounds[index - 1] = float(data.reshape(()))
    return Clamp(*bounds)


# F4 ------------------------------------------------------------------------------------------------------


def _quantized(value: ir.Value, reader: _Reader) -> Operand | None:
    """The integer tensor that ``value`` is the dequantized form of, or None."""
    constant = reader.constants.quantized(value)
    if constant is not None:
        data, quant = constant
        return Operand(_name(value), data.shape, quant.dtype, quant, data)
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    said = reader.constants.params(node)
    if said is None or said.axis is not None:
        return None
    quant = as_signed(said) if _is_private(source, reader) else said
    name = _name(source)
    return Operand(reader.aliases.get(name, name), shape_of(value), quant.dtype, quant)


def _is_private(source: ir.Value, reader: _Reader) -> bool:
    """Whether a quantized value is only seen by Q and DQ, so that its representation is free."""
    producer = source.producer()
    return (
        producer is not None
        and producer.op_type == "QuantizeLinear"
        and source.name not in reader.outputs
        and all(use.node.op_type == "DequantizeLinear" for use in source.uses())
    )


def as_signed(quant: QuantParams) -> QuantParams:
    """uint8 parameters as those of the int8 tensor that stands for the same reals."""
    if quant.dtype != "uint8":
        return quant
    return replace(quant, dtype="int8", zero_point=tuple(zero - 128 for zero in quant.zero_point))


def _quantizers(value: ir.Value, reader: _Reader) -> tuple[list[ir.Node], QuantParams] | None:
    """The Q nodes that are the only readers of ``value`` and agree, with their parameters."""
    nodes = [use.node for use in value.uses()]
    if not nodes or value.name in reader.outputs:
        return None
    found: set[QuantParams] = set()
    for node in nodes:
        quant = reader.constants.params(node) if node.op_type == "QuantizeLinear" else None
        if quant is None or quant.axis is not None or not _is_private(node.outputs[0], reader):
            return None
        found.add(as_signed(quant))
    return (nodes, found.pop()) if len(found) == 1 else None


def _integer_unit(node: ir.Node, parts: _Parts, reader: _Reader) -> Unit | None:
    """The unit as an int8 kernel, or None where it must stay float; a note says why."""
    sources = [_quantized(value, reader) if value is not None else None for value in parts.inputs]
    if not any(source is not None and source.const is None for source in sources):
        return None
    outputs: list[Operand] = []
    aliases: dict[str, str] = {}
    quantizers: list[ir.Node] = []
    for value in parts.last.outputs:
        found = _quantizers(value, reader)
        if found is None:
            return None
        key = _name(found[0][0].outputs[0])
        outputs.append(Operand(key, shape_of(value), found[1].dtype, found[1]))
        quantizers += found[0]
        aliases.update({_name(extra.outputs[0]): key for extra in found[0][1:]})
    inputs = tuple(
        source if source is not None else _operand(value, reader) if value is not None else None
        for source, value in zip(sources, parts.inputs, strict=True)
    )
    unit = Unit(parts.op, _label(node), parts.attributes, inputs, tuple(outputs), parts.clamp)
    problem = integer.reason(unit, PARAMETERS.get(parts.op, ()))
    if problem:
        reader.notes.append((unit.node, f"{unit.node} ({unit.op}) computes in float: {problem}"))
        return None
    reader.taken.update(quantizers)
    reader.aliases.update(aliases)
    return integer.with_bias(unit)


def _read_quantize(node: ir.Node, reader: _Reader) -> None:
    """A QuantizeLinear that no kernel took: QUANTIZE of a float tensor, or of another integer tensor."""
    value, result = node.inputs[0], node.outputs[0]
    said = reader.constants.params(node)
    if value is None or said is None or said.axis is not None:
        operands = tuple(None if v is None else _operand(v, reader) for v in node.inputs)
        outputs = (_operand(result, reader),)
        reader.units.append(Unit(node.op_type, _label(node), attributes_of(node), operands, outputs))
        return
    quant = as_signed(said) if _is_private(result, reader) else said
    source = _quantized(value, reader)
    if source is None or source.const is not None:
        source = _operand(value, reader)
    output = Operand(_name(result), shape_of(value), quant.dtype, quant)
    reader.units.append(Unit(node.op_type, _label(node), {}, (source,), (output,)))


def _live(units: Sequence[Unit], wanted: set[str]) -> Iterator[Unit]:
    """The units that the outputs need, in order; parameters of an operator do not keep anything alive."""
    alive: list[Unit] = []
    for unit in reversed(units):
        if any(out.key in wanted for out in unit.outputs):
            computable = COMPUTABLE.get(unit.op, ())
            parameters = [index for index in PARAMETERS.get(unit.op, ()) if index not in computable]
            wanted.update(
                operand.key
                for index, operand in enumerate(unit.inputs)
                if operand is not None and operand.const is None and index not in parameters
            )
            alive.append(unit)
    return reversed(alive)
