"""Operator and a working layout -> layouts of its inputs and outputs, or None where it cannot work so.

A rule answers for one unit and one *label*. The label is the layout of the first input, except for operators
with broadcasting, where it is the layout of the output. An operator that is not in the table works in the
ONNX layout.

    elementwise      any label; all inputs of full rank have it
    spatial          channels-last only (CONV_2D, pools, RESIZE of TFLite)
    axis operators   any label; the axis is renumbered (Concat, Split, Pad, Slice, reductions)
    Transpose        any label, and moves nothing: it renames the axes
    Reshape          any label that keeps runs of axes together
    matrix product   the ONNX layout, or a flattened channels-last block (the weight's rows are permuted)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.backends.litert.layouts import (
    Layout,
    before_transpose,
    channels_last,
    identity,
    same_storage,
    through_reshape,
    through_transpose,
    without_axes,
)
from edgekit.backends.litert.operands import Operand, Unit
from edgekit.backends.litert.parameters import axis_of, reduced_axes
from edgekit.backends.litert.tensors import Shape


@dataclass(frozen=True, slots=True)
class Ports:
    """Layouts at a unit's inputs and outputs; None for constants, parameters and absent inputs."""

    inputs: tuple[Layout | None, ...]
    outputs: tuple[Layout, ...]


Rule = Callable[[Unit, Layout], Ports | None]


def ports(unit: Unit, label: Layout) -> Ports | None:
    """Layouts at the ports of ``unit`` when it works in ``label``; None where it cannot."""
    if len(label.perm) != label_rank(unit):
        return None
    return RULES.get(unit.op, plain)(unit, label)


def seeds(unit: Unit) -> list[Layout]:
    """Labels worth trying whatever the neighbours do."""
    rank = label_rank(unit)
    found = [identity(rank), channels_last(rank)]
    if unit.op in {"Softmax", "LogSoftmax"}:
        axis = axis_of(unit, rank, default=-1)
        found.append(Layout((*(a for a in range(rank) if a != axis), axis)))
    return list(dict.fromkeys(found))


def pulled(unit: Unit, output: Layout) -> Layout | None:
    """The label for which ``unit`` gives its first output in ``output``, if there is an obvious one."""
    if unit.op == "Transpose":
        return before_transpose(output, transpose_perm(unit))
    if unit.op in RESHAPES and unit.inputs[0] is not None:
        return through_reshape(output, unit.outputs[0].shape, unit.inputs[0].shape)
    return output


def label_rank(unit: Unit) -> int:
    """Rank of the tensor that the label describes."""
    first = unit.operand(0)
    return unit.outputs[0].rank if unit.op in BROADCASTING or first is None else first.rank


def transpose_perm(unit: Unit) -> tuple[int, ...]:
    """Permutation of a Transpose; reversed axes where it names none."""
    rank = label_rank(unit)
    perm = unit.attributes.get("perm")
    return tuple(int(axis) for axis in perm) if perm else tuple(reversed(range(rank)))


def aligned(operand: Operand, rank: int) -> Shape:
    """Shape of ``operand`` with leading axes of size 1 up to ``rank``."""
    return (*(1,) * (rank - operand.rank), *operand.shape)


def plain(unit: Unit, label: Layout) -> Ports | None:
    """The ONNX layout everywhere."""
    if not label.is_identity:
        return None
    return Ports(
        tuple(identity(x.rank) if x is not None and x.runtime else None for x in unit.inputs),
        tuple(identity(out.rank) for out in unit.outputs),
    )


def _elementwise(unit: Unit, label: Layout) -> Ports | None:
    out = unit.outputs[0]
    wanted: list[Layout | None] = []
    for operand in unit.inputs:
        if operand is None or not operand.runtime:
            wanted.append(None)
        elif operand.rank == out.rank and (not label.flat or operand.shape[-1] == out.shape[-1]):
            wanted.append(label)
        else:
            shape = aligned(operand, out.rank)
            if label.flat and shape[-1] != 1:
                return None
            if not label.flat and not same_storage(shape, label, identity(out.rank)):
                return None
            wanted.append(identity(operand.rank))
    if label.flat and any(not _flat_constant(x, out.shape) for x in unit.inputs if x is not None):
        return None
    return Ports(tuple(wanted), (label,) * len(unit.outputs))


def _flat_constant(operand: Operand, shape: Shape) -> bool:
    """Whether a constant can be brought into the flattened order: one element or all along the last axis."""
    return operand.runtime or operand.rank == 0 or operand.shape[-1] in {1, shape[-1]}


def _unary(unit: Unit, label: Layout) -> Ports | None:
    return Ports((label, *(None,) * (len(unit.inputs) - 1)), (label,) * len(unit.outputs))


def _quantizer(unit: Unit, label: Layout) -> Ports | None:
    """QuantizeLinear and DequantizeLinear: scales along an axis do not follow a flattened block."""
    scale = unit.operand(1)
    per_tensor = scale is None or all(dim == 1 for dim in scale.shape)
    return _unary(unit, label) if per_tensor else _first_permuted(unit, label)


def _spatial(unit: Unit, label: Layout) -> Ports | None:
    rank = label_rank(unit)
    if label != channels_last(rank) or rank < 3:
        return None
    rest = tuple(identity(x.rank) if x is not None and x.runtime else None for x in unit.inputs[1:])
    return Ports((label, *rest), (label,) * len(unit.outputs))


