"""Program + LayoutPlan -> Graph: walk the units, look each operator up, let it emit.

One row per ONNX operator; a duplicate is an error. An operator that is not in the table, or whose lowering
refuses it, becomes a ``Rejection``; the walk goes on, so that all are reported at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import onnx_ir as ir

from edgekit.backends.litert import close_bodies
from edgekit.backends.litert.close_bodies import as_model
from edgekit.backends.litert.constants import dequantize
from edgekit.backends.litert.layout import LayoutPlan, decide
from edgekit.backends.litert.layouts import Layout, identity
from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.ops import (
    bits,
    blocks,
    control,
    conv,
    conv_transpose,
    detection,
    dynamic,
    einsum,
    elementwise,
    gather,
    matrix,
    ngrams,
    normalize,
    order,
    pool,
    quantized,
    recurrent,
    reduce,
    resize,
    sampling,
    scatter,
    shape,
    signal,
    trigonometric,
)
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.refusal import BodyRefusedError, FloatOnlyError, RefusedError
from edgekit.backends.litert.step import TENSOR_DTYPES, Step, Tensors, known, reshape_into
from edgekit.backends.litert.tensors import Graph, GraphBuilder
from edgekit.backends.litert.tidy import tidy
from edgekit.backends.litert.units import Program, read
from edgekit.backends.litert.wider import wider_type
from edgekit.errors import closest
from edgekit.spec import Rejection

Lowering = Callable[[Step], None]


def merged(*tables: Mapping[str, Lowering]) -> dict[str, Lowering]:
    """One table out of the families' tables.

    Raises:
        ValueError: two families claim one operator.
    """
    out: dict[str, Lowering] = {}
    for table in tables:
        twice = sorted(out.keys() & table.keys())
        if twice:
            raise ValueError(f"two lowerings for {', '.join(twice)}")
        out.update(table)
    return out


LOWERINGS: dict[str, Lowering] = merged(
    bits.LOWERINGS,
    blocks.LOWERINGS,
    conv.LOWERINGS,
    conv_transpose.LOWERINGS,
    detection.LOWERINGS,
    dynamic.LOWERINGS,
    einsum.LOWERINGS,
    elementwise.LOWERINGS,
    gather.LOWERINGS,
    matrix.LOWERINGS,
    ngrams.LOWERINGS,
    normalize.LOWERINGS,
    order.LOWERINGS,
    pool.LOWERINGS,
    quantized.LOWERINGS,
    recurrent.LOWERINGS,
    reduce.LOWERINGS,
    resize.LOWERINGS,
    sampling.LOWERINGS,
    scatter.LOWERINGS,
    shape.LOWERINGS,
    signal.LOWERINGS,
    trigonometric.LOWERINGS,
)


class Ends(Enum):
    """What the outputs of a graph may be."""

    OWN = "own"
    """A tensor of its own each."""
    SHARED = "shared"
    """Also an input or a constant, several times: the branches of IF (if.cc copies those itself)."""


@dataclass(frozen=True)
class Lowered:
    """The graph, or why there is none.

    Attributes:
        graph: complete only if ``rejections`` is empty.
        rejections: one per unit that cannot be written.
        notes: what the user should know.
    """

    graph: Graph
    rejections: tuple[Rejection, ...]
    notes: tuple[str, ...]


def lower(program: Program, plan: LayoutPlan, *, ends: Ends = Ends.OWN) -> Lowered:
    """Write every unit of ``program`` in the layouts of ``plan``; ``ends``: what an output may be."""
    builder = GraphBuilder()
    tensors = Tensors(builder)
    rejections: list[Rejection] = []
    notes: list[str] = []
    inputs = [
        _input(operand, layout, tensors, rejections)
        for operand, layout in zip(program.inputs, plan.inputs, strict=True)
    ]
    for unit, ports in zip(program.units, plan.units, strict=True):
        try:
            with _int32_or_refused():
                _lower_unit(Step(unit, ports, tensors, notes), notes)
        except (RefusedError, BodyRefusedError) as error:
            rejections.extend(_rejections(unit.node, error))
            for index, out in enumerate(unit.outputs):
                if out.key not in tensors:
                    placeholder = builder.tensor(out.key, out.dtype, out.shape)
                    tensors.set(out.key, placeholder, ports.outputs[index], logical=out.shape)
    outputs: list[int] = []
    for operand, layout in zip(program.outputs, plan.outputs, strict=True):
        outputs.append(_output(operand, layout, tensors, ends=ends, taken={*inputs, *outputs}))
    _name_outputs(builder, outputs, [operand.key for operand in program.outputs], inputs=inputs)
    graph = Graph(
        tuple(builder.tensors),
        tuple(builder.operators),
        tuple(inputs),
        tuple(outputs),
        tuple(operand.key for operand in program.inputs),
        tuple(operand.key for operand in program.outputs),
    )
    return Lowered(tidy(graph), tuple(rejections), tuple(notes))


def _rejections(node: str, error: RefusedError | BodyRefusedError) -> Sequence[Rejection]:
    if isinstance(error, BodyRefusedError):
        return error.rejections
    return (Rejection(node, error.rule, error.reason, error.remedy),)


def _lower_unit(step: Step, notes: list[str]) -> None:
    unit = step.unit
    lowering = LOWERINGS.get(unit.op)
    control_lowering = control.LOWERINGS.get(unit.op)
    if lowering is None and control_lowering is None:
        near = closest(unit.op, LOWERINGS)
        raise RefusedError(
            "unknown-operator",
            f"there is no lowering for {unit.op}"
            + (f" (there is one for {', '.join(near)})" if near else ""),
            "replace the operator in the model, or choose a target that runs it, such as onnxruntime-cpu",
        )
    for operand in (*unit.inputs, *unit.outputs):
        if operand is not None and not known(operand.shape):
            raise RefusedError(
                "shape-unknown",
                f"the rank of {operand.key!r} is not known",
                "export with shapes, or run onnx.shape_inference on the model",
            )
    if control_lowering is not None:
        ends = Ends.SHARED if unit.op == close_bodies.IF else Ends.OWN
        control_lowering(step, partial(_body, ends=ends, notes=notes))
        return
    assert lowering is not None  # noqa: S101  (refused above)
    wider = wider_type(unit)
    if wider:
        step.note(f"computes in {wider}")
        _in_wider(step, lowering, wider)
        return
    try:
        lowering(step)
    except FloatOnlyError as error:
        step.note(f"computes in float: {error}")
        _in_float(step, lowering)


@contextlib.contextmanager
def _int32_or_refused() -> Iterator[None]:
    """NumPy raises where a number of the model (int64) does not fit into what TFLite keeps it as."""
    try:
        yield
    except OverflowError as error:
        raise RefusedError(
            "number-too-large",
            f"a number does not fit: {error}",
            "sizes and paddings in TFLite are int32: correct the attribute",
        ) from error


def _body(body: ir.Graph, *, ends: Ends, notes: list[str]) -> control.Body:
    """A closed body, as a model is."""
    program = read(as_model(body))
    lowered = lower(program, decide(program, free_io=False), ends=ends)
    if lowered.rejections:
        raise BodyRefusedError(lowered.rejections)
    notes.extend((*program.notes, *lowered.notes))
    return control.Body(program, lowered.graph)


def _in_float(step: Step, lowering: Lowering) -> None:
    """An integer unit between DEQUANTIZE and QUANTIZE, in the same layouts."""
    unit, tensors = step.unit, step.tensors
    inputs: list[Operand | None] = []
    for index, operand in enumerate(unit.inputs):
        if operand is None or operand.quant is None:
            inputs.append(operand)
        elif operand.const is not None:
            real = dequantize(operand.const, operand.quant)
            inputs.append(Operand(f"{operand.key}/float", real.shape, "float32", None, real))
        else:
            float_operand = Operand(f"{unit.node}/input{index}", operand.shape, "float32")
            layout = step.ports.inputs[index] or identity(operand.rank)
            quantized = step.x(index)
            tensor = step.emit("DEQUANTIZE", [quantized], step.shape(quantized), dtype="float32")
            tensors.set(float_operand.key, tensor, layout, logical=operand.shape)
            inputs.append(float_operand)
    outputs = tuple(Operand(f"{out.key}/float", out.shape, "float32") for out in unit.outputs)
    lowering(step.of(replace(unit, inputs=tuple(inputs), outputs=outputs)))
    for index, out in enumerate(outputs):
        step.quantize(tensors.get(out.key, step.ports.outputs[index]), index=index)


def _in_wider(step: Step, lowering: Lowering, dtype: str) -> None:
    """A unit between CASTs: inputs and outputs of the first input's type become ``dtype``."""
    unit, tensors = step.unit, step.tensors
    own = step.operand(0).dtype
    inputs: list[Operand | None] = []
    for index, operand in enumerate(unit.inputs):
        if operand is None or operand.dtype != own:
            inputs.append(operand)
        elif operand.const is not None:
            data = operand.const.astype(dtype)
            inputs.append(Operand(f"{operand.key}/wide", operand.shape, dtype, None, data))
        else:
            wide = Operand(f"{unit.node}/wide{index}", operand.shape, dtype)
            layout = step.ports.inputs[index] or identity(operand.rank)
            tensor = Terms(step).cast(step.x(index), dtype)
            tensors.set(wide.key, tensor, layout, logical=operand.shape)
            inputs.append(wide)
    outputs = tuple(
        Operand(f"{out.key}/wide", out.shape, dtype) if out.dtype == own else out for out in unit.outputs
    )
    lowering(step.of(replace(unit, inputs=tuple(inputs), outputs=outputs)))
    for index, (out, wide) in enumerate(zip(unit.outputs, outputs, strict=True)):
        if out is not wide:
            made = tensors.get(wide.key, step.ports.outputs[index])
            step.alias(Terms(step).cast(made, out.dtype), index=index)


