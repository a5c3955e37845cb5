"""Float model x target's kernels x ranges -> QuantPlan. Decides everything; changes nothing.

    match    each node, with the activation behind it, against the target's rows; the longest row wins;
             what the caller keeps in float is no row's
    prune    what does not pay: an island without a weighted operator, a probability nobody reads as integer
    share    values that a kernel wants in one scale are joined (MaxPool, Reshape, Concat, ...)
    scale    range -> scale and zero point; prescribed scales (Softmax) as the target says

D1: the fused activation is inside the kernel: the integer value is the Relu's output, not the Conv's. A bias
    that is added behind a MatMul is inside too (MatMul+Add).
D2: a Clip from 0 to m ends the range at m, so that saturation does the clamping.
D3: a shared group takes the union of its ranges; a group with a prescribed scale takes that one, and an
    operator whose other values do not fit into it stays float.
D4: asymmetric int8 is written in its uint8 form (zero point + 128): the same reals, and the one form that
    every runtime reads (OpenVINO 2026.4 refuses signed asymmetric activations under its bf16 hint). A back
    end whose kernels are signed subtracts the 128 again.
D5: quantization at the model's edge: an input is quantized where its first kernel reads integers, an output
    of a kernel is given back as float through DequantizeLinear.
D6: output "read": the kernel's result is integer only where a kernel reads it. Then everybody reads it so
    (``apply``, A2): the runtime has one form of it.

Source: onnxruntime's qdq_selectors, OpenVINO's low precision transformations, the TFLite quantization
specification; each row of targets/*.toml names its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit.ir.digest import digest
from edgekit.ir.graph import constant, is_float32, is_onnx, sole_reader
from edgekit.passes.fuse_activation import clip_bounds
from edgekit.quantization.arithmetic import (
    activation_params,
    below,
    bias_params,
    dequantize,
    normalized,
    weight_params,
    with_room_for_bias,
)
from edgekit.quantization.bias_place import bias_value
from edgekit.quantization.constraints import (
    CONSTRAINTS,
    FROM_INT8,
    INSIDE_INT8,
    NEIGHBOURS,
    Match,
    check_constraints,
    float_inputs,
)
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight, plan_from_json
from edgekit.quantization.shared import Groups
from edgekit.spec import Precision, QuantParams, Range, Rejection
from edgekit.target import Kernel, Target

COMMUTATIVE = ("Add",)  # fused behind a head whichever operand its result is

__all__ = ["QuantOperator", "QuantPlan", "QuantWeight", "place", "plan_from_json"]


@dataclass(frozen=True)
class _Placed:
    """A kernel on its nodes."""

    nodes: Match
    kernel: Kernel

    @property
    def head(self) -> ir.Node:
        return self.nodes[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        return float_inputs(self.head)

    @property
    def output(self) -> str:
        return self.nodes[-1].outputs[0].name or ""

    @property
    def weighted(self) -> bool:
        return self.kernel.weight != "none"


def place(
    model: ir.Model,
    target: Target,
    ranges: Mapping[str, Range],
    *,
    precision: Precision = Precision.W8A8,
    keep_float: Mapping[str, Rejection] | None = None,
) -> QuantPlan:
    """Decide what ``target`` computes in integers.

    Args:
        model: canonical float model; untouched.
        target: whose kernel rows are asked.
        ranges: by value name, from calibration of this model.
        precision: which rows: w8a8 or w8a16.
        keep_float: nodes that stay float whatever the rows say, by name, each with the reason. An operator
            that a kernel would fuse is named by itself: its kernel then ends in front of it.

    Raises:
        RecipeError: a kernel row names an unknown constraint or scheme.
    """
    check_constraints(target)
    left: dict[str, Rejection] = {}
    rows = target.kernels(precision)
    placed = _prune(model, _match(model, rows, ranges, left, keep_float=keep_float or {}), left)
    while True:
        shared, groups = _share(placed, target, ranges, left)
        kept = _prune(model, shared, left)
        if len(kept) == len(placed):
            break
        placed = kept
    activations = _activations(placed, groups, target, ranges)
    operators = tuple(_operator(item, activations) for item in placed)
    order = {node.name: index for index, node in enumerate(model.graph)}
    return QuantPlan(
        model_digest=digest(model),
        operators=operators,
        activations=dict(sorted(activations.items())),
        left_float=tuple(sorted(left.values(), key=lambda item: order[item.node])),
    )


# --- match ---------------------------------------------------------------------------------------------


def _match(
    model: ir.Model,
    kernels: tuple[Kernel, ...],
    ranges: Mapping[str, Range],
    left: dict[str, Rejection],
    *,
    keep_float: Mapping[str, Rejection],
) -> list[_Placed]:
    rows: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        rows.setdefault(kernel.head, []).append(kernel)
    placed: list[_Placed] = []
    taken: set[str] = set()
    for node in model.graph:
        name = node.name or ""
        if name in taken or not any(is_float32(value) for value in node.outputs):
            continue
        if name in keep_float:
            left[name] = keep_float[name]
            continue
        known = rows.get(node.op_type, []) if is_onnx(node, node.op_type) else []
        found = _best(node, known, ranges, keep_float=keep_float)
        if isinstance(found, _Placed):
            placed.append(found)
            taken.update(item.name or "" for item in found.nodes)
        else:
            left[name] = found
    return placed


def _best(
    node: ir.Node, rows: list[Kernel], ranges: Mapping[str, Range], *, keep_float: Mapping[str, Rejection]
) -> _Placed | Rejection:
    """The longest row that takes ``node`` and what follows it, or why there is none."""
    why = Rejection(
        node.name or "",
        "no-kernel",
        f"the target has no integer kernel for {node.op_type}",
        "nothing to do: it runs in float",
    )
    for kernel in sorted(rows, key=lambda row: -len(row.fused)):
        nodes = _chain(node, kernel)
        if nodes is None or any(item.name in keep_float for item in nodes):
            continue
        reason = next(
            (
                (name, CONSTRAINTS[name](nodes))
                for name in kernel.constraints
                if name not in NEIGHBOURS and CONSTRAINTS[name](nodes)
            ),
            None,
        )
        if reason is not None:
            why = Rejection(node.name or "", reason[0], reason[1], "nothing to do: it runs in float")
            continue
        found = _Placed(nodes, kernel)
        missing = [name for name in (*found.inputs, found.output) if name not in ranges]
        if missing or not found.inputs:
            what = f"no range for {missing[0]!r}" if missing else "none of its inputs is a float activation"
            why = Rejection(
                node.name or "", "no-range", what, "calibrate this very model with `edgekit calibrate`"
            )
            continue
        return found
    return why


def _chain(node: ir.Node, kernel: Kernel) -> list[ir.Node] | None:
    """``node`` and the nodes that the kernel fuses behind it, if nobody else looks at what is between."""
    nodes = [node]
    for operator in kernel.fused:
        following = sole_reader(nodes[-1].outputs[0])
        if following is None or not is_onnx(following, operator):
            return None
        if following.inputs[0] is not nodes[-1].outputs[0] and operator not in COMMUTATIVE:
            return None
        nodes.append(following)
    return nodes


# --- prune ---------------------------------------------------------------------------------------------


def _prune(model: ir.Model, placed: list[_Placed], left: dict[str, Rejection]) -> list[_Placed]:
    """Without what does not pay, until nothing changes."""
    current = placed
    while True:
        kept = _without_islands(_without_edges(model, current, left), left)
        if len(kept) == len(current):
            return kept
        current = kept


def _without_edges(model: ir.Model, placed: list[_Placed], left: dict[str, Rejection]) -> list[_Placed]:
    """A kernel that wants integer neighbours stays only where it has them.

    inside-int8: every reader of its output is a kernel. from-int8: every activation comes from a kernel, or
    is an input of the model, which may be integer itself.
    """
    readers = {item.head.name for item in placed}
    made = {*(item.output for item in placed), *(value.name for value in model.graph.inputs)}
    outputs = {value.name for value in model.graph.outputs}
    kept = []
    for item in placed:
        value, wanted = item.nodes[-1].outputs[0], item.kernel.constraints
        inside = value.name not in outputs and all(use.node.name in readers for use in value.uses())
        if INSIDE_INT8 in wanted and not inside:
            why = (
                f"its result leaves the integer part: 8 bits of {item.head.op_type} would cost accuracy and "
            )
            _leave(left, item, INSIDE_INT8, f"{why}save nothing")
        elif FROM_INT8 in wanted and not made.issuperset(item.inputs):
            first = next(name for name in item.inputs if name not in made)
            _leave(
                left,
                item,
                FROM_INT8,
                f"{first!r} is float: rounding it for {item.head.op_type} saves nothing",
            )
        else:
            kept.append(item)
    return kept


def _without_islands(placed: list[_Placed], left: dict[str, Rejection]) -> list[_Placed]:
    """Connected kernels without one weighted operator among them cost conversions and save nothing."""
    groups = Groups()
    for item in placed:
        for name in item.inputs:
            groups.join(name, item.output)
    paying = {groups.root(item.output) for item in placed if item.weighted}
    kept = []
    for item in placed:
        if groups.root(item.output) in paying:
            kept.append(item)
        else:
            _leave(left, item, "island", "no Conv, Gemm or MatMul beside it runs in integers")
    return kept


def _leave(left: dict[str, Rejection], item: _Placed, rule: str, reason: str) -> None:
    for node in item.nodes:
        left[node.name or ""] = Rejection(node.name or "", rule, reason, "nothing to do: it runs in float")


# --- share ---------------------------------------------------------------------------------------------


def _share(
    placed: list[_Placed], target: Target, ranges: Mapping[str, Range], left: dict[str, Rejection]
) -> tuple[list[_Placed], Groups]:
    """Join values that must have one scale; leave float what would not fit into a prescribed one (D3)."""
    groups = Groups()
    fixed = {
        item.output: _fixed_range(item, target) for item in placed if item.head.op_type in target.fixed_scale
    }
    kept = []
    for item in placed:
        if item.kernel.output != "same":
            kept.append(item)
            continue
        names = [*item.inputs, item.output]
        members = {member for name in names for member in groups.members(name)}
        prescribed = [fixed[name] for name in sorted(members) if name in fixed]
        outside = [
            name
            for name in sorted(members)
            if prescribed and name not in fixed and not _inside(ranges[name], prescribed[0])
        ]
        if outside or len(set(prescribed)) > 1:
            what = repr(outside[0]) if outside else "another prescribed scale"
            _leave(left, item, "fixed-scale", f"{what} does not fit into the scale of its neighbour")
            continue
        for name in names:
            groups.join(name, item.output)
        kept.append(item)
    return kept, groups


def _fixed_params(item: _Placed, target: Target) -> QuantParams:
    row = target.fixed_scale[item.head.op_type]
    dtype = "uint8" if item.kernel.activation.startswith("u8") else "int8"
    return QuantParams(dtype, (row.scale,), (row.zero_point,))


def _fixed_range(item: _Placed, target: Target) -> Range:
    params = _fixed_params(item, target)
    ends = np.array([0, 255] if params.dtype == "uint8" else [-128, 127])
    low, high = dequantize(ends, params).tolist()
    return Range(low, high)


def _inside(inner: Range, outer: Range) -> bool:
    return outer.low <= inner.low and inner.high <= outer.high


# --- scale ---------------------------------------------------------------------------------------------


def _activations(
    placed: list[_Placed], groups: Groups, target: Target, ranges: Mapping[str, Range]
) -> dict[str, QuantParams]:
    read = {name for item in placed for name in item.inputs}
    schemes: dict[str, str] = {}
    for item in placed:
        written = item.kernel.output != "read" or item.output in read  # D6
        for name in (*item.inputs, *([item.output] if written else [])):
            schemes.setdefault(name, item.kernel.activation)
    limits: dict[str, float] = {}
    fixed: dict[str, QuantParams] = {}
    for item in placed:
        if item.head.op_type in target.fixed_scale:
            fixed[groups.root(item.output)] = _fixed_params(item, target)
        elif item.nodes[-1].op_type == "Clip":
            high = clip_bounds(item.nodes[-1])[1]
            if high is not None:
                limits[item.output] = high
    found: dict[str, QuantParams] = {}
    for name in sorted(schemes):
        root = groups.root(name)
        if root in fixed:
            found[name] = normalized(fixed[root])
            continue
        members = sorted(groups.members(name))
        union = Range(
            min(ranges[member].low for member in members), max(ranges[member].high for member in members)
        )
        bounds = [limits[member] for member in members if member in limits]
        params = activation_params(schemes[name], union)
        # D2. In a group with an unclamped member the union may be wider than the Clip, which then stays.
        if bounds and union.high <= max(bounds):
            params = below(params, max(bounds))
        found[name] = normalized(params) if schemes[name].endswith(":asym") else params
    return found


def _operator(item: _Placed, activations: Mapping[str, QuantParams]) -> QuantOperator:
    weight, bias = _weight(item, activations)
    return QuantOperator(
        name=item.head.name or "",
        pattern=item.kernel.pattern,
        nodes=tuple(node.name or "" for node in item.nodes),
        inputs=item.inputs,
        output=item.output,
        weight=weight,
        bias=bias,
    )


def _weight(
    item: _Placed, activations: Mapping[str, QuantParams]
) -> tuple[QuantWeight | None, QuantWeight | None]:
    if not item.weighted:
        return None, None
    source = item.head.inputs[1]
    array = constant(source)
    if source is None or array is None or source.name is None:
        return None, None
    axis = 1 if item.head.op_type == "MatMul" else 0  # (out, in, ...) for Conv and Gemm, (in, out) for MatMul
    params = weight_params(item.kernel.weight, array, axis=axis)
    stored: Literal["", "uint8"] = "uint8" if item.kernel.weight.startswith("u8:") else ""
    bias = bias_value(item.nodes)
    bias_array = constant(bias)
    if bias is None or bias_array is None or bias.name is None:
        return QuantWeight(source.name, params, stored=stored), None
    scale = activations[item.inputs[0]].scale[0]
    params = with_room_for_bias(params, bias_array, input_scale=scale)
    weight = QuantWeight(source.name, params, stored=stored)
    return weight, QuantWeight(bias.name, bias_params(scale, params, channels=bias_array.size))
