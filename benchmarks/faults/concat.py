"""Branches of very different size in one Concat, which has one scale.

    conv(w[:, B] / s, s * x_B) = conv(w[:, B], x_B)        B: the channels of one branch

The branch is scaled where it is made and where it is read, so the float model computes the same; the plan
gives everything that the Concat joins one scale, as ``shared_scale`` of a target says. Where models have no
Concat with a
weight on both sides, one is made: the output channels of a Conv in two halves, computed by two Convs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from benchmarks.faults.case import Case, Rng
from benchmarks.faults.channels import shuffled_pairs
from benchmarks.faults.subjects import Subject
from edgekit.ir.graph import add_initializer, constant, int_attribute, is_onnx
from edgekit.quantization.apply import apply
from edgekit.quantization.plan import QuantPlan

LARGER = 64.0


def shared(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One half of what a Concat joins is 64 times as large as the other."""
    for first, second in shuffled_pairs(subject.model, rng):
        clone = subject.model.clone()
        nodes = {node.name: node for node in clone.graph}
        if not is_onnx(nodes[first], "Conv") or int_attribute(nodes[first], "group", 1) != 1:
            continue
        if not is_onnx(nodes[second], "Conv") or int_attribute(nodes[second], "group", 1) != 1:
            continue
        joined = split_in_two(clone, nodes[first], nodes[second], LARGER)
        if joined is None:
            continue
        changed = subject.recalibrated(_named(clone))
        plan = one_scale(changed.plan(), changed.model, joined)
        if plan is None:
            continue
        candidate = apply(changed.model, plan)
        yield Case(
            "shared-concat-scale",
            subject.name,
            f"{joined}, one half times {LARGER:g}",
            changed.model,
            candidate,
            subject.feeds,
        )


def _named(model: ir.Model) -> ir.Model:
    from edgekit.passes.infer_shapes import InferShapes

    return InferShapes().apply(model)


def split_in_two(model: ir.Model, first: ir.Node, second: ir.Node, factor: float) -> str | None:
    """``first`` (and its Relu) as two Convs and a Concat, the second times ``factor``. Name of the Concat."""
    graph = model.graph
    weight = constant(first.inputs[1])
    bias = constant(first.inputs[2]) if len(first.inputs) > 2 else None
    after = [use.node for use in first.outputs[0].uses()]
    if weight is None or len(weight) < 4 or len(after) != 1:
        return None
    end = after[0] if is_onnx(after[0], "Relu") else first
    half = len(weight) // 2
    parts = []
    for number, rows in enumerate((slice(0, half), slice(half, None))):
        scale = np.float32(factor if number else 1.0)
        name = f"{first.name}_half{number}"
        inputs = [first.inputs[0], add_initializer(graph, f"{name}_weight", weight[rows] * scale)]
        if bias is not None:
            inputs.append(add_initializer(graph, f"{name}_bias", bias[rows] * scale))
        node = ir.node("Conv", inputs, attributes=dict(first.attributes), name=name)
        node.outputs[0].name, node.outputs[0].type = name, first.outputs[0].type
        graph.insert_before(first, node)
        if end is not first:
            relu = ir.node("Relu", [node.outputs[0]], name=f"{name}_relu")
            relu.outputs[0].name, relu.outputs[0].type = f"{name}_relu", first.outputs[0].type
            graph.insert_before(first, relu)
            node = relu
        parts.append(node.outputs[0])
    concat = ir.node("Concat", parts, attributes={"axis": 1}, name=f"{first.name}_joined")
    concat.outputs[0].name, concat.outputs[0].type = f"{first.name}_joined", first.outputs[0].type
    graph.insert_before(first, concat)
    ir.convenience.replace_all_uses_with(end.outputs[0], concat.outputs[0])
    for node in (end, first) if end is not first else (first,):
        graph.remove(node, safe=True)
    reads = constant(second.inputs[1])
    if reads is None:
        return None
    smaller = reads.copy()
    smaller[:, half:] /= factor
    second.replace_input_with(1, add_initializer(graph, f"{second.name}_weight", smaller))
    return concat.outputs[0].name


def one_scale(plan: QuantPlan, model: ir.Model, joined: str) -> QuantPlan | None:
    """The plan with one scale for the Concat ``joined`` and everything that it joins: that of its result."""
    node = next(node for node in model.graph if node.outputs[0].name == joined)
    names = [value.name or "" for value in node.inputs if value is not None]
    if joined not in plan.activations or any(name not in plan.activations for name in names):
        return None
    activations = {**plan.activations, **dict.fromkeys(names, plan.activations[joined])}
    return replace(plan, activations=activations)
