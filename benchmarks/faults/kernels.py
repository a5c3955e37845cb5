"""What runs is not what was planned: an activation by itself, float for integer, sums that saturate.

unfused       Conv -> Q -> DQ -> Relu: the sum is rounded with the range that it has before the activation
fallback      operators that the target computes in integers are float in the candidate
saturating    the integer product of a CPU without VNNI, written out in the graph (change_products)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from benchmarks.faults.case import Case, Rng, shuffled
from benchmarks.faults.subjects import Subject
from edgekit import target as targets
from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import with_activations
from edgekit.ir.graph import add_initializer, constant, is_onnx
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import activation_params
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan
from edgekit.spec import Array, Range, Rejection, RunOptions
from edgekit.validation.diagnose.changes.change import Segment
from edgekit.validation.diagnose.changes.change_products import changes
from edgekit.validation.layers import WeightEvidence

FAR_BELOW = 48.0  # times the largest value: the steps below zero are all but 5 of 256


def unfused(subject: Subject, rng: Rng) -> Iterator[Case]:
    """The sum before a Relu is rounded too. One channel is far below zero there, which nobody sees behind."""
    plan = subject.plan()
    by_name = {node.name or "": node for node in subject.model.graph}
    heads = [
        operator.name
        for operator in plan.operators
        if len(operator.nodes) == 2 and operator.weight is not None and len(by_name[operator.name].inputs) > 2
    ]
    for name in shuffled(rng, heads):
        clone = subject.model.clone()
        node = next(each for each in clone.graph if each.name == name)
        bias, between = constant(node.inputs[2]), node.outputs[0].name or ""
        if bias is None:
            continue
        lower = bias.copy()
        lower[int(rng.integers(len(bias)))] -= FAR_BELOW * subject.ranges[between].high
        node.replace_input_with(2, add_initializer(clone.graph, f"{name}_bias", lower))
        changed = subject.recalibrated(clone)
        held = _extremes(clone, between, subject.feeds)
        candidate = apply(clone, _unfused(changed.plan(), name, between, held))
        site = f"{name}: {held.low:.3g} to {held.high:.3g} before the activation"
        yield Case("unfused-activation", subject.name, site, clone, candidate, subject.feeds)


def _unfused(plan: QuantPlan, name: str, between: str, held: Range) -> QuantPlan:
    operators = tuple(
        replace(operator, pattern=operator.pattern.split("+")[0], nodes=(name,), output=between)
        if operator.name == name
        else operator
        for operator in plan.operators
    )
    activations = {**plan.activations, between: activation_params("u8:tensor:asym", held)}
    return replace(plan, operators=operators, activations=activations)


def _extremes(model: ir.Model, name: str, feeds: Sequence[Mapping[str, Array]]) -> Range:
    """Least and largest value of a tensor; calibration would stop at the activation's edge."""
    with open_model(with_activations(model, {name: None}), RunOptions()) as session:
        found = [session.run(batch)[name] for batch in feeds]
    return Range(min(float(array.min()) for array in found), max(float(array.max()) for array in found))


def fallback(subject: Subject, rng: Rng) -> Iterator[Case]:
    """A third of the weighted operators stay float, and nobody asked for it."""
    plan = subject.plan()
    heads = [operator.name for operator in plan.operators if operator.weight is not None]
    if len(heads) < 3:
        return
    for _ in range(3):
        chosen = shuffled(rng, heads)[: max(1, len(heads) // 3)]
        kept = {name: Rejection(name, "none", "a fault", "") for name in chosen}
        mixed = place(subject.model, targets.load("portable"), subject.ranges, keep_float=kept)
        yield Case(
            "float-fallback",
            subject.name,
            f"{len(chosen)} of {len(heads)}, the first {chosen[0]}",
            subject.model,
            apply(subject.model, mixed),
            subject.feeds,
            harmless=True,
        )


def saturating(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One product whose sums of two saturate."""
    plan = subject.plan()
    operators = {
        operator.name: operator
        for operator in plan.operators
        if operator.weight is not None and operator.inputs[0] in plan.activations
    }
    by_name = {node.name: node for node in subject.model.graph}
    for name in shuffled(rng, list(operators)):
        operator = operators[name]
        weight, source = operator.weight, operator.inputs[0]
        assert weight is not None
        if not is_onnx(by_name[name], "Conv", "Gemm", "MatMul"):
            continue
        seen = WeightEvidence(weight.name, (), weight.params.axis or 0, (), (), False, weight.params)
        segment = Segment(subject.model, {source: plan.activations[source]}, seen)
        for change in changes(segment):
            candidate = with_sums(subject.candidate(), subject.model, change.model, by_name[name])
            yield Case(
                "saturation",
                subject.name,
                f"{name}, {change.value} side by side",
                subject.model,
                candidate,
                subject.feeds,
            )
            break


def with_sums(candidate: ir.Model, model: ir.Model, changed: ir.Model, head: ir.Node) -> ir.Model:
    """The candidate, which computes what ``changed`` does where ``model`` has ``head``.

    The head stays, times 0, so that its weight and its scales are there to be looked at, as on the CPU in
    question.
    """
    result = candidate.clone()
    graph = result.graph
    same = next(node for node in graph if node.name == head.name)
    source = head.inputs[0]
    assert source is not None
    assert same.inputs[0] is not None
    known: dict[str | None, ir.Value] = {source.name: same.inputs[0]}
    old = {node.name for node in model.graph}
    made = []
    for node in changed.graph:
        if node.name in old:
            continue
        inputs = [None if value is None else _moved(value, known, graph) for value in node.inputs]
        copy = ir.node(node.op_type, inputs, attributes=dict(node.attributes), name=f"sums_{node.name}")
        copy.outputs[0].name, copy.outputs[0].type = f"sums_{node.outputs[0].name}", source.type
        known[node.outputs[0].name] = copy.outputs[0]
        made.append(copy)
    exact = same.outputs[0]
    zero = add_initializer(graph, "nothing", np.zeros((), np.float32))
    times = ir.node("Mul", [exact, zero], name="sums_nothing")
    total = ir.node("Add", [made[-1].outputs[0], times.outputs[0]], name="sums_total")
    readers = tuple(exact.uses())
    exact.name = f"{exact.name}_exact"  # no value has the old name: the kernel ends behind the activation
    for node, said in ((times, "sums_times"), (total, "sums_out")):
        node.outputs[0].name, node.outputs[0].type = said, exact.type
        node.outputs[0].shape = exact.shape
    graph.insert_after(same, [*made, times, total])
    for use in readers:
        if use.node is not times:
            use.node.replace_input_with(use.idx, total.outputs[0])
    return result


def _moved(value: ir.Value, known: dict[str | None, ir.Value], graph: ir.Graph) -> ir.Value:
    """The value in the other graph; a constant is taken along."""
    if value.name not in known:
        array = constant(value)
        assert array is not None
        known[value.name] = add_initializer(graph, f"sums_{value.name}", array)
    return known[value.name]
