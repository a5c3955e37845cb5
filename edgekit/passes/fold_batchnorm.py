"""A per-channel affine map after a linear operator -> new weights and bias of that operator.

    s * (W x + b) + t  =  (s W) x + (s b + t)        s, t: (channels,)

BatchNormalization at inference is s = gamma / sqrt(var + epsilon), t = beta - mean * s. Exporters also
write it, or a bias, as Mul and Add with constants; those fold in the same way. All arithmetic is in float64
and rounded once.

Linear operators: Conv and Gemm (weight axis 0, or 1 for Gemm without transB), ConvTranspose (axis 1 within
each group), each with constant weights.

C1: somebody else reads the linear operator's output -> refuse.
C2: the weights are not constants, or the constant is not one value per channel -> refuse.
C3: BatchNormalization in training mode or with more outputs in use -> refuse.
C4: the weights are shared with another operator -> fold into a copy.
C5: alpha or beta of Gemm -> taken into the weights and the bias.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3.2; onnxscript/rewriter/rules/common/_fuse_batchnorm.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import (
    add_initializer,
    bypass,
    constant,
    float_attribute,
    int_attribute,
    is_onnx,
    rank,
    sole_reader,
)
from edgekit.passes.base import Pass
from edgekit.spec import Array

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldBatchnorm(Pass):
    """Fold BatchNormalization, and Mul, Add, Sub, Div by constants, into Conv, ConvTranspose and Gemm."""

    requires: ClassVar[frozenset[str]] = frozenset({"constants-lifted", "shapes-known"})
    establishes: ClassVar[frozenset[str]] = frozenset({"batchnorm-folded"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Walk in order of computation, so that a chain folds link by link."""
        for node in tuple(model.graph):
            linear = _linear_before(node)
            if linear is None:
                continue
            affine = _affine(node, linear)
            if affine is not None:
                _fold(linear, *affine, node=node)
        ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _linear_before(node: ir.Node) -> ir.Node | None:
    """The operator that feeds ``node`` alone (C1) and has constant weights (C2)."""
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is None or not is_onnx(producer, "Conv", "ConvTranspose", "Gemm"):
            continue
        if value is None or sole_reader(value) is not node:
            return None
        parameters = [producer.inputs[1], *([producer.inputs[2]] if _has_bias(producer) else [])]
        if any(constant(value) is None for value in parameters):
            return None
        return producer
    return None


def _has_bias(linear: ir.Node) -> bool:
    return len(linear.inputs) > 2 and linear.inputs[2] is not None


def _affine(node: ir.Node, linear: ir.Node) -> tuple[Floats, Floats] | None:
    """(s, t) of ``node``, each (channels,) in float64, or None where it is not such a map."""
    result = linear.outputs[0]
    channels = _channels(linear)
    if is_onnx(node, "BatchNormalization"):
        return _affine_of_batchnorm(node, result)
    if not is_onnx(node, "Mul", "Add", "Sub", "Div"):
        return None
    first = node.inputs[0] is result
    other = constant(node.inputs[1] if first else node.inputs[0])
    if other is None or (not first and node.op_type == "Div"):
        return None
    vector = _per_channel(np.asarray(other, np.float64), channels, axes=rank(result))
    if vector is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type == "Add":
        return one, vector
    if node.op_type == "Sub":
        return (one, -vector) if first else (-one, vector)
    if node.op_type == "Mul":
        return vector, zero
    return (1.0 / vector, zero) if np.all(vector != 0) else None


def _affine_of_batchnorm(node: ir.Node, result: ir.Value) -> tuple[Floats, Floats] | None:
    parameters = [constant(value) for value in node.inputs[1:5]]
    more_outputs = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    if node.inputs[0] is not result or int_attribute(node, "training_mode", 0) or more_outputs:
        return None
    if any(parameter is None for parameter in parameters):
        return None
    gamma, beta, mean, variance = (np.asarray(parameter, np.float64) for parameter in parameters)
    epsilon = float_attribute(node, "epsilon", 1e-5)  # the operator's default
    scale: Floats = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _channels(linear: ir.Node) -> int:
    weight = constant(linear.inputs[1])
    shape: tuple[int, ...] = () if weight is None else weight.shape
    if linear.op_type == "ConvTranspose":
        return shape[1] * int_attribute(linear, "group", 1)
    if linear.op_type == "Gemm" and not int_attribute(linear, "transB", 0):
        return shape[1]
    return shape[0]


def _per_channel(array: Floats, channels: int, *, axes: int | None) -> Floats | None:
    """(channels,) if ``array`` broadcasts along the channel axis 1 of a tensor with ``axes`` axes only."""
    if array.size == 1 and axes is not None and array.ndim <= axes:
        return np.full(channels, float(array.reshape(())))
    if axes is None or array.ndim > axes:
        return None
    aligned = array.reshape((1,) * (axes - array.ndim) + array.shape)
    if aligned.shape != tuple(channels if axis == 1 else 1 for axis in range(axes)):
        return None
    return aligned.reshape(channels)


def _fold(linear: ir.Node, scale: Floats, shift: Floats, *, node: ir.Node) -> None:
    weight, graph = constant(linear.inputs[1]), linear.graph
    source = linear.inputs[1]
    if weight is None or source is None or not isinstance(graph, ir.Graph):
        return
    alpha, beta = float_attribute(linear, "alpha", 1.0), float_attribute(linear, "beta", 1.0)
    bias = constant(linear.inputs[2]) if _has_bias(linear) else None
    old_bias = np.zeros(scale.size) if bias is None else _broadcast_bias(bias, scale.size)
    if old_bias is None:
        return
    new_bias = scale * beta * old_bias + shift
    new_weight = alpha * weight.astype(np.float64) * _weight_factor(linear, scale, weight)
    if not bypass_keeps_result(node, linear):
        return
    kind = weight.dtype
    linear.replace_input_with(1, add_initializer(graph, f"{source.name}", new_weight.astype(kind)))
    name = linear.inputs[2].name if bias is not None and linear.inputs[2] else f"{source.name}_bias"
    folded = add_initializer(graph, f"{name}", new_bias.astype(kind))
    if len(linear.inputs) < 3:
        linear.resize_inputs(3)
    linear.replace_input_with(2, folded)
    for name in ("alpha", "beta"):
        linear.attributes.pop(name, None)


def bypass_keeps_result(node: ir.Node, linear: ir.Node) -> bool:
    """Take ``node`` out of the graph so that its readers read ``linear`` directly."""
    result = linear.outputs[0]
    if node.inputs[0] is not result:  # c + W x: bypass wants the tensor first
        node.replace_input_with(1, node.inputs[0])
        node.replace_input_with(0, result)
    return bypass(node)


def _broadcast_bias(bias: Array, channels: int) -> Floats | None:
    array = np.asarray(bias, np.float64)
    if array.size not in (1, channels) or (array.ndim > 1 and array.shape[-1] != array.size):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))


def _weight_factor(linear: ir.Node, scale: Floats, weight: Array) -> Floats:
    """``scale`` in a shape that broadcasts over the weight's output channels."""
    if linear.op_type == "Gemm":
        return scale[:, None] if int_attribute(linear, "transB", 0) else scale[None, :]
    if linear.op_type == "Conv":
        return scale.reshape(-1, *(1,) * (weight.ndim - 1))
    groups = int_attribute(linear, "group", 1)
    per_input = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    return per_input.reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2))
