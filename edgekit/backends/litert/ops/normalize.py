"""Softmax, LogSoftmax, BatchNormalization, LayerNormalization.

    LayerNormalization = (x - mean) * rsqrt(mean((x - mean)^2) + epsilon) * scale + bias
    BatchNormalization = x * (scale / sqrt(var + epsilon)) + (bias - mean * scale / sqrt(var + epsilon))

The layout pass puts the softmax axis last, where SOFTMAX works. int8 SOFTMAX has the fixed output scale 1/256
and zero point -128 (TFLite quantization specification); another scale in the QDQ graph is made by a QUANTIZE.
"""

from __future__ import annotations

import numpy as np

from edgekit.backends.litert.parameters import axis_of, constant
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Shape
from edgekit.spec import QuantParams

SOFTMAX_INT8 = QuantParams("int8", (1 / 256,), (-128,))  # quantization_spec: SOFTMAX, output 0


def lower_softmax(step: Step) -> None:
    """Softmax along the stored last axis."""
    step.result("SOFTMAX", [step.x(0)], options={"beta": 1.0}, fixed=SOFTMAX_INT8)


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


def lower_layer_normalization(step: Step) -> None:
    """LayerNormalization over the axes from ``axis`` to the last."""
    if len(step.unit.outputs) > 1:
        raise step.refusal(
            "statistics", "LayerNormalization with mean or deviation outputs", "drop these outputs"
        )
    x = step.x(0)
    rank = step.operand(0).rank
    axes = step.integers("axes", range(axis_of(step.unit, rank, default=-1), rank))
    whole = step.shape(x)
    first = axis_of(step.unit, rank, default=-1)
    small: Shape = tuple(1 if axis >= first else dim for axis, dim in enumerate(whole))
    mean = step.emit("MEAN", [x, axes], small, options={"keepDims": True})
    centred = step.emit("SUB", [x, mean], whole)
    squares = step.emit("SQUARE", [centred], whole)
    variance = step.emit("MEAN", [squares, axes], small, options={"keepDims": True})
    epsilon = step.constant("epsilon", np.asarray([float(step.attribute("epsilon", 1e-5))], np.float32))
    root = step.emit("RSQRT", [step.emit("ADD", [variance, epsilon], small)], small)
    normal = step.emit("MUL", [centred, root], whole)
    if not step.has(2):
        step.result("MUL", [normal, step.broadcast(1)])
        return
    step.result("ADD", [step.emit("MUL", [normal, step.broadcast(1)], whole), step.broadcast(2)])


LOWERINGS = {
    "BatchNormalization": lower_batch_normalization,
    "LayerNormalization": lower_layer_normalization,
    "LogSoftmax": lower_log_softmax,
    "Softmax": lower_softmax,
}
