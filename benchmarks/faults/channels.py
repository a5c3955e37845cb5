"""Channels of very different size in one tensor, without changing what the float model computes.

    relu(s * x) = s * relu(x)       conv(w[:, c] / s, s * x_c) = conv(w[:, c], x_c)

activations   a channel of an activation is 64 times as large, the next weight's input channel so much smaller
weights       an input channel of a weight is 64 times as large, the activation's channel so much smaller
depthwise     channels of a depthwise weight differ by up to 64, and its weight has one scale for the tensor

The reference is the changed float model, which computes the same; the candidate is quantized without
equalizing (restore = "none").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from benchmarks.faults.case import Case, Rng, shuffled
from benchmarks.faults.subjects import Subject
from edgekit.ir.graph import add_initializer, constant, int_attribute, is_onnx, sole_reader
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import weight_params
from edgekit.quantization.plan import QuantOperator
from edgekit.spec import Array

OUTLIER = 64.0


def activations(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One channel of an activation is an outlier."""
    yield from _outliers(subject, rng, OUTLIER, "activation")


def weights(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One input channel of a weight is an outlier."""
    yield from _outliers(subject, rng, 1 / OUTLIER, "weight")


def _outliers(subject: Subject, rng: Rng, factor: float, what: str) -> Iterator[Case]:
    for first, second in shuffled_pairs(subject.model, rng):
        clone = subject.model.clone()
        nodes = {node.name: node for node in clone.graph}
        many = _outputs(nodes[first])
        channel = int(rng.integers(many))
        factors = np.ones(many, np.float32)
        factors[channel] = factor
        _scale_between(clone.graph, nodes[first], nodes[second], factors)
        changed = subject.recalibrated(clone)
        site = f"channel {channel} between {first} and {second} times {factor:g} ({what})"
        yield Case("outlier-channel", subject.name, site, clone, apply(clone, changed.plan()), subject.feeds)


def per_tensor_depthwise(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One scale for all channels of a depthwise weight: of all as they are, then of one that is spread.

    Spread: channel c of the activation before it times 2^a, of the one behind it times 2^-a, a from -2 to
    2: those differ by up to 4 from the middle, and the weight by up to 16.
    """
    depthwise = [node.name or "" for node in subject.model.graph if is_depthwise(node)]
    yield _one_scale(subject, depthwise, "every depthwise Conv")
    pairs = dict(shuffled_pairs(subject.model, rng))
    into = {second: first for first, second in pairs.items()}
    for name in shuffled(rng, [name for name in depthwise if name in pairs and name in into]):
        clone = subject.model.clone()
        nodes = {node.name: node for node in clone.graph}
        many = _outputs(nodes[name])
        factors = np.exp2(rng.integers(-2, 3, many)).astype(np.float32)
        _scale_between(clone.graph, nodes[into[name]], nodes[name], factors)
        _scale_between(clone.graph, nodes[name], nodes[pairs[name]], 1 / factors)
        yield _one_scale(subject.recalibrated(clone), [name], f"{name}, spread")


def _one_scale(subject: Subject, names: list[str], site: str) -> Case:
    plan = subject.plan()
    operators = tuple(
        _per_tensor(operator, subject.model) if operator.name in names else operator
        for operator in plan.operators
    )
    candidate = apply(subject.model, replace(plan, operators=operators))
    return Case("per-tensor-depthwise", subject.name, site, subject.model, candidate, subject.feeds)


def _per_tensor(operator: QuantOperator, model: ir.Model) -> QuantOperator:
    weight = operator.weight
    assert weight is not None
    array = constant(model.graph.initializers[weight.name])
    assert array is not None
    flat = weight_params("s8:tensor:sym", array, axis=0)
    params = replace(weight.params, scale=flat.scale, zero_point=flat.zero_point, axis=None)
    bias = operator.bias
    if bias is not None:
        step = bias.params.scale[0] / weight.params.scale[0] * flat.scale[0]
        bias = replace(bias, params=replace(bias.params, scale=(step,) * len(bias.params.scale)))
    return replace(operator, weight=replace(weight, params=params), bias=bias)


def is_depthwise(node: ir.Node) -> bool:
    """Whether a Conv has one input channel for each output channel."""
    weight = constant(node.inputs[1]) if is_onnx(node, "Conv") else None
    return weight is not None and weight.shape[1] == 1 and int_attribute(node, "group", 1) == len(weight) > 1


def shuffled_pairs(model: ir.Model, rng: Rng) -> Iterator[tuple[str, str]]:
    """(first, second): weighted nodes with only a Relu or a pooling between them."""
    found = {}
    for node in model.graph:
        if not is_onnx(node, "Conv", "Gemm") or constant(node.inputs[1]) is None:
            continue
        current: ir.Node | None = sole_reader(node.outputs[0])
        while current is not None and is_onnx(current, "Relu", "MaxPool", "GlobalAveragePool", "Squeeze"):
            current = sole_reader(current.outputs[0])
        if (
            current is not None
            and is_onnx(current, "Conv", "Gemm")
            and constant(current.inputs[1]) is not None
        ):
            found[node.name or ""] = current.name or ""
    for first in shuffled(rng, list(found)):
        yield first, found[first]


def _outputs(node: ir.Node) -> int:
    weight = constant(node.inputs[1])
    assert weight is not None
    return len(weight)


def _scale_between(graph: ir.Graph, first: ir.Node, second: ir.Node, factors: Array) -> None:
    """Output channel c of ``first`` times factors[c], input channel c of ``second`` divided by it."""
    _times(graph, first, 1, factors.reshape(-1, *([1] * (_rank(first) - 1))))
    if len(first.inputs) > 2 and first.inputs[2] is not None:
        _times(graph, first, 2, factors)
    inverse = 1 / factors
    shape = [1] * _rank(second)
    shape[0 if is_depthwise(second) else 1] = -1
    _times(graph, second, 1, inverse.reshape(shape))


def _rank(node: ir.Node) -> int:
    weight = constant(node.inputs[1])
    assert weight is not None
    return weight.ndim


def _times(graph: ir.Graph, node: ir.Node, index: int, factors: Array) -> None:
    value = node.inputs[index]
    array = constant(value)
    assert array is not None
    assert value is not None
    new = add_initializer(graph, f"{value.name}_scaled", (array * factors).astype(np.float32))
    node.replace_input_with(index, new)
