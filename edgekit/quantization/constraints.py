"""Ids in a target's kernel rows -> predicates over one operator of the model.

A predicate returns "" where the kernel takes the operator, and otherwise the reason why it does not. The
table is the whole vocabulary; an unknown id is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import RecipeError, closest
from edgekit.ir.graph import constant, float_attribute, int_attribute, is_float32, is_onnx, rank
from edgekit.passes.fuse_activation import clip_bounds
from edgekit.quantization.bias_place import bias_value
from edgekit.target import Target

Match = Sequence[ir.Node]
"""The nodes of one kernel, the head first."""

Predicate = Callable[[Match], str]

BLOCK = 32  # values that share the scale of an int4 weight: MatMulNBits' usual block, and what w4 means here

MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")

SMALLEST_WEIGHT = 1024
"""Elements. Below, a float weight costs less than finding the scale of its input does; TFLite's converter has
the same default (tensorflow/lite/tools/optimize/quantize_weights.cc, kWeightsMinNumElementsDefault)."""


def _const_weight(match: Match) -> str:
    head = match[0]
    weight = constant(head.inputs[1]) if len(head.inputs) > 1 else None
    if weight is None or weight.dtype != np.float32:
        return "its weight is not a float32 constant"
    if not np.isfinite(weight).all():
        return "its weight is not finite"
    if len(head.inputs) > 2 and head.inputs[2] is not None and constant(head.inputs[2]) is None:
        return "its bias is not a constant"
    return ""


def _rank_4(match: Match) -> str:
    found = rank(match[0].inputs[0])
    return "" if found == 4 else f"its input has rank {found}, the kernel takes 4"


def _plain_gemm(match: Match) -> str:
    head = match[0]
    if int_attribute(head, "transA", 0) or not int_attribute(head, "transB", 0):
        return "it is no dense layer (transA = 0, transB = 1)"
    bias = constant(head.inputs[2]) if len(head.inputs) > 2 else None
    weight = constant(head.inputs[1])
    if bias is not None and weight is not None and bias.shape != weight.shape[:1]:
        return f"its bias has shape {bias.shape}, not one value per output"
    return ""


def _weight_rank_2(match: Match) -> str:
    found = rank(match[0].inputs[1])
    return "" if found == 2 else f"its weight has rank {found}, the kernel takes 2"


def _unscaled_gemm(match: Match) -> str:
    head = match[0]
    if float_attribute(head, "alpha", 1.0) != 1.0 or float_attribute(head, "beta", 1.0) != 1.0:
        return "its product or its bias is multiplied (alpha or beta is not 1)"
    return ""


def _large_weight(match: Match) -> str:
    found = next((array for array in map(constant, match[0].inputs) if array is not None), None)
    if found is not None and found.size < SMALLEST_WEIGHT:
        return f"its weight has {found.size} elements; below {SMALLEST_WEIGHT} integers save nothing"
    return ""


def _whole_blocks(match: Match) -> str:
    head = match[0]
    weight = constant(head.inputs[1]) if len(head.inputs) > 1 else None
    depth = None if weight is None or weight.ndim != 2 else weight.shape[0 if head.op_type == "MatMul" else 1]
    if depth is None or depth % BLOCK:
        return f"the sum of its product has {depth} terms, not a multiple of {BLOCK}"
    return ""


def _table(match: Match) -> str:
    head = match[0]
    table = constant(head.inputs[0])
    if table is None or table.dtype != np.float32 or table.ndim != 2:
        return "it gathers from something else than a constant float32 matrix"
    if not np.isfinite(table).all():
        return "its table is not finite"
    if int_attribute(head, "axis", 0) % 2:
        return "it gathers columns, not rows"
    return ""


def _const_bias(match: Match) -> str:
    bias, weight = constant(bias_value(match)), constant(match[0].inputs[1])
    if bias is None or bias.dtype != np.float32 or weight is None or bias.shape != weight.shape[-1:]:
        return "what is added to it is not one constant for each output"
    return ""


def _unmoved(match: Match) -> str:
    moves = [use.node for use in match[-1].outputs[0].uses() if is_onnx(use.node, *MOVES)]
    if moves:
        return f"{moves[0].op_type} moves its result: OpenVINO would move integers, and not inside attention"
    return ""


def _clip_from_zero(match: Match) -> str:
    low, high = clip_bounds(match[-1])
    if low != 0.0 or high is None or high <= 0.0:
        return f"its Clip goes from {low} to {high}; the kernel clamps from 0 to a constant"
    return ""


def _two_activations(match: Match) -> str:
    inputs = match[0].inputs
    if len(inputs) != 2 or any(constant(value) is not None for value in inputs):
        return "one operand is a constant; the kernel adds two activations"
    return ""


def _fed_operands(match: Match) -> str:
    known = [value for value in match[0].inputs if value is not None and not _is_fed(value)]
    return f"{known[0].name!r} is a constant as soon as the shapes are fixed" if known else ""


def _is_fed(value: ir.Value) -> bool:
    """Whether it depends on the values of an input, and not on its shape alone."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        current = waiting.pop()
        producer = current.producer()
        if producer is None and current.const_value is None:
            return True
        if producer is None or current in seen or is_onnx(producer, "Shape", "Size"):
            continue
        seen.add(current)
        waiting.extend(each for each in producer.inputs if each is not None)
    return False


