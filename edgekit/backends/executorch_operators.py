"""One ONNX operator on torch tensors, as XNNPACK's partitioner recognizes it.

    QuantizeLinear    -> quantized_decomposed.quantize_per_tensor in int8: u8 with zero point z is s8, z - 128
    DequantizeLinear  -> quantized_decomposed.dequantize_per_tensor, or _per_channel for a weight
    Clip              -> hardtanh where both bounds are constants: a convolution fuses it
    Squeeze, ...      -> reshape with one -1: a delegate takes it, and a squeeze it does not

The rest is ``torch_operators``. A weight has the integers -127..127, as the plan made them.

Source: executorch/backends/xnnpack/partition/config/generic_node_configs.py (1.5), a class for each operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

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
    operator = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return operator(call[0], scale, zero, _LOW, _HIGH, torch.int8)


def _dequantize(call: Call) -> Tensor:
    torch, held, scale = call.torch, constant(call.node.inputs[0]), constant(call.node.inputs[1])
    if held is not None and held.dtype != np.int8:
        raise UnsupportedError(f"weights in {held.dtype}: XNNPACK has int8")
    if held is not None and scale is not None and scale.ndim:
        operator = torch.ops.quantized_decomposed.dequantize_per_channel.default
        return operator(call[0], call[1], call[2], call.axis(1), -_HIGH, _HIGH, torch.int8)
    one, zero = _scale_and_zero(call)
    operator = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    return operator(call[0], one, zero, _LOW, _HIGH, torch.int8)


def _linear(call: Call) -> Tensor:
    return call.torch.nn.functional.linear(call[0], call[1], call.get(2))


def _clip(call: Call) -> Tensor:
    bounds = [constant(value) for value in call.node.inputs[1:3]]
    low, high = (None if each is None else float(each.reshape(())) for each in (*bounds, None, None)[:2])
    if low is None or high is None:
        return TORCH["Clip"](call)
    return call.torch.nn.functional.hardtanh(call[0], low, high)


def _reshaped(operator: Operator, call: Call) -> Tensor:
    """What ``operator`` gives, written as a reshape where one size at most is open."""
    wanted = operator(call).shape
    sizes = [each if isinstance(each, int) else -1 for each in wanted]
    return call[0].reshape(wanted if sizes.count(-1) > 1 else sizes)


def _as_reshape(name: str) -> Callable[[Call], Tensor]:
    return partial(_reshaped, TORCH[name])


OPERATORS: Mapping[str, Operator] = {
    **TORCH,
    **{name: _as_reshape(name) for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    LINEAR: _linear,
    "Clip": _clip,
}