def is_2d_pool(unit: Unit) -> bool:
    """Whether a pool is one of TFLite's: one or two spatial axes, no dilation, no indices."""
    kernel = unit.attributes.get("kernel_shape") or ()
    dilated = any(int(d) != 1 for d in unit.attributes.get("dilations") or ())
    indices = len(unit.outputs) > 1 and bool(unit.outputs[1].key)
    return len(kernel) in {1, 2} and not dilated and not indices


def _pool(unit: Unit, label: Layout) -> Ports | None:
    return _spatial(unit, label) if is_2d_pool(unit) else plain(unit, label)


def _permuted(unit: Unit, label: Layout) -> Ports | None:
    """Operators with an axis or per-axis amounts: any permutation, no flattened block."""
    if label.flat and not label.is_identity:
        return None
    inputs = tuple(
        label if x is not None and x.runtime and x.rank == len(label.perm) else None for x in unit.inputs
    )
    return Ports(inputs, (label,) * len(unit.outputs))


def _first_permuted(unit: Unit, label: Layout) -> Ports | None:
    """As ``_permuted``, but only the first input is data."""
    return (
        None
        if label.flat
        else Ports((label, *(None,) * (len(unit.inputs) - 1)), (label,) * len(unit.outputs))
    )


def _softmax(unit: Unit, label: Layout) -> Ports | None:
    axis = axis_of(unit, len(label.perm), default=-1)
    return None if label.flat or label.perm[-1] != axis else Ports((label,), (label,))


def _reduction(unit: Unit, label: Layout) -> Ports | None:
    first = unit.inputs[0]
    if label.flat or first is None:
        return None
    rest = (None,) * (len(unit.inputs) - 1)
    parameter = unit.operand(1)
    if parameter is not None and parameter.runtime:
        return plain(unit, label)
    axes = reduced_axes(unit, first.rank)
    kept = bool(unit.attributes.get("keepdims", 1)) or not axes
    out = label if kept else without_axes(label, axes)
    return None if out is None else Ports((label, *rest), (out,))


def _arg(unit: Unit, label: Layout) -> Ports | None:
    axis = axis_of(unit, len(label.perm), default=0)
    kept = bool(unit.attributes.get("keepdims", 1))
    out = label if kept else without_axes(label, (axis,))
    return None if out is None or label.flat else Ports((label,), (out,))


def _transpose(unit: Unit, label: Layout) -> Ports | None:
    out = through_transpose(label, transpose_perm(unit))
    return None if out is None else Ports((label,), (out,))


def _reshape(unit: Unit, label: Layout) -> Ports | None:
    first = unit.inputs[0]
    if first is None:
        return None
    out = through_reshape(label, first.shape, unit.outputs[0].shape)
    return None if out is None else Ports((label, *(None,) * (len(unit.inputs) - 1)), (out,))


def _matrix(unit: Unit, label: Layout) -> Ports | None:
    """Gemm and MatMul."""
    second = unit.operand(1)
    constant = second is not None and second.const is not None and second.const.ndim == 2
    if label.flat:
        if (
            not constant
            or unit.attributes.get("transA", 0)
            or unit.inputs[0] is None
            or not unit.inputs[0].runtime
        ):
            return None
        bias = unit.operand(2)
        third = identity(bias.rank) if bias is not None and bias.runtime else None
        rest = (None, third) if len(unit.inputs) > 2 else (None,)
        return Ports((label, *rest), (identity(unit.outputs[0].rank),))
    return plain(unit, label)


def _gather(unit: Unit, label: Layout) -> Ports | None:
    """With one index per axis position (a vector or a scalar), the data may lie as it likes."""
    indices = unit.operand(1)
    first = unit.inputs[0]
    if label.is_identity or indices is None or first is None or not first.runtime:
        return plain(unit, label)
    if label.flat or indices.rank > 1:
        return None
    axis = axis_of(unit, len(label.perm), default=0)
    out = label if indices.rank == 1 else without_axes(label, (axis,))
    want = identity(indices.rank) if indices.runtime else None
    return None if out is None else Ports((label, want), (out,))


def input_ports(_unit: Unit, label: Layout) -> Ports | None:
    """A model input or output: the ONNX layout, or channels-last."""
    rank = len(label.perm)
    return Ports((label,), (label,)) if label in {identity(rank), channels_last(rank)} else None


RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Where", "Mod"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"}
)
UNARY = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip"}
    | {"Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf"}
    | {"IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Shrink", "Sinh"}
    | {
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tan",
        "Tanh",
    }
    | {"ThresholdedRelu", "Swish"}
)
REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"}
    | {"ReduceProd", "ReduceSum", "ReduceSumSquare"}
)
SPATIAL = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Resize",
        "DepthToSpace",
        "SpaceToDepth",
    }
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(BROADCASTING, _elementwise),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(SPATIAL, _spatial),
    **dict.fromkeys(RESHAPES, _reshape),
    "ArgMax": _arg,
    "ArgMin": _arg,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "Concat": _permuted,
    "BatchNormalization": _first_permuted,
    "DequantizeLinear": _quantizer,
    "Gather": _gather,
    "Gemm": _matrix,
    "LogSoftmax": _softmax,
    "MatMul": _matrix,
    "Pad": _first_permuted,
    "QuantizeLinear": _quantizer,
    "Slice": _first_permuted,
    "Softmax": _softmax,
    "Split": _first_permuted,
    "Tile": _first_permuted,
    "Transpose": _transpose,
    "[input]": input_ports,
    "[output]": input_ports,
}
