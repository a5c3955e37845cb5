"""One ONNX operator on torch tensors, as XNNPACK's partitioner recognizes it.

    QuantizeLinear    -> quantized_decomposed.quantize_per_tensor in int8: u8 with zero point z is s8, z - 128
    DequantizeLinear  -> quantized_decomposed.dequantize_per_tensor, or _per_channel for a weight
    Clip              -> hardtanh where both bounds are constants: a convolution fuses it
    Squeeze, ...      -> reshape with one -1: a delegate takes it, and a squeeze it does not
    ReduceMean        -> the mean over space of (n, 1, 1, size), where it is over the last axes
    LayerNormalization, Pow by 2  -> the sums and products that they stand for

The rest is ``torch_operators``. A weight has the integers -127..127, as the plan made them.

Source: executorch/backends/xnnpack/partition/config/generic_node_configs.py (1.5), a class for each operator.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgekit.backends.executorch_lowering import LINEAR
from edgekit.backends.torch_operators import OPERATORS as TORCH
from edgekit.backends.torch_operators import Call, Operator, Tensor, UnsupportedError
from edgekit.ir.graph import constant

_SHIFT = 128  # between uint8 and int8: the same real values
_LOW, _HIGH = -128, 127


def _scale_and_zero(call: Call) -> tuple[float, int]:
    scale, zero = constant(call.node.inputs[1]), constant(call.node.inputs[2])
    if scale is None or zero is None or scale.size != 1:
        raise UnsupportedError("a scale that is computed, or one for each channel of an activation")
    if zero.dtype not in (np.uint8, np.int8):
        raise UnsupportedError(f"{zero.dtype} activations: XNNPACK has int8")
    return float(scale.reshape(())), int(zero.reshape(())) - (_SHIFT if zero.dtype == np.uint8 else 0)


def _quantize(call: Call) -> Tensor:
    scale, zero = _scale_and_zero(call)
    torch = call.torch
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return quantize(call[0], scale, zero, _LOW, _HIGH, torch.int8)


def _dequantize(call: Call) -> Tensor:
    torch, held, scale = call.torch, constant(call.node.inputs[0]), constant(call.node.inputs[1])
    if held is not None and held.dtype != np.int8:
        raise UnsupportedError(f"weights in {held.dtype}: XNNPACK has int8")
    if held is not None and scale is not None and scale.ndim:
        per_channel = torch.ops.quantized_decomposed.dequantize_per_channel.default
        return per_channel(call[0], call[1], call[2], call.axis(1), -_HIGH, _HIGH, torch.int8)
    one, zero = _scale_and_zero(call)
    per_tensor = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    return per_tensor(call[0], one, zero, _LOW, _HIGH, torch.int8)


def _linear(call: Call) -> Tensor:
    return call.torch.nn.functional.linear(call[0], call[1], call.get(2))


def _clip(call: Call) -> Tensor:
    bounds = [constant(value) for value in call.node.inputs[1:3]]
    low, high = (None if each is None else float(each.reshape(())) for each in (*bounds, None, None)[:2])
    if low is None or high is None:
        return TORCH["Clip"](call)
    return call.torch.nn.functional.hardtanh(call[0], low, high)


def _reshaped(original: Operator, call: Call) -> Tensor:
    """What ``original`` gives, written as a reshape where one size at most is open."""
    return call[0].reshape(_with_one_open(original(call).shape))


def _as_reshape(name: str) -> Callable[[Call], Tensor]:
    return partial(_reshaped, TORCH[name])


def _power(call: Call) -> Tensor:
    exponent = constant(call.node.inputs[1])
    if exponent is not None and exponent.size == 1 and float(exponent.reshape(())) == 2.0:
        return call[0] * call[0]
    return TORCH["Pow"](call)


def _mean(call: Call) -> Tensor:
    x, axes = call[0], call.integers(1) or call.list_of("axes")
    wanted = sorted(axis % x.dim() for axis in axes)
    if wanted != list(range(x.dim() - len(wanted), x.dim())) or not wanted:
        return TORCH["ReduceMean"](call)
    kept = bool(call.integer("keepdims", 1))
    if x.dim() == 4 and len(wanted) == 2 and kept:
        return call.torch.mean(x, dim=(2, 3), keepdim=True)
    return _trailing_mean(x, len(wanted), kept=kept)


def _global_average(call: Call) -> Tensor:
    if call[0].dim() == 4:
        return TORCH["GlobalAveragePool"](call)
    return _trailing_mean(call[0], call[0].dim() - 2, kept=True)


def _trailing_mean(x: Tensor, axes: int, *, kept: bool) -> Tensor:
    """Mean over the last ``axes`` axes, as the mean over space that XNNPACK has: of (n, 1, 1, size)."""
    lead, inner = x.shape[: x.dim() - axes], x.shape[x.dim() - axes :]
    if not all(isinstance(each, int) for each in inner):
        return x.mean(dim=tuple(range(-axes, 0)), keepdim=kept)
    mean = x.reshape([-1, 1, 1, math.prod(inner)]).mean(dim=(2, 3), keepdim=True)
    return mean.reshape(_with_one_open([*lead, *([1] * axes if kept else [])]))


def _layer_normalization(call: Call) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, of operators that the delegate has."""
    x, dims = call[0], call[0].dim()
    axes = dims - call.axis(-1) % dims
    centred = x - _trailing_mean(x, axes, kept=True)
    variance = _trailing_mean(centred * centred, axes, kept=True)
    result = centred * call.torch.rsqrt(variance + call.real("epsilon", 1e-5))
    for index, combine in ((1, operator.mul), (2, operator.add)):
        tensor = call.get(index)
        result = result if tensor is None else combine(result, tensor)
    return result


def _with_one_open(sizes: Sequence[Any]) -> list[Any]:
    """-1 in the place of an open size, where there is one and no more."""
    written = [each if isinstance(each, int) else -1 for each in sizes]
    return list(sizes) if written.count(-1) > 1 else written


OPERATORS: Mapping[str, Operator] = {
    **TORCH,
    "Pow": _power,
    "ReduceMean": _mean,
    "GlobalAveragePool": _global_average,
    "LayerNormalization": _layer_normalization,
    **{name: _as_reshape(name) for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    LINEAR: _linear,
    "Clip": _clip,
}
