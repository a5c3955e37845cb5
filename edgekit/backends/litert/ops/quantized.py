"""QuantizeLinear, DequantizeLinear that no int8 kernel took, and their like -> QUANTIZE, DEQUANTIZE, CAST.

    q = clip(round(x / scale) + zero_point, -128, 127)        x = scale * (q - zero_point)

Q1 constant parameters per tensor: QUANTIZE, DEQUANTIZE; a QUANTIZE of an integer tensor requantizes it
Q2 computed or per-channel parameters: the formula itself, with CAST
Q3 DynamicQuantizeLinear: scale and zero point out of the data's range, then Q2
Q4 MatMulInteger: in float32, which is exact while K * 255 * 255 < 2^24
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.backends.litert.constants import INTEGER_LIMITS
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import axis_of
from edgekit.backends.litert.step import Step
from edgekit.spec import QuantParams

SUPPORTED = frozenset({"int8", "uint8", "int16"})
EXACT_IN_FLOAT = 2**24  # integers below it are exact in float32
LARGEST_PRODUCT = 255 * 255


def lower_quantize(step: Step) -> None:
    """QuantizeLinear of a float or an integer tensor."""
    quant = step.out.quant
    if step.out.dtype not in SUPPORTED:
        raise step.refusal(
            "activation-type", f"activations in {step.out.dtype}", "quantize activations to int8 or uint8"
        )
    if quant is not None and quant.axis is None:
        _check_wide(step, quant)
        step.result("QUANTIZE", [step.x(0)])  # Q1
        return
    t = Terms(step)
    scale, zero = _parameters(step, t)
    t.finish(_quantized(t, step.x(0), scale, zero, step.out.dtype))


def lower_dequantize(step: Step) -> None:
    """DequantizeLinear of a quantized tensor, or of plain integers."""
    x = step.operand(0)
    tensor = step.x(0)
    if x.quant is not None and x.dtype in SUPPORTED and step.builder.tensors[tensor].quant is not None:
        _check_wide(step, x.quant)
        step.result("DEQUANTIZE", [tensor])  # Q1
        return
    t = Terms(step)
    scale, zero = _parameters(step, t)
    real = t.cast(tensor, "float32")
    t.finish(t.mul(real if zero is None else t.sub(real, zero), scale))


def _check_wide(step: Step, quant: QuantParams) -> None:
    """quantize.cc and dequantize.cc take int16 with zero point 0 only."""
    if quant.dtype == "int16" and any(quant.zero_point):
        raise step.refusal(
            "int16-zero-point",
            f"an int16 tensor with zero point {quant.zero_point[0]}",
            "quantize 16-bit activations symmetrically: zero point 0",
        )


def _parameters(step: Step, t: Terms) -> tuple[int, int | None]:
    """Q2: scale and zero point as float32, along their axis; a zero point that is absent is None."""
    if step.attribute("block_size", 0):
        raise step.refusal("blocked", "scales in blocks", "quantize per tensor or per channel")
    rank = step.operand(0).rank
    found: list[int | None] = []
    for index in (1, 2):
        if not step.has(index):
            found.append(None)
            continue
        value = t.cast(step.x(index), "float32")
        shape = [1] * rank
        if t.rank(value):
            axis = axis_of(step.unit, rank, default=1)
            (shape[step.label.axis(axis)],) = static(t.shape(value), "a quantizer")
        found.append(t.reshape(value, shape))
    scale, zero = found
    if scale is None:
        raise step.refusal("missing-input", "a quantizer without scale", "check the model with onnx.checker")
    return scale, zero


def _quantized(t: Terms, x: int, scale: int, zero: int | None, dtype: str) -> int:
    low, high = INTEGER_LIMITS[dtype]
    steps = t.unary("ROUND", t.div(x, scale))
    shifted = steps if zero is None else t.add(steps, zero)
    return t.cast(t.clamp(shifted, float(low), float(high)), dtype)


def lower_dynamic_quantize(step: Step) -> None:
    """Q3: uint8 over the range of the data, which is widened to hold 0."""
    t, x = Terms(step), step.x(0)
    axes = range(t.rank(x))
    high = t.maximum(t.reduce("REDUCE_MAX", x, axes, keep=False), t.const(0.0))
    low = t.minimum(t.reduce("REDUCE_MIN", x, axes, keep=False), t.const(0.0))
    scale = t.div(t.sub(high, low), t.const(255.0))
    zero = t.clamp(t.unary("ROUND", t.div(t.unary("NEG", low), scale)), 0.0, 255.0)
    t.finish(_quantized(t, x, scale, zero, "uint8"))
    for index, value in ((1, scale), (2, zero)):
        if len(step.unit.outputs) > index and step.unit.outputs[index].key:
            t.finish(value, index=index)


def lower_matmul_integer(step: Step) -> None:
    """Q4: (A - a_zero) @ (B - b_zero); zero points of A may be one for each row, of B for each column."""
    t = Terms(step)
    (depth,) = static(step.operand(0).shape[-1:], "MatMulInteger")
    if depth * LARGEST_PRODUCT >= EXACT_IN_FLOAT or min(step.operand(i).rank for i in (0, 1)) < 2:
        raise step.refusal(
            "long-sum",
            f"a sum of {depth} products of bytes, or a vector, which LiteRT cannot multiply exactly",
            f"use matrices with less than {EXACT_IN_FLOAT // LARGEST_PRODUCT} columns, or the QDQ form",
        )
    factors = []
    for index in (0, 1):
        x = t.cast(step.x(index), "float32")
        if step.has(index + 2):
            zero = t.cast(step.x(index + 2), "float32")
            if index == 0 and t.rank(zero) == 1:
                zero = t.reshape(zero, (*t.shape(zero), 1))
            x = t.sub(x, zero)
        factors.append(x)
    t.finish(t.unary("ROUND", t.matmul(factors[0], factors[1])))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "DequantizeLinear": lower_dequantize,
    "DynamicQuantizeLinear": lower_dynamic_quantize,
    "MatMulInteger": lower_matmul_integer,
    "QuantizeLinear": lower_quantize,
}
