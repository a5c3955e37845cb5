"""Conv -> CONV_2D, DEPTHWISE_CONV_2D, CONV_3D (tflite/kernels/conv.cc, depthwise_conv.cc, conv3d.cc).

    w: (O, C / groups, *kernel)  ->  CONV_2D (O, *kernel, C / groups), DEPTHWISE_CONV_2D (1, *kernel, O)

C1 groups = 1, or 1 < groups < C: CONV_2D, which divides the channels by the filter's depth
C2 groups = C > 1: DEPTHWISE_CONV_2D; output channel o belongs to input channel o // (O / C), as in ONNX
C3 one spatial axis: two, the first of size 1
C4 three spatial axes: CONV_3D, (*kernel, C / groups, O); groups one by one
C5 four spatial axes or a weight that is computed: refused
"""

from __future__ import annotations

import numpy as np

from edgekit.backends.litert.integer import bias_params
from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.ops import hybrid
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.ops.windows import Windows, as_2d, pad_spatial, windows_of
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step, reshape
from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, QuantParams


def lower_conv(step: Step) -> None:
    """Conv, cases C1 to C5."""
    x, w = step.operand(0), step.operand(1)
    if w.const is None:
        raise step.refusal(
            "constant-weight", "the weight is computed at run time", "make the weight a constant"
        )
    if x.rank == 5:
        _conv_3d(step, w.const)
        return
    if x.rank not in {3, 4}:
        raise step.refusal(
            "spatial-axes",
            f"Conv over {x.rank - 2} spatial axes",
            "LiteRT convolves over one, two or three spatial axes",
        )
    groups = int(step.attribute("group", 1))
    channels = w.const.shape[1] * groups
    weight = w.const[:, :, None, :] if x.rank == 3 else w.const
    windows = as_2d(windows_of(step, x, w.const.shape[2:]))
    tensor = widened(step, step.x(0))
    padding = windows.padding
    if not padding:
        tensor, padding = pad_spatial(step, tensor, windows), "VALID"
    high, wide = windows.axes
    options = {
        "padding": padding,
        "strideH": high.stride,
        "strideW": wide.stride,
        "dilationHFactor": high.dilation,
        "dilationWFactor": wide.dilation,
    }
    shape = output_shape(step, windows)
    if groups == channels and groups > 1:  # C2
        stored = np.transpose(weight, (1, 2, 3, 0))
        kernel = hybrid.weight_tensor(step, w.key, stored, _along(w, 3))
        options["depthMultiplier"] = weight.shape[0] // channels
        inputs = [tensor, kernel, bias_of(step, weight.shape[0])]
        step.result("DEPTHWISE_CONV_2D", inputs, options=options, shape=shape)
        return
    stored = np.transpose(weight, (0, 2, 3, 1))  # C1
    kernel = hybrid.weight_tensor(step, w.key, stored, _along(w, 0))
    step.result("CONV_2D", [tensor, kernel, bias_of(step, weight.shape[0])], options=options, shape=shape)


def _conv_3d(step: Step, weight: Array) -> None:
    """C4: explicit padding, VALID."""
    if step.unit.is_integer:
        raise FloatOnlyError("CONV_3D has no int8 kernel")
    t = Terms(step)
    windows = windows_of(step, step.operand(0), weight.shape[2:])
    tensor = step.x(0)
    if windows.padding != "VALID":
        tensor = pad_spatial(step, tensor, windows)
    groups = int(step.attribute("group", 1))
    bias = np.zeros(weight.shape[0], np.float32)
    if step.has(2):
        bias_of(step, weight.shape[0])  # refuses one that is computed
        bias = np.asarray(step.operand(2).const, np.float32).reshape(-1)
    options: dict[str, int | str] = {"padding": "VALID"}
    for name, axis in zip("DHW", windows.axes, strict=True):
        options |= {f"stride{name}": axis.stride, f"dilation{name}Factor": axis.dilation}
    whole = step.label.shape(step.out.shape)
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    parts = []
    for g in range(groups):
        rows = slice(g * outputs, (g + 1) * outputs)
        kernel = np.ascontiguousarray(np.transpose(weight[rows], (2, 3, 4, 1, 0)))
        part = t.slice(tensor, 4, g * inputs, (g + 1) * inputs)
        operands = [part, step.constant("weight", kernel), step.constant("bias", bias[rows])]
        parts.append(step.emit("CONV_3D", operands, (*whole[:4], outputs), options=options))
    t.finish(t.concat(parts, 4))


def widened(step: Step, tensor: int) -> int:
    """A stored (N, L, C) tensor as (N, 1, L, C); others as they are."""
    shape = step.shape(tensor)
    return tensor if len(shape) != 3 else reshape(step.builder, tensor, (shape[0], 1, *shape[1:]))


def output_shape(step: Step, windows: Windows) -> Shape:
    """Stored shape of the kernel's output, with two spatial axes."""
    stored = step.label.shape(step.out.shape)
    return stored if len(stored) == 2 + len(windows.axes) else (stored[0], 1, *stored[1:])


def bias_of(step: Step, channels: int) -> int:
    """The bias tensor: input 2, or zeros (the kernels of old runtimes want one)."""
    if step.has(2):
        bias = step.operand(2)
        if bias.const is None:
            raise step.refusal(
                "constant-bias", "the bias is computed at run time", "make the bias a constant"
            )
        return step.constant(bias.key, bias.const.reshape(-1), quant=bias.quant)
    quant = bias_params(step.unit) if step.unit.is_integer else None
    zeros: Array = np.zeros(channels, np.float32 if quant is None else quant.dtype)
    return step.constant("zero_bias", zeros, quant=quant)


def _along(w: Operand, axis: int) -> QuantParams | None:
    """The weight's parameters with the output channels on stored ``axis``."""
    if w.quant is None or w.quant.axis is None:
        return w.quant
    return QuantParams(w.quant.dtype, w.quant.scale, w.quant.zero_point, axis)


LOWERINGS = {"Conv": lower_conv}
