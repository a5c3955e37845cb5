"""Ranges and arrays -> scales, zero points, integers.

    real = scale * (integer - zero_point)          integer = saturate(round(real / scale) + zero_point)

Rounding is half to even and scales are float32, as in ONNX QuantizeLinear-21: what is computed here is what
the runtime gets. All intermediate arithmetic is float64.

| scheme | integers | zero point | scale |
|---|---|---|---|
| u8:tensor:asym | 0 .. 255 | round(-low / scale) | (high - low) / 255 |
| s8:tensor:asym | -128 .. 127 | that - 128 | the same |
| s8:tensor:sym | -127 .. 127 | 0 | max(abs) / 127 |
| us8:tensor:sym | 0 .. 255 where low >= 0, else s8:tensor:sym | 0 | high / 255 |
| u16:tensor:asym | 0 .. 65535 | round(-low / scale) | (high - low) / 65535 |
| s16:tensor:sym | -32767 .. 32767 | 0 | max(abs) / 32767 |
| s8:channel:sym | -127 .. 127 | 0 | max(abs) / 127 per slice along the axis |
| u8:tensor:sym | s8:tensor:sym, stored + 128 with zero point 128 | 128 | max(abs) / 127 |
| s4:block32:sym | -7 .. 7 | 0 | max(abs) / 7 per 32 values along the axis |
| bias | int32 | 0 | scale of the input * scale of the weight |

Source: TFLite 8-bit quantization specification (ai.google.dev/edge/litert/models/quantization_spec);
onnx QuantizeLinear-21; Jacob et al. (2018), equations 1 to 8.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from types import EllipsisType

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError, RecipeError
from edgekit.spec import Array, QuantParams, Range

LIMITS: dict[str, tuple[int, int]] = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
INT4_LIMIT = 7  # -8 is left out, as -128 is: the sign of a weight must not decide how far it reaches
SYMMETRIC_LIMIT = 127  # -128 is left out: the specification of TFLite, and pair sums stay symmetric
SMALLEST_SCALE = 2.0**-100  # below, products of two scales leave the normal float32 numbers
AT_ONCE = 2**17  # numbers that are rounded together: a megabyte of float64
BIAS_LIMIT = 2**30  # half of int32: the accumulator needs room for the products
TYPES = {"u8": "uint8", "s8": "int8", "u16": "uint16", "s16": "int16", "us8": "int8"}


_UNKNOWN = {
    ("u8", "sym"),
    ("u16", "sym"),
    ("s16", "asym"),
    ("us8", "asym"),
}  # no kernel wants them; int16 has zero point 0


def activation_params(scheme: str, values: Range) -> QuantParams:
    """Scale and zero point of an activation.

    Zero is always representable, because padding and Relu need it: the range is stretched to hold it. A
    range of one point gets a scale that represents that point exactly; an all-zero one gets scale 1.

    Args:
        scheme: ``u8:tensor:asym``, ``s8:tensor:asym``, ``s8:tensor:sym``, ``us8:tensor:sym``,
            ``u16:tensor:asym`` or ``s16:tensor:sym``.
        values: finite range of the tensor.

    Raises:
        RecipeError: another scheme; target files are the only place where it comes from.
    """
    kind, granularity, symmetry = scheme.split(":") if scheme.count(":") == 2 else (scheme, "", "")
    if kind not in TYPES or granularity != "tensor" or (kind, symmetry) in _UNKNOWN:
        raise _unknown_scheme(scheme)
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    dtype = "uint8" if kind == "us8" and low == 0.0 else TYPES[kind]
    if symmetry == "sym":
        return QuantParams(dtype, (_scale(max(-low, high) / LIMITS[dtype][1]),), (0,))
    smallest, largest = LIMITS[dtype]
    scale = _scale((high - low) / (largest - smallest))
    zero_point = int(np.clip(np.rint(smallest - low / scale), smallest, largest))
    return QuantParams(dtype, (scale,), (zero_point,))


def below(params: QuantParams, limit: float) -> QuantParams:
    """``params`` with the scale lowered by the few units in the last place that put its end at ``limit``.

    Rounding the scale to float32 can lift scale * (255 - zero_point) over the bound of a Clip; ONNX Runtime
    then keeps the Clip and loses the fused kernel (clip_quantizelinear.cc compares with one epsilon).
    """
    steps = LIMITS[params.dtype][1] - params.zero_point[0]
    scale = np.float32(params.scale[0])
    while scale * np.float32(steps) > np.float32(limit) and scale > 0:
        scale = np.nextafter(scale, np.float32(0))
    return replace(params, scale=(float(scale),))


def weight_params(scheme: str, weight: Array, *, axis: int) -> QuantParams:
    """Symmetric scales of a constant weight.

    A slice of zeros gets the largest scale of the others, so that its bias keeps a useful step.

    Args:
        scheme: ``s8:channel:sym``, ``s8:tensor:sym``, or ``u8:tensor:sym``: the same, stored otherwise.
        weight: finite floats, any shape.
        axis: output channel axis.

    Raises:
        RecipeError: another scheme.
    """
    if scheme not in ("s8:channel:sym", "s8:tensor:sym", "u8:tensor:sym"):
        raise _unknown_scheme(scheme)
    size = np.abs(weight.astype(np.float64))
    if scheme != "s8:channel:sym":
        peak = np.atleast_1d(size.max(initial=0.0))
        return QuantParams("int8", (_scale(float(peak[0]) / SYMMETRIC_LIMIT),), (0,))
    others = tuple(index for index in range(weight.ndim) if index != axis)
    peak = size.max(axis=others, initial=0.0)
    peak = np.where(peak == 0.0, peak.max(initial=0.0) or 1.0, peak)
    scales = tuple(_scale(float(value) / SYMMETRIC_LIMIT) for value in peak)
    return QuantParams("int8", scales, (0,) * len(scales), axis)


def block_scales(weight: Array, *, axis: int, block: int) -> npt.NDArray[np.float32]:
    """Scales of int4 weights, one for each ``block`` values along ``axis``.

    A block of zeros gets scale 1: its integers are zeros whatever it is.

    Args:
        weight: finite floats; its size along ``axis`` is a multiple of ``block``.
        axis: the axis that the sum of a product runs along.
        block: values that share a scale.

    Returns:
        The shape of ``weight`` with that axis divided by ``block``.
    """
    parts = np.stack(np.split(np.abs(weight.astype(np.float64)), weight.shape[axis] // block, axis=axis))
    peak = np.moveaxis(parts.max(axis=axis + 1), 0, axis)
    return np.asarray(np.where(peak == 0.0, 1.0, np.maximum(peak / INT4_LIMIT, SMALLEST_SCALE)), np.float32)


def quantize_blocks(weight: Array, scales: Array, *, axis: int) -> npt.NDArray[np.int8]:
    """Integers -7 .. 7 of ``weight`` with the scales of ``block_scales``; they fit int4."""
    block = weight.shape[axis] // scales.shape[axis]
    steps = np.repeat(scales.astype(np.float64), block, axis=axis)
    return np.clip(np.rint(weight.astype(np.float64) / steps), -INT4_LIMIT, INT4_LIMIT).astype(np.int8)


def with_room_for_bias(params: QuantParams, bias: Array, *, input_scale: float) -> QuantParams:
    """Weight scales, raised where the bias would leave int32.

    integer bias = bias / (input_scale * weight_scale). A channel whose weights are tiny beside its bias is
    a constant: its weights may be coarse, its bias may not wrap around.

    Args:
        params: of the weight, per channel or per tensor.
        bias: (channels,) reals.
        input_scale: of the activation.
    """
    least = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
    if params.axis is None:
        least = np.atleast_1d(least.max(initial=0.0))
    scales = np.maximum(np.asarray(params.scale, np.float64), least)
    return replace(params, scale=tuple(_scale(float(scale)) for scale in scales))


def bias_params(input_scale: float, weight: QuantParams, *, channels: int) -> QuantParams:
    """int32 per channel; the scale is the float32 product, which is what kernels multiply with."""
    weights = np.broadcast_to(np.asarray(weight.scale, np.float32), (channels,))
    product = np.float32(input_scale) * weights
    return QuantParams("int32", tuple(float(scale) for scale in product), (0,) * channels, 0)


def quantize(array: Array, params: QuantParams) -> Array:
    """Integers of ``array``: round half to even, saturate. Symmetric int8 weights stay in -127 .. 127."""
    smallest, largest = LIMITS[params.dtype]
    if params.dtype == "int8" and params.axis is not None:
        smallest = -SYMMETRIC_LIMIT
    scale, zero_point = (np.broadcast_to(each, array.shape) for each in _along_axis(params, array.ndim))
    found = np.empty(array.shape, params.dtype)
    for part in _parts(array):
        integers = np.rint(array[part].astype(np.float64) / scale[part]) + zero_point[part]
        found[part] = np.clip(integers, smallest, largest)
    return found


def _parts(array: Array) -> Iterator[slice | EllipsisType]:
    """Some rows at a time, so that their float64 form stays in the processor's cache."""
    if array.ndim == 0:
        yield ...
        return
    step = max(1, AT_ONCE // max(1, math.prod(array.shape[1:])))
    for first in range(0, len(array), step):
        yield slice(first, first + step)


def rounding_of(up: npt.NDArray[np.bool_]) -> str:
    """Whether each value is rounded up from its floor -> text: base64 of zlib of the packed bits, C order."""
    return base64.b64encode(zlib.compress(np.packbits(up.ravel()).tobytes(), 9)).decode("ascii")


def quantize_as(array: Array, params: QuantParams, rounding: str) -> Array:
    """``quantize``, but rounded up or down as ``rounding_of`` wrote.

    Raises:
        InputError: the text is damaged, or is of another array.
    """
    scale, _ = _along_axis(params, array.ndim)
    needed = -(-array.size // 8)
    try:
        packed = np.frombuffer(zlib.decompress(base64.b64decode(rounding, validate=True)), np.uint8)
        wrong = "" if len(packed) == needed else f"it has {len(packed)} bytes, {needed} are needed"
    except (ValueError, zlib.error) as error:
        packed, wrong = np.zeros(0, np.uint8), str(error)
    if wrong:
        raise InputError(
            f"the rounding of a weight of shape {array.shape} cannot be read",
            why=wrong,
            remedy="use the plan that `edgekit quantize` wrote, unchanged, with its own model",
        )
    up = np.unpackbits(packed, count=array.size).reshape(array.shape)
    integers = np.floor(array.astype(np.float64) / scale) + up
    return np.clip(integers, -SYMMETRIC_LIMIT, SYMMETRIC_LIMIT).astype(params.dtype)


def dequantize(integers: Array, params: QuantParams) -> npt.NDArray[np.float32]:
    """Reals of ``integers``, in float32."""
    scale, zero_point = _along_axis(params, integers.ndim)
    return ((integers.astype(np.float64) - zero_point) * scale).astype(np.float32)


def normalized(params: QuantParams) -> QuantParams:
    """The uint8 form of asymmetric int8: zero point + 128. Other types stay.

    The real values that a tensor can take are the same, so both forms name the same numerics.
    """
    if params.dtype != "int8" or params.axis is not None:
        return params
    return QuantParams("uint8", params.scale, tuple(zero + 128 for zero in params.zero_point))


def unsigned(integers: Array) -> npt.NDArray[np.uint8]:
    """int8 values + 128 as uint8; applied to integers and zero point alike, the reals stay the same."""
    return (integers.astype(np.int16) + 128).astype(np.uint8)


def _along_axis(params: QuantParams, ndim: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shape = (
        (1,) * ndim
        if params.axis is None
        else tuple(-1 if index == params.axis else 1 for index in range(ndim))
    )
    scale = np.asarray(params.scale, np.float64).reshape(shape)
    return scale, np.asarray(params.zero_point, np.float64).reshape(shape)


def _scale(value: float) -> float:
    """The float32 scale nearest to ``value``; 1 for a tensor of zeros."""
    if value == 0.0:
        return 1.0
    return float(np.float32(max(value, SMALLEST_SCALE)))


def _unknown_scheme(scheme: str) -> RecipeError:
    return RecipeError(
        f"there is no arithmetic for the scheme {scheme!r}",
        why="known: u8:tensor:asym, s8:tensor:asym, s8:tensor:sym, us8:tensor:sym, u16:tensor:asym, "
        "s16:tensor:sym for activations, s8:channel:sym, s8:tensor:sym, u8:tensor:sym for weights",
        remedy="correct the kernel rows of the target file (targets/README.md has the vocabulary)",
    )
