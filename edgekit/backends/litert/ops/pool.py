"""MaxPool, AveragePool and their global forms -> MAX_POOL_2D, AVERAGE_POOL_2D, MEAN, REDUCE_MAX.

MAX_POOL_2D leaves padding out; where SAME does not fit, PADV2 with the lowest number comes first, or PAD with
zeros where they change nothing.

AVERAGE_POOL_2D divides by the number of elements that are not padding. ONNX divides by
    count_include_pad = 0: elements inside the input           count_include_pad = 1: inside input and pads
and never counts what ceil_mode reaches behind the pads:
A1 no padding: VALID                                 A2 count_include_pad = 0 and SAME fits: SAME
A3 otherwise: PAD with zeros, VALID, times kernel / count for each position (a constant; left out if all 1)
A4 int8 with another scale at the output: DEPTHWISE_CONV_2D with all weights 1 and weight scale 1 / kernel
A5 int8 where A3 would need the factor: in float between DEQUANTIZE and QUANTIZE

What has dilations or three spatial axes, and LpPool, is made of slices (``ops.slices``); MaxPool with indices
gathers every window, and ARG_MAX finds the place. MaxUnpool scatters.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgekit.backends.litert.constants import INTEGER_LIMITS
from edgekit.backends.litert.layout_rules import is_2d_pool
from edgekit.backends.litert.nonnegative import ZERO_PADDING
from edgekit.backends.litert.ops.conv import output_shape, widened
from edgekit.backends.litert.ops.slices import Indices, combined, counts, element_indices, windows_over
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.ops.windows import Axis, Windows, as_2d, pad_spatial, windows_of
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step
from edgekit.spec import Array, QuantParams


def lower_max_pool(step: Step) -> None:
    """MaxPool."""
    if len(step.unit.outputs) > 1 and step.unit.outputs[1].key:
        _max_with_indices(step)
        return
    if not _is_builtin(step):
        _max_of_slices(step)
        return
    windows, tensor = _pool(step)
    if _is_nothing(step, windows):
        step.copy(step.x(0))
        return
    padding = windows.padding
    if not padding:
        tensor, padding = (
            pad_spatial(step, tensor, windows, value=_padding_value(step, tensor, windows)),
            "VALID",
        )
    options = _options(windows, padding)
    step.result("MAX_POOL_2D", [tensor], options=options, scale_of=tensor, shape=output_shape(step, windows))


def _padding_value(step: Step, tensor: int, windows: Windows) -> int | None:
    """The lowest number as a constant tensor; None where zeros do as well: PAD, which XNNPACK runs.

    They do where the lowest integer stands for 0, or nothing in the window is below 0 (``nonnegative``).
    """
    kind = step.builder.tensors[tensor]
    if kind.quant is None:
        lowest = float(np.finfo(np.float32).min)
        touches = all(max(axis.before, axis.needed_after) < axis.kernel for axis in windows.axes)
        zeros = touches and kind.dtype == "float32" and step.attribute(ZERO_PADDING, False)
    else:
        lowest = INTEGER_LIMITS[kind.dtype][0]
        zeros = kind.quant.zero_point == (lowest,)
    if zeros:
        return None
    return step.constant("lowest", np.asarray([lowest], kind.dtype), quant=kind.quant)


def lower_average_pool(step: Step) -> None:
    """AveragePool, cases A1 to A5."""
    if not _is_builtin(step):
        _average_of_slices(step)
        return
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


def _is_builtin(step: Step) -> bool:
    """Whether TFLite's pools hold it: one or two spatial axes, no dilation."""
    return is_2d_pool(step.unit)


def _pool(step: Step) -> tuple[Windows, int]:
    kernel = tuple(int(k) for k in step.attribute("kernel_shape", ()))
    windows = as_2d(windows_of(step, step.operand(0), kernel))
    return windows, widened(step, step.x(0))


def _require_float(step: Step) -> None:
    if step.unit.is_integer:
        raise FloatOnlyError("LiteRT's pools have two spatial axes and no dilation")


def _max_of_slices(step: Step) -> None:
    _require_float(step)
    t = Terms(step)
    t.finish(combined(t, step.x(0), windows_over(step), t.maximum, fill=_lowest(t.dtype(step.x(0)))))


def _lowest(dtype: str) -> float:
    return float(np.finfo(np.float32).min) if dtype == "float32" else INTEGER_LIMITS[dtype][0]


