"""Constant integers behind DequantizeLinear -> int8 or int4 weights of kernels with float activations.

    y = x @ (scale * W_int) + bias        FULLY_CONNECTED, and CONV_2D in the same way

H1 dynamic: the kernel reads int8 weights and quantizes each row of x anew, asymmetrically: XNNPACK by itself,
   the builtin kernels where ``asymmetric_quantize_inputs`` says so
   (convolutions without groups: DEPTHWISE_CONV_2D with such weights is no XNNPACK kernel, and H2 is faster)
H2 stored: DEQUANTIZE of the constant in front of the float kernel; XNNPACK unpacks it once, when it loads
H3 everything else stays what it was: a float constant
H4 int4 weights of FULLY_CONNECTED, x as in H1: with a scale per output channel, or with float16 scales in
   blocks of a multiple of 32 along the sum (XNNPACK's qc4w and qb4w; it rounds block scales to bfloat16)
   An odd sum is H3: in a matrix with an odd number of elements the builtin kernel reads the wrong halves of
   bytes. So are DEQUANTIZE of blocks, which computes wrong values, and convolutions (ai-edge-litert 2.3.0)

Source: tflite/kernels/fully_connected.cc, conv.cc (EvalHybrid, EvalHybridPerChannel); TFLite quantization
specification: int8, zero point 0, one scale per output channel; schema.fbs, ``BlockwiseQuantization``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert.constants import Constants, SmallWeight
from edgekit.backends.litert.operands import Operand, Unit
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Blocks
from edgekit.backends.litert.units import Program
from edgekit.spec import Array, Precision, QuantParams

FORM = "[weights]"
"""Attribute of a unit with an integer weight before float activations: the precision that it is for."""
SCALES = "[scales]"
"""Attribute of a unit with an int4 weight in blocks: its ``SmallWeight``."""
BLOCKS_OF = 32
"""A block is a multiple of this many integers (XNNPACK, ``xnn_define_blockwise_quantized_tensor_value``)."""

_OUTPUTS = {"Conv": 0, "Gemm": 0, "MatMul": 1}
"""Operator -> the axis of its weight that the scales must run along, with transB = 1 for Gemm."""


def with_integer_weights(program: Program, model: ir.Model, precision: Precision) -> Program:
    """``program`` with integer weights in the units that have a kernel for them; H3 for other precisions."""
    if precision not in {Precision.DYNAMIC, Precision.W8, Precision.W4}:
        return program
    constants = Constants(model.graph)
    values = [value for node in model.graph for value in node.outputs]
    integers = {v.name or "": found for v in values if (found := constants.quantized(v)) is not None}
    small = {v.name or "": each for v in values if (each := constants.small(v)) is not None}
    larger = Precision.W8 if precision is Precision.W4 else precision  # of an int8 weight among int4 ones
    units = (_hybrid(_small(unit, small), integers, larger) for unit in program.units)
    return replace(program, units=tuple(units))


def _small(unit: Unit, small: Mapping[str, SmallWeight]) -> Unit:
    """H4."""
    x, weight = unit.operand(0), unit.operand(1)
    if (
        x is None
        or weight is None
        or weight.key not in small
        or unit.op == "Conv"
        or not _has_kernel(unit, x)
    ):
        return unit
    found = small[weight.key]
    outputs = _OUTPUTS[unit.op]
    per_channel = not found.block and (found.scales.size == 1 or found.axis == outputs)
    in_blocks = bool(found.block) and found.block % BLOCKS_OF == 0 and found.axis != outputs
    if not (per_channel or in_blocks) or found.integers.shape[1 - outputs] % 2:
        return unit
    attributes = {**unit.attributes, FORM: Precision.W4}
    quant = None
    if in_blocks:
        attributes[SCALES] = found
    else:
        scales = tuple(float(scale) for scale in found.scales.reshape(-1))
        quant = QuantParams("int4", scales, (0,) * len(scales), outputs if len(scales) > 1 else None)
    stored = Operand(weight.key, found.integers.shape, "int4", quant, found.integers)
    return replace(unit, attributes=attributes, inputs=(x, stored, *unit.inputs[2:]))


def _hybrid(unit: Unit, integers: Mapping[str, tuple[Array, QuantParams]], precision: Precision) -> Unit:
    """H1 and H2."""
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
    """The weight as its kernel reads it: H1 and H4 as it is, H2 behind DEQUANTIZE."""
    form = step.attribute(FORM, None)
    if form == Precision.W4:
        return step.builder.small_constant(key, weight, quant=quant, blocks=_blocks(step, key))
    constant = step.constant(key, weight, quant=quant)
    if form != Precision.W8:
        return constant
    return step.emit("DEQUANTIZE", [constant], weight.shape, dtype="float32")


def is_blocked(step: Step) -> bool:
    """Whether the weight is int4 in blocks."""
    return step.attribute(SCALES, None) is not None


def real(step: Step, weight: Array) -> Array:
    """The float32 form of an int4 ``weight`` in blocks, (out, in)."""
    scales = np.repeat(_scales(step), step.attribute(SCALES, None).block, axis=1)
    found: Array = weight.astype(np.float32) * scales.astype(np.float32)
    return found


def _blocks(step: Step, key: str) -> Blocks | None:
    if not is_blocked(step):
        return None
    scales = step.constant(f"{key}/scales", _scales(step).astype(np.float16))
    return Blocks(scales, step.attribute(SCALES, None).block)


def _scales(step: Step) -> Array:
    """(out, in / block)."""
    found: SmallWeight = step.attribute(SCALES, None)
    return found.scales if found.axis == 1 else found.scales.T


def options(step: Step) -> dict[str, Any]:
    """H1, H4: what the kernel must be told about its input."""
    rows = step.attribute(FORM, None) in {Precision.DYNAMIC, Precision.W4}
    return {"asymmetricQuantizeInputs": True} if rows else {}
