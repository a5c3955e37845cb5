"""``place`` with nodes that must stay float, and 16-bit activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgekit import target as targets
from edgekit.ir.graph import add_initializer
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.overrides import Override
from edgekit.quantization.place import place
from edgekit.quantization.weights import place_weights
from edgekit.spec import Precision, Range, Rejection

SEED = 7
WHY = Rejection("second", "test", "because", "nothing")


def _two_convolutions() -> ir.Model:
    """x -> Conv -> Relu -> Conv -> y, 3 channels of 8 x 8."""
    rng = np.random.default_rng(SEED)
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[1, 3, 8, 8])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21}, name="g")
    value = x
    for name in ("first", "second"):
        weight = add_initializer(graph, f"{name}_w", rng.normal(size=(3, 3, 3, 3)).astype(np.float32))
        node = ir.node("Conv", [value, weight], attributes={"pads": [1, 1, 1, 1]}, name=name)
        graph.append(node)
        value = node.outputs[0]
        if name == "first":
            relu = ir.node("Relu", [value], name="relu")
            graph.append(relu)
            value = relu.outputs[0]
    value.name = "y"
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape([1, 3, 8, 8])
    graph.outputs.append(value)
    return canonicalize(ir.Model(graph, ir_version=10))


def _ranges(model: ir.Model) -> dict[str, Range]:
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return {value.name or "": Range(-4.0, 4.0) for value in values}


def test_a_kept_operator_is_float_and_the_others_are_not() -> None:
    model = _two_convolutions()
    target = targets.load("onnxruntime-cpu")
    plan = place(model, target, _ranges(model), keep_float={"second": WHY})
    assert [operator.name for operator in plan.operators] == ["first"]
    assert WHY in plan.left_float
    assert len(place(model, target, _ranges(model)).operators) == 2, "without the exception both are taken"


def test_a_kept_activation_ends_the_kernel_in_front_of_it() -> None:
    model = _two_convolutions()
    target = targets.load("onnxruntime-cpu")
    plan = place(model, target, _ranges(model), keep_float={"relu": replace(WHY, node="relu")})
    assert [operator.pattern for operator in plan.operators] == ["Conv", "Conv"]


def test_sixteen_bits_are_symmetric_int16() -> None:
    model = _two_convolutions()
    plan = place(model, targets.load("litert-cpu"), _ranges(model), precision=Precision.W8A16)
    assert len(plan.operators) == 2
    for params in plan.activations.values():
        assert (params.dtype, params.zero_point) == ("int16", (0,))
        assert np.isclose(params.scale[0], 4.0 / 32767)
    apply(model, plan)  # the rules of the QDQ stage hold


def test_an_override_gives_one_weight_eight_bits_among_four() -> None:
    rng = np.random.default_rng(SEED)
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[1, 64])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21}, name="g")
    value = x
    for name in ("body", "head", "tail"):
        weight = add_initializer(graph, f"{name}_w", rng.normal(size=(64, 64)).astype(np.float32))
        graph.append(ir.node("MatMul", [value, weight], name=name))
        value = graph[-1].outputs[0]
    value.name, value.dtype, value.shape = "y", ir.DataType.FLOAT, ir.Shape([1, 64])
    graph.outputs.append(value)
    model = canonicalize(ir.Model(graph, ir_version=10))
    said = {"head": Override(Precision.W8, nodes="head"), "tail": Override(Precision.FP32, nodes="tail")}
    plan = place_weights(model, targets.load("onnxruntime-cpu"), Precision.W4, overrides=said)
    blocks = {operator.name: operator.weight.block for operator in plan.operators if operator.weight}
    assert blocks == {"body": 32, "head": 0}
    assert [each.rule for each in plan.left_float if each.node == "tail"] == ["override"]