def _input(operand: Operand, layout: Layout, tensors: Tensors, rejections: list[Rejection]) -> int:
    if operand.dtype not in TENSOR_DTYPES or not known(operand.shape):
        rejections.append(
            Rejection(
                operand.key,
                "input-type",
                f"model input {operand.key!r} is {operand.dtype} of shape {operand.shape}",
                f"use one of {', '.join(sorted(TENSOR_DTYPES))} and a known rank",
            )
        )
    shape = layout.shape(operand.shape)
    tensor = tensors.builder.tensor(operand.key, operand.dtype, shape, quant=operand.quant)
    tensors.builder.inputs.append(tensor)
    tensors.set(operand.key, tensor, layout, logical=operand.shape)
    return tensor


def _name_outputs(builder: GraphBuilder, outputs: list[int], names: list[str], *, inputs: list[int]) -> None:
    """Give each output its reference name; what had it (the same value in another layout) takes another."""
    for index, tensor in enumerate(builder.tensors):
        if tensor.name in names and index not in {*outputs, *inputs}:
            builder.rename(index, f"{tensor.name}/stored")
    for index, name in zip(outputs, names, strict=True):
        builder.rename(index, name)


def _output(operand: Operand, layout: Layout, tensors: Tensors, *, ends: Ends, taken: set[int]) -> int:
    """The output's tensor; a copy where it is an input, a constant, or another output already."""
    builder = tensors.builder
    if operand.const is not None:
        source = builder.constant(f"{operand.key}/value", operand.const)
    else:
        source = tensors.get(operand.key, layout)
    tensor = builder.tensors[source]
    if ends is Ends.SHARED and (tensor.data is not None or source in builder.inputs):
        return source
    if source not in taken and tensor.data is None:
        return source
    copy = builder.tensor(operand.key, tensor.dtype, tensor.shape, quant=tensor.quant)
    reshape_into(builder, source, copy)
    return copy
