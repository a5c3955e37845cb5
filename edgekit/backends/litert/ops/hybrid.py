"""Constant integers behind DequantizeLinear -> int8 weights of kernels with float activations.

    y = x @ (scale * W_int) + bias        FULLY_CONNECTED, and CONV_2D in the same way

H1 dynamic: the kernel reads int8 weights and quantizes each row of x anew, asymmetrically: XNNPACK by itself,
   the builtin kernels where ``asymmetric_quantize_inputs`` says so
   (convolutions without groups: DEPTHWISE_CONV_2D with such weights is no XNNPACK kernel, and H2 is faster)
H2 stored: DEQUANTIZE of the constant in front of the float kernel; XNNPACK unpacks it once, when it loads
H3 everything else stays what it was: a float constant

Source: tflite/kernels/fully_connected.cc, conv.cc (EvalHybrid, EvalHybridPerChannel); TFLite quantization
specification: int8, zero point 0, one scale per output channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from edgekit.backends.litert.constants import Constants
from edgekit.backends.litert.operands import Operand, Unit
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.units import Program
from edgekit.spec import Array, Precision, QuantParams

FORM = "[weights]"
"""Attribute of a unit with an integer weight before float activations: the precision that it is for."""

_OUTPUTS = {"Conv": 0, "Gemm": 0, "MatMul": 1}
"""Operator -> the axis of its weight that the scales must run along, with transB = 1 for Gemm."""


def with_integer_weights(program: Program, model: ir.Model, precision: Precision) -> Program:
    """``program`` with integer weights in the units that have a kernel for them; H3 for other precisions."""
    if precision not in {Precision.DYNAMIC, Precision.W8}:
        return program
    constants = Constants(model.graph)
    integers = {
        value.name or "": found
        for node in model.graph
        for value in node.outputs
        if (found := constants.quantized(value)) is not None
    }
    return replace(program, units=tuple(_hybrid(unit, integers, precision) for unit in program.units))


def _hybrid(unit: Unit, integers: Mapping[str, tuple[Array, QuantParams]], precision: Precision) -> Unit:
    x, weight = unit.operand(0), unit.operand(1)
    if x is None or weight is None or weight.key not in integers or not _has_kernel(unit, x):
        return unit
    data, quant = integers[weight.key]
    if quant.dtype != "int8" or any(quant.zero_point) or quant.axis not in {None, _OUTPUTS[unit.op]}:
        return unit
    stored = Operand(weight.key, data.shape, quant.dtype, quant, data)
    grouped = unit.op == "Conv" and unit.attributes.get("group", 1) != 1
    attributes = {**unit.attributes, FORM: Precision.W8 if grouped else precision}
    return replace(unit, attributes=attributes, inputs=(x, stored, *unit.inputs[2:]))


def _has_kernel(unit: Unit, x: Operand) -> bool:
    """Whether the unit becomes one FULLY_CONNECTED (``ops.matrix``, M1) or 2-D convolution (``ops.conv``)."""
    if unit.op not in _OUTPUTS or x.const is not None or x.quant is not None or x.dtype != "float32":
        return False
    return x.rank in {3, 4} if unit.op == "Conv" else _is_dense(unit, x)


def _is_dense(unit: Unit, x: Operand) -> bool:
    bias = unit.operand(2)
    plain = unit.attributes.get("alpha", 1.0) == unit.attributes.get("beta", 1.0) == 1.0
    if bias is not None and (bias.const is None or bias.const.size != bias.const.shape[-1:][0]):
        return False
    if unit.op == "MatMul":
        return x.rank >= 2
    return plain and not unit.attributes.get("transA", 0) and bool(unit.attributes.get("transB", 0))


def weight_tensor(step: Step, key: str, weight: Array, quant: QuantParams | None) -> int:
    """The weight as its kernel reads it: H1 as it is, H2 behind DEQUANTIZE."""
    constant = step.constant(key, weight, quant=quant)
    if step.attribute(FORM, None) != Precision.W8:
        return constant
    return step.emit("DEQUANTIZE", [constant], weight.shape, dtype="float32")


def options(step: Step) -> dict[str, Any]:
    """H1: what the kernel must be told about its input."""
    return {"asymmetricQuantizeInputs": True} if step.attribute(FORM, None) == Precision.DYNAMIC else {}
