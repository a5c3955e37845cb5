"""Quantized Conv in front of a quantized Add -> a form in which OpenVINO rounds between the two.

    Conv -> Q -> DQ -> Add -> Q    becomes    Conv -> LeakyRelu(alpha=1) -> Q -> DQ -> Add -> Q

OpenVINO's CPU plug-in runs the chain as one kernel. Where the quantization stands directly behind the
product, it clips to the range and leaves the rounding out ("unsafe optimization" in its source), so that a
residual network drifts from what the file says: two steps at the output on 95 % of ResNet-20's values against
ONNX Runtime and LiteRT, which round. A function that changes nothing, in between, keeps the rounding: then it
is one step, and 80 to 98 % of the values are equal. It costs 1 to 4 % of the time of small networks and 12 %
of resnet18's, so a placement that no other runtime shares goes without (``Target.keeps_rounding``).

R1: LeakyRelu with a slope of 1, since OpenVINO removes a Clip and a Relu that the quantization implies.
R2: a Conv with an activation of its own in front of the quantization is rounded anyway.
R3: only where an Add reads it: nothing else is fused so.

Source: openvino src/plugins/intel_cpu/src/nodes/conv.cpp, ``Convolution::setPostOps`` ("drop rounding one
special residual pattern"), 2023.0 to 2026.4 at least.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.graph import free_name, is_onnx


def with_rounding(model: ir.Model) -> ir.Model:
    """The protected form; ``model`` itself where nothing needs it."""
    if not any(_is_dropped(node) for node in model.graph):
        return model
    result = model.clone()
    for node in tuple(result.graph):
        if _is_dropped(node):
            _keep(result.graph, node)
    return result


def _is_dropped(node: ir.Node) -> bool:
    """Whether OpenVINO would leave out the rounding of this QuantizeLinear (R2, R3)."""
    if not is_onnx(node, "QuantizeLinear") or node.inputs[0] is None:
        return False
    maker = node.inputs[0].producer()
    if maker is None or not is_onnx(maker, "Conv"):
        return False
    dequantizers = [use.node for use in node.outputs[0].uses() if is_onnx(use.node, "DequantizeLinear")]
    return any(is_onnx(use.node, "Add") for each in dequantizers for use in each.outputs[0].uses())


def _keep(graph: ir.Graph, quantizer: ir.Node) -> None:
    """R1."""
    read = quantizer.inputs[0]
    assert read is not None  # noqa: S101  _is_dropped has looked at it
    same = ir.node("LeakyRelu", [read], attributes={"alpha": 1.0})
    same.name = free_name(graph, f"{read.name}_kept")
    same.outputs[0].name = same.name
    same.outputs[0].shape, same.outputs[0].type = read.shape, read.type
    graph.insert_before(quantizer, same)
    quantizer.replace_input_with(0, same.outputs[0])
