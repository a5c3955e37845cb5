"""Softmax, Hardmax and everything that divides by a norm or a deviation -> SOFTMAX, MEAN, RSQRT and products.

    LayerNormalization = (x - mean) * rsqrt(mean((x - mean)^2) + epsilon) * scale + bias
    BatchNormalization = x * (scale / sqrt(var + epsilon)) + (bias - mean * scale / sqrt(var + epsilon))

The layout pass puts the softmax axis last, where SOFTMAX works. int8 SOFTMAX has the fixed output scale 1/256
and zero point -128 (TFLite quantization specification); another scale in the QDQ graph is made by a QUANTIZE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from edgekit.backends.litert.integer import FIXED_INT16
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import axis_of, constant
from edgekit.backends.litert.step import Step
from edgekit.spec import QuantParams

SOFTMAX_INT8 = QuantParams("int8", (1 / 256,), (-128,))  # quantization_spec: SOFTMAX, output 0


def lower_softmax(step: Step) -> None:
    """Softmax along the stored last axis."""
    fixed = FIXED_INT16 if step.out.dtype == "int16" else SOFTMAX_INT8
    step.result("SOFTMAX", [step.x(0)], options={"beta": 1.0}, fixed=fixed)


def lower_log_softmax(step: Step) -> None:
    """LogSoftmax along the stored last axis."""
    step.result("LOG_SOFTMAX", [step.x(0)])


def lower_batch_normalization(step: Step) -> None:
    """BatchNormalization in inference form; normally folded into a convolution before."""
    if step.attribute("training_mode", 0):
        raise step.refusal("training", "training_mode = 1", "export the model in evaluation mode")
    found = [constant(step.unit, index, "its statistics") for index in range(1, 5)]
    scale, bias, mean, variance = (np.zeros(1) if part is None else part.astype(np.float64) for part in found)
    factor = scale / np.sqrt(variance + float(step.attribute("epsilon", 1e-5)))
    addend = bias - mean * factor
    x = step.x(0)
    shape = [1] * step.out.rank
    shape[step.label.axis(1)] = factor.size
    product = step.emit(
        "MUL", [x, step.constant("factor", factor.astype(np.float32).reshape(shape))], step.shape(x)
    )
    step.result("ADD", [product, step.constant("addend", addend.astype(np.float32).reshape(shape))])


def _normalized(t: Terms, x: int, axes: Sequence[int], epsilon: float) -> tuple[int, int, int]:
    """(x - mean) / deviation, mean, and 1 / deviation over ``axes``, which stay with size 1."""
    mean = t.reduce("MEAN", x, axes)
    centred = t.sub(x, mean)
    variance = t.reduce("MEAN", t.unary("SQUARE", centred), axes)
    inverse = t.unary("RSQRT", t.shift(variance, epsilon))
    return t.mul(centred, inverse), mean, inverse


def lower_layer_normalization(step: Step) -> None:
    """LayerNormalization over the axes from ``axis`` to the last."""
    t, x = Terms(step), step.x(0)
    rank = step.operand(0).rank
    axes = range(axis_of(step.unit, rank, default=-1), rank)
    normal, mean, inverse = _normalized(t, x, axes, float(step.attribute("epsilon", 1e-5)))
    scaled = t.mul(normal, step.broadcast(1))
    t.finish(t.add(scaled, step.broadcast(2)) if step.has(2) else scaled)
    for index, value in enumerate((mean, inverse), start=1):
        if len(step.unit.outputs) > index and step.unit.outputs[index].key:
            t.finish(value, index=index)


def lower_instance_normalization(step: Step) -> None:
    """InstanceNormalization: over the spatial axes of each channel."""
    t, x = Terms(step), step.x(0)
    rank = step.operand(0).rank
    normal, _, _ = _normalized(t, x, range(2, rank), float(step.attribute("epsilon", 1e-5)))
    channels = (step.operand(0).shape[1], *(1,) * (rank - 2))
    scale, bias = (t.reshape(step.x(index), channels) for index in (1, 2))
    t.finish(t.add(t.mul(normal, scale), bias))


def lower_group_normalization(step: Step) -> None:
    """GroupNormalization: over groups of channels and all spatial axes; scale and bias per channel."""
    t = Terms(step)
    batch, whole = step.operand(0).shape[0], step.operand(0).shape
    sizes = static(whole[1:], "GroupNormalization")
    groups = int(step.attribute("num_groups", 1))
    split = t.reshape(step.x(0), (batch, groups, prod(sizes) // groups))
    normal, _, _ = _normalized(t, split, [2], float(step.attribute("epsilon", 1e-5)))
    channels = (sizes[0], *(1,) * (len(sizes) - 1))
    scale, bias = (t.reshape(step.x(index), channels) for index in (1, 2))
    t.finish(t.add(t.mul(t.reshape(normal, whole), scale), bias))


def lower_rms_normalization(step: Step) -> None:
    """RMSNormalization over the axes from ``axis`` to the last."""
    t, x = Terms(step), step.x(0)
    rank = step.operand(0).rank
    axes = range(axis_of(step.unit, rank, default=-1), rank)
    mean = t.reduce("MEAN", t.unary("SQUARE", x), axes)
    inverse = t.unary("RSQRT", t.shift(mean, float(step.attribute("epsilon", 1e-5))))
    t.finish(t.mul(t.mul(x, inverse), step.broadcast(1)))


def lower_mean_variance_normalization(step: Step) -> None:
    """MeanVarianceNormalization; the function body of ONNX adds 1e-9 to the deviation."""
    t, x = Terms(step), step.x(0)
    rank = step.operand(0).rank
    axes = [int(a) % rank for a in step.attribute("axes", None) or (0, 2, 3)]
    centred = t.sub(x, t.reduce("MEAN", x, axes))
    deviation = t.unary("SQRT", t.reduce("MEAN", t.unary("SQUARE", centred), axes))
    t.finish(t.div(centred, t.shift(deviation, 1e-9)))


def lower_lp_normalization(step: Step) -> None:
    """LpNormalization, p = 1 or 2; a norm of 0 gives 0, as in ONNX Runtime."""
    t, x = Terms(step), step.x(0)
    axis = axis_of(step.unit, step.operand(0).rank, default=-1)
    if int(step.attribute("p", 2)) == 1:
        norm = t.reduce("SUM", t.unary("ABS", x), [axis])
    else:
        norm = t.unary("SQRT", t.reduce("SUM", t.unary("SQUARE", x), [axis]))
    t.finish(t.div(x, t.select(t.compare("EQUAL", norm, t.const(0.0)), t.const(1.0), norm)))


def lower_lrn(step: Step) -> None:
    """LRN over channels: the window is a sum of shifted slices."""
    t = Terms(step)
    size = int(step.attribute("size", 1))
    whole = step.operand(0).shape
    sizes = static(whole[1:], "LRN")
    x = t.reshape(step.x(0), (whole[0], sizes[0], prod(sizes[1:])))
    squares = t.unary("SQUARE", x)
    padded = t.pad(squares, [(0, 0), ((size - 1) // 2, size // 2), (0, 0)])
    total = t.slice(padded, 1, 0, sizes[0])
    for offset in range(1, size):
        total = t.add(total, t.slice(padded, 1, offset, offset + sizes[0]))
    scaled = t.scale(total, float(step.attribute("alpha", 1e-4)) / size)
    base = t.shift(scaled, float(step.attribute("bias", 1.0)))
    found = t.mul(x, t.power(base, -float(step.attribute("beta", 0.75))))
    t.finish(t.reshape(found, whole))


def lower_hardmax(step: Step) -> None:
    """Hardmax: 1 at the first largest element along ``axis``, else 0."""
    t, x = Terms(step), step.x(0)
    axis = axis_of(step.unit, step.operand(0).rank, default=-1)
    last = t.to_last(x, axis)
    shape = t.shape(last)
    depth = static(shape[-1:], "Hardmax")[0]
    where = [last, step.integers("axis", [len(shape) - 1])]
    first = step.emit("ARG_MAX", where, shape[:-1], dtype="int32", options={"outputType": "int32"})
    inputs = [first, t.const(depth, "int32"), t.const(1.0), t.const(0.0)]
    hot = step.emit("ONE_HOT", inputs, shape, dtype="float32", options={"axis": -1})
    t.finish(t.from_last(hot, axis))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "BatchNormalization": lower_batch_normalization,
    "GroupNormalization": lower_group_normalization,
    "Hardmax": lower_hardmax,
    "InstanceNormalization": lower_instance_normalization,
    "LRN": lower_lrn,
    "LayerNormalization": lower_layer_normalization,
    "LogSoftmax": lower_log_softmax,
    "LpNormalization": lower_lp_normalization,
    "MeanVarianceNormalization": lower_mean_variance_normalization,
    "RMSNormalization": lower_rms_normalization,
    "Softmax": lower_softmax,
}
