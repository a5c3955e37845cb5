"""MaxPool, AveragePool and their global forms -> MAX_POOL_2D, AVERAGE_POOL_2D, MEAN, REDUCE_MAX.

MAX_POOL_2D leaves padding out; where SAME does not fit, PADV2 with the lowest number comes first.

AVERAGE_POOL_2D divides by the number of elements that are not padding. ONNX divides by
    count_include_pad = 0: elements inside the input           count_include_pad = 1: inside input and pads
and never counts what ceil_mode reaches behind the pads:
A1 no padding: VALID                                 A2 count_include_pad = 0 and SAME fits: SAME
A3 otherwise: PAD with zeros, VALID, times kernel / count for each position (a constant; left out if all 1)
A4 int8 with another scale at the output: DEPTHWISE_CONV_2D with all weights 1 and weight scale 1 / kernel
A5 int8 where A3 would need the factor: in float between DEQUANTIZE and QUANTIZE
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgekit.backends.litert.constants import INTEGER_LIMITS
from edgekit.backends.litert.ops.conv import output_shape, widened
from edgekit.backends.litert.ops.windows import Axis, Windows, as_2d, pad_spatial, windows_of
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step
from edgekit.spec import Array, QuantParams


def lower_max_pool(step: Step) -> None:
    """MaxPool without indices and without dilation."""
    windows, tensor = _pool(step)
    if _is_nothing(step, windows):
        step.copy(step.x(0))
        return
    if len(step.unit.outputs) > 1 and step.unit.outputs[1].key:
        raise step.refusal("indices", "MaxPool with a second output", "LiteRT's MAX_POOL_2D gives no indices")
    padding = windows.padding
    if not padding:
        kind = step.builder.tensors[tensor]
        lowest = INTEGER_LIMITS["int8"][0] if kind.quant else np.finfo(np.float32).min
        value = step.constant("lowest", np.asarray([lowest], kind.dtype), quant=kind.quant)
        tensor, padding = pad_spatial(step, tensor, windows, value=value), "VALID"
    options = _options(windows, padding)
    step.result("MAX_POOL_2D", [tensor], options=options, scale_of=tensor, shape=output_shape(step, windows))


def lower_average_pool(step: Step) -> None:
    """AveragePool, cases A1 to A5."""
    windows, tensor = _pool(step)
    if _is_nothing(step, windows):
        step.copy(step.x(0))
        return
    include = bool(step.attribute("count_include_pad", 0))
    padding = windows.padding
    if padding == "SAME" and include:
        padding = ""
    factor = None
    if not padding:
        factor = _factor(step, windows, include=include)
    if factor is not None and step.unit.is_integer:
        raise FloatOnlyError("it averages over windows of different sizes")  # A5
    if step.unit.is_integer and step.builder.tensors[tensor].quant != step.out.quant:
        if padding == "SAME":
            raise FloatOnlyError("it averages over windows of different sizes into another scale")  # A5
        _as_convolution(step, tensor, windows)
        return
    if not padding:
        tensor, padding = pad_spatial(step, tensor, windows), "VALID"
    options, shape = _options(windows, padding), output_shape(step, windows)
    if factor is None:
        step.result("AVERAGE_POOL_2D", [tensor], options=options, scale_of=tensor, shape=shape)
        return
    averaged = step.emit("AVERAGE_POOL_2D", [tensor], shape, options=options)
    step.result("MUL", [averaged, step.constant("kernel/count", factor)], shape=shape)


def _pool(step: Step) -> tuple[Windows, int]:
    x = step.operand(0)
    if x.rank not in {3, 4}:
        raise step.refusal(
            "spatial-axes",
            f"pooling over {x.rank - 2} spatial axes",
            "LiteRT pools over one or two spatial axes",
        )
    kernel = tuple(int(k) for k in step.attribute("kernel_shape", ()))
    windows = as_2d(windows_of(step, x, kernel))
    if any(axis.dilation != 1 for axis in windows.axes):
        raise step.refusal("dilated-pool", "pooling with dilations", "LiteRT's pools have no dilation")
    return windows, widened(step, step.x(0))


def _is_nothing(step: Step, windows: Windows) -> bool:
    """A window of one element everywhere: nothing runs.

    XNNPACK of ai-edge-litert 2.3.0 also reads uninitialised memory behind two such MAX_POOL_2D in a row
    (found by the random graphs of tests/property; no upstream issue is known).
    """
    single = all(axis.kernel == axis.stride == 1 and axis.is_valid for axis in windows.axes)
    return single and len(step.unit.outputs) == 1 and step.unit.clamp is None


def _options(windows: Windows, padding: str) -> dict[str, int | str]:
    high, wide = windows.axes
    return {
        "padding": padding,
        "strideH": high.stride,
        "strideW": wide.stride,
        "filterHeight": high.kernel,
        "filterWidth": wide.kernel,
    }


def _factor(step: Step, windows: Windows, *, include: bool) -> Array | None:
    """Kernel / count for each position, (1, out_h, out_w, 1), or None where all are 1."""
    counts = [_counts(step, axis, include=include) for axis in windows.axes]
    factor = prod(axis.kernel for axis in windows.axes) / np.multiply.outer(*counts)
    return None if np.all(factor == 1) else factor.astype(np.float32)[None, :, :, None]


def _counts(step: Step, axis: Axis, *, include: bool) -> Array:
    """How many elements of each window along one axis ONNX counts."""
    if axis.size is None or axis.out is None:
        if include:
            return np.full(1, axis.kernel)
        raise step.refusal(
            "dynamic-average", "an average over padded windows of a dynamic size", "fix the spatial sizes"
        )
    start = np.arange(axis.out) * axis.stride - axis.before
    low, high = (-axis.before, axis.size + axis.after) if include else (0, axis.size)
    counts: Array = np.minimum(start + axis.kernel, high) - np.maximum(start, low)
    return counts


def _as_convolution(step: Step, tensor: int, windows: Windows) -> None:
    """A4."""
    channels = step.shape(tensor)[3]
    quant = step.builder.tensors[tensor].quant
    if not isinstance(channels, int) or quant is None:
        raise FloatOnlyError("its number of channels is dynamic")
    if not windows.padding:
        tensor = pad_spatial(step, tensor, windows)
    kernel = tuple(axis.kernel for axis in windows.axes)
    scale = 1.0 / prod(kernel)
    ones: Array = np.ones((1, *kernel, channels), np.int8)
    weight = step.constant("ones", ones, quant=QuantParams("int8", (scale,), (0,)))
    product = float(np.float32(quant.scale[0]) * np.float32(scale))
    zeros: Array = np.zeros(channels, np.int32)
    bias = step.constant("zero_bias", zeros, quant=QuantParams("int32", (product,), (0,)))
    high, wide = windows.axes
    options = {"padding": "VALID", "strideH": high.stride, "strideW": wide.stride, "depthMultiplier": 1}
    step.result(
        "DEPTHWISE_CONV_2D", [tensor, weight, bias], options=options, shape=output_shape(step, windows)
    )


def lower_global_average_pool(step: Step) -> None:
    """GlobalAveragePool: the MEAN over all spatial axes; int8 takes any output scale."""
    _global(step, "MEAN")


def lower_global_max_pool(step: Step) -> None:
    """GlobalMaxPool: REDUCE_MAX over all spatial axes."""
    _global(step, "REDUCE_MAX")


def _global(step: Step, code: str) -> None:
    tensor = step.x(0)
    axes = step.integers("spatial_axes", range(1, len(step.shape(tensor)) - 1))
    keeps = tensor if code == "REDUCE_MAX" else None
    step.result(code, [tensor, axes], options={"keepDims": True}, scale_of=keeps)


LOWERINGS = {
    "AveragePool": lower_average_pool,
    "GlobalAveragePool": lower_global_average_pool,
    "GlobalMaxPool": lower_global_max_pool,
    "MaxPool": lower_max_pool,
}