def _no_silu(match: Match) -> str:
    head = match[0]
    for gate, other in (head.inputs, head.inputs[::-1]) if len(head.inputs) == 2 else ():
        sigmoid = gate.producer() if gate is not None else None
        if sigmoid is not None and is_onnx(sigmoid, "Sigmoid") and sigmoid.inputs[0] is other:
            return "it is the product of a SiLU, which is one float kernel on OpenVINO"
    return ""


def _no_indices(match: Match) -> str:
    return "it also returns indices" if len(match[0].outputs) > 1 else ""


def _spatial_mean(match: Match) -> str:
    node = match[0]
    size = rank(node.inputs[0])
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if size != 4 or axes is None or sorted(int(axis) % 4 for axis in axes.ravel()) not in ([1, 2], [2, 3]):
        return "it is no mean over both spatial axes of a rank 4 tensor"
    return ""


def _const_parameters(match: Match) -> str:
    missing = [v.name for v in match[0].inputs[1:] if v is not None and constant(v) is None]
    return f"{missing[0]!r} is computed while running; the kernel takes a constant" if missing else ""


def _zero_pad(match: Match) -> str:
    node = match[0]
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    value = node.inputs[2] if len(node.inputs) > 2 else None
    padding = constant(value)
    if mode != "constant" or (value is not None and (padding is None or np.any(padding))):
        return "it pads with something else than zeros"
    return _const_parameters(match)


def _all_activations(match: Match) -> str:
    if any(constant(value) is not None for value in match[0].inputs):
        return "one operand is a constant"
    return ""


CONSTRAINTS: Mapping[str, Predicate] = {
    "const-weight": _const_weight,
    "rank-4": _rank_4,
    "plain-gemm": _plain_gemm,
    "unscaled-gemm": _unscaled_gemm,
    "large-weight": _large_weight,
    "whole-blocks": _whole_blocks,
    "table": _table,
    "weight-rank-2": _weight_rank_2,
    "const-bias": _const_bias,
    "unmoved": _unmoved,
    "clip-from-zero": _clip_from_zero,
    "two-activations": _two_activations,
    "all-activations": _all_activations,
    "fed-operands": _fed_operands,
    "no-silu": _no_silu,
    "no-indices": _no_indices,
    "spatial-mean": _spatial_mean,
    "const-parameters": _const_parameters,
    "zero-pad": _zero_pad,
}

INSIDE_INT8, FROM_INT8 = "inside-int8", "from-int8"
"""They look at the neighbours, so ``place`` decides them: quantize only where every reader is a kernel; where
every activation comes from one, or is an input of the model."""
NEIGHBOURS = (INSIDE_INT8, FROM_INT8)


def check_constraints(target: Target) -> None:
    """Every constraint id of the target is known.

    Raises:
        RecipeError: one is not.
    """
    known = (*CONSTRAINTS, *NEIGHBOURS)
    for kernel in target.kernel:
        for name in kernel.constraints:
            if name not in known:
                near = closest(name, known)
                raise RecipeError(
                    f"target {target.name!r}: kernel {kernel.pattern!r} has the unknown constraint {name!r}",
                    why=f"known: {', '.join(sorted(known))}",
                    remedy=f"did you mean {near[0]!r}?" if near else "see targets/README.md",
                )


def float_inputs(node: ir.Node) -> tuple[str, ...]:
    """Names of the activations of ``node``: float32 inputs that are not constants, in order."""
    return tuple(
        value.name
        for value in node.inputs
        if value is not None and value.name and is_float32(value) and constant(value) is None
    )
