"""Float model x target x {dynamic, w8, w4} -> QuantPlan of integer weights. No calibration; changes nothing.

    MatMul(x, W)  ->  MatMul(x, DequantizeLinear(W_int, scale))

    w8        W is int8, one scale per output channel (per row of a table that is gathered from)
    w4        W is int4, one scale per block of 32 along the sum
    dynamic   W is int8 as in w8, and the plan says how the runtime quantizes x in each inference

W1: an operator is taken where a row of the target for that precision takes it; the row's reason is kept else.
W2: operators without a weight are not mentioned: they stay float in all three precisions.
W4: an override names fp32 (the operator stays float), or w8 or w4 where weights alone become integers.
W3: a weight that two operators read is quantized for each as its own row says; equal forms are stored once.

Source: rows of targets/*.toml; DESIGN: one canonical form for weight-only and dynamic.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.digest import digest
from edgekit.ir.graph import constant, is_float32, is_onnx, walk
from edgekit.quantization.arithmetic import block_scales, weight_params
from edgekit.quantization.constraints import BLOCK, CONSTRAINTS, check_constraints, float_inputs
from edgekit.quantization.overrides import Override, override_rejection
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.spec import Array, Precision, QuantParams, Rejection
from edgekit.target import Kernel, Target

WEIGHT_PRECISIONS = (Precision.DYNAMIC, Precision.W8, Precision.W4)
"""Those that this module plans."""

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "LSTM", "GRU", "RNN")


class NoEligibleWeightError(InputError):
    """No operator of the model has a weight that the precision would make integer."""


def place_weights(
    model: ir.Model,
    target: Target,
    precision: Precision,
    *,
    overrides: Mapping[str, Override] | None = None,
) -> QuantPlan:
    """Decide which weights become integers on ``target``.

    Args:
        model: canonical float model; untouched.
        target: whose kernel rows of ``precision`` are asked.
        precision: one of ``WEIGHT_PRECISIONS``.
        overrides: what the user says of single nodes, by name (W4).

    Raises:
        NoEligibleWeightError: no operator is taken; the message has the reason of the first that was refused.
        RecipeError: a kernel row names an unknown constraint.
    """
    check_constraints(target)
    operators: list[QuantOperator] = []
    left: list[Rejection] = []
    for node in model.graph:
        if not is_onnx(node, *_WEIGHTED) or not _reads_float_constant(node):
            continue  # W2
        said = (overrides or {}).get(node.name or "")
        wanted = _wanted(precision, said)
        if said is not None and wanted is Precision.FP32:
            left.append(override_rejection(node.name or "", said))
            continue
        rows = [row for row in target.kernels(wanted) if row.pattern == node.op_type]
        found = _best(node, rows, target, wanted)
        if isinstance(found, Rejection):
            left.append(found)
        else:
            operators.append(_operator(node, found))
    left += [_inside(node) for node in walk(model) if node.graph is not model.graph and _is_weighted(node)]
    if not operators:
        raise NoEligibleWeightError(
            f"no operator of this model has a weight that {precision} makes integer on {target.name}",
            why=f"{left[0].node}: {left[0].reason}" if left else "none multiplies with a constant",
            remedy="use --precision fp32, or w8a8 with calibration data where the target has it",
            more=f"edgekit targets show {target.name}",
        )
    return QuantPlan(digest(model), tuple(operators), {}, tuple(left))


def _wanted(precision: Precision, said: Override | None) -> Precision:
    """W4: what an override makes of ``precision`` for one node."""
    if said is None:
        return precision
    alone = precision in {Precision.W8, Precision.W4}
    return said.precision if alone or said.precision is Precision.FP32 else precision


def _is_weighted(node: ir.Node) -> bool:
    return is_onnx(node, *_WEIGHTED) and _reads_float_constant(node)


def _reads_float_constant(node: ir.Node) -> bool:
    return any(
        is_float32(value) and constant(value) is not None for value in node.inputs if value is not None
    )


def _inside(node: ir.Node) -> Rejection:
    return Rejection(
        node.name or "",
        "control-flow",
        "it stands inside an If, Loop or Scan",
        "nothing to do: it runs in float",
    )


def _best(node: ir.Node, rows: list[Kernel], target: Target, precision: Precision) -> Kernel | Rejection:
    """W1."""
    rule, reason = "no-kernel", f"{target.name} has no {precision} kernel for {node.op_type}"
    for row in rows:
        broken = next((name for name in row.constraints if CONSTRAINTS[name]([node])), "")
        if not broken and float_inputs(node) + _indices(node):
            return row
        rule = broken or "no-activation"
        reason = CONSTRAINTS[broken]([node]) if broken else "all of its inputs are constants"
    return Rejection(node.name or "", rule, reason, "nothing to do: it runs in float")


def _indices(node: ir.Node) -> tuple[str, ...]:
    """The name of what a Gather reads its rows by, if that is computed."""
    value = node.inputs[1] if is_onnx(node, "Gather") else None
    return (value.name or "",) if value is not None and constant(value) is None else ()


def _operator(node: ir.Node, row: Kernel) -> QuantOperator:
    source = node.inputs[weight_index(node.op_type)]
    array = constant(source)
    if source is None or source.name is None or array is None:
        raise TypeError(f"{node.name} has no constant weight; the row of {row.pattern} lacks a constraint")
    return QuantOperator(
        name=node.name or "",
        pattern=row.pattern,
        nodes=(node.name or "",),
        inputs=float_inputs(node) or _indices(node),
        output=node.outputs[0].name or "",
        weight=_weight(node, row, source.name, array),
        activation=row.activation,
    )


def weight_index(operator: str) -> int:
    """Which input of ``operator`` its weight is."""
    return 0 if operator == "Gather" else 1


def _weight(node: ir.Node, row: Kernel, name: str, array: Array) -> QuantWeight:
    """Scales along the output channels, or in blocks along the sum."""
    if row.weight.startswith("s4:"):
        axis = 0 if node.op_type == "MatMul" else 1
        scales = block_scales(array, axis=axis, block=BLOCK)
        flat = tuple(float(scale) for scale in scales.ravel())
        return QuantWeight(name, QuantParams("int4", flat, (0,) * len(flat), axis), BLOCK)
    axis = 1 if node.op_type == "MatMul" else 0  # Conv, Gemm: (out, in, ...); tables: (row, ...)
    return QuantWeight(name, weight_params("s8:channel:sym", array, axis=axis))