def _average_of_slices(step: Step) -> None:
    _require_float(step)
    t = Terms(step)
    windows = windows_over(step)
    total = combined(t, step.x(0), windows, t.add, fill=0.0)
    include = bool(step.attribute("count_include_pad", 0))
    t.finish(t.mul(total, t.const(1.0 / counts(windows, include=include))))


def lower_lp_pool(step: Step) -> None:
    """LpPool: the p-th root of the sum of the p-th powers."""
    t, p = Terms(step), float(step.attribute("p", 2))
    x = step.x(0)
    powers = t.unary("ABS", x) if p == 1.0 else t.unary("SQUARE", x)
    if p not in {1.0, 2.0}:
        powers = t.power(t.unary("ABS", x), p)
    total = combined(t, powers, windows_over(step), t.add, fill=0.0)
    t.finish(t.power(total, 1.0 / p))


def lower_global_lp_pool(step: Step) -> None:
    """GlobalLpPool."""
    t, p = Terms(step), float(step.attribute("p", 2))
    powers = t.power(t.unary("ABS", step.x(0)), p)
    t.finish(t.power(t.reduce("SUM", powers, range(2, step.operand(0).rank)), 1.0 / p))


def _max_with_indices(step: Step) -> None:
    """Values and their flat positions in the whole input; row-major, or column-major in storage_order 1."""
    _require_float(step)
    t = Terms(step)
    windows = windows_over(step)
    sizes = static(step.operand(0).shape, "MaxPool")
    outer, inner = prod(sizes[:2]), prod(sizes[2:])
    places = element_indices(windows)
    lowest = _lowest(t.dtype(step.x(0)))
    flat = t.pad(t.reshape(step.x(0), (outer, inner)), [(0, 0), (0, 1)], lowest)
    found = t.rows(flat, np.where(places < 0, inner, places), 1)
    t.finish(t.reshape(t.reduce("REDUCE_MAX", found, [2], keep=False), step.out.shape))
    shape = (outer, len(places))
    inputs = [found, step.integers("axis", [2])]
    which = step.emit("ARG_MAX", inputs, shape, dtype="int32", options={"outputType": "int32"})
    if step.attribute("storage_order", 0):
        places = _column_major(places, sizes[2:])
    table = t.const(places.reshape(-1), "int32")
    offsets = np.arange(len(places))[None, :] * places.shape[1]
    inside = t.gather(table, t.add(which, t.const(offsets, "int32")), 0)
    whole = t.add(inside, t.const(np.arange(outer)[:, None] * inner, "int32"))
    t.finish(t.reshape(whole, step.unit.outputs[1].shape), index=1)


def _column_major(places: Indices, sizes: tuple[int, ...]) -> Indices:
    """The same elements, counted with the first axis as the fastest."""
    coordinates = np.unravel_index(np.maximum(places, 0), sizes)
    found: Indices = np.where(places < 0, -1, np.ravel_multi_index(coordinates, sizes, order="F"))
    return found


def lower_max_unpool(step: Step) -> None:
    """MaxUnpool: the values at their flat positions, zeros elsewhere.

    The positions count in the input of the MaxPool; with an output_shape the result is padded at the end.
    """
    t = Terms(step)
    sizes, out = (static(shape, "MaxUnpool") for shape in (step.operand(0).shape, step.out.shape))
    kernel = [int(k) for k in step.attribute("kernel_shape", ())]
    strides = [int(v) for v in step.attribute("strides", None) or [1] * len(kernel)]
    pads = [int(p) for p in step.attribute("pads", None) or [0] * (2 * len(kernel))]
    plain = [
        (n - 1) * s - before - after + k
        for n, s, k, before, after in zip(
            sizes[2:], strides, kernel, pads[: len(kernel)], pads[len(kernel) :], strict=True
        )
    ]
    inner = (*sizes[:2], *plain)
    positions = t.reshape(t.cast(step.x(1), "int32"), (prod(sizes), 1))
    inputs = [positions, t.flat(step.x(0)), t.const([prod(inner)], "int32")]
    made = step.emit("SCATTER_ND", inputs, (prod(inner),), dtype=t.dtype(step.x(0)))
    amounts = [(0, b - a) for a, b in zip(inner, out, strict=True)]
    if any(after < 0 for _, after in amounts):
        raise step.refusal("output-size", f"output_shape {out} is below {inner}", "correct the output_shape")
    t.finish(t.pad(t.reshape(made, inner), amounts))


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
    "GlobalLpPool": lower_global_lp_pool,
    "GlobalMaxPool": lower_global_max_pool,
    "LpPool": lower_lp_pool,
    "MaxPool": lower_max_pool,
    "MaxUnpool": lower_max_unpool,
}
