"""Unit between DequantizeLinear and QuantizeLinear -> whether TFLite has an integer kernel for it.

Source: TFLite 8-bit quantization specification (ai.google.dev/edge/litert/models/quantization_spec):
activations int8 per tensor; weights int8, zero point 0, per tensor or per output channel; bias int32 with
scale s_input * s_weight and zero point 0. With 16-bit activations (int16 per tensor, zero point 0) the
weights are the same and the bias is int64; fewer operators have such kernels (tflite/kernels/*.cc,
kTfLiteInt16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.operands import Operand, Unit
from edgekit.spec import QuantParams

Rule = Callable[[Unit], str]
INT32_MAX = 2**31 - 1
INT16_LIMIT = 2**39
"""Of a bias in int16 kernels: their int64 accumulators are scaled as numbers of 48 bits with all products."""
FIXED_INT16 = QuantParams("int16", (1 / 32768,), (0,))
"""Output of LOGISTIC and SOFTMAX in int16 (tflite/kernels/activations.cc, Prepare)."""
COARSE_LOGISTIC = 2.0**-12
"""Input scale for which LOGISTIC takes another algorithm in int16: up to 6 steps off, 1 step otherwise."""
LARGEST_LOGIT = 4.0
"""Largest real input of int16 SOFTMAX: its table of exp has 513 entries. 1 step off up to here, 97 at 100."""
WITH_INT16 = frozenset(
    {
        "Add",
        "AveragePool",
        "Clip",
        "Concat",
        "Conv",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "MatMul",
        "MaxPool",
    }
    | {"Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators whose int16 kernels are within one step of the exact value; TANH is up to 3 off."""


def reason(unit: Unit, parameters: tuple[int, ...]) -> str:
    """Why ``unit`` has no integer kernel; "" if it has one. ``parameters``: inputs that are not data."""
    rule = RULES.get(unit.op)
    if rule is None:
        return f"LiteRT has no int8 kernel for {unit.op} that edgekit knows"
    width = "int16" if unit.outputs[0].dtype == "int16" else "int8"
    if width == "int16" and unit.op not in WITH_INT16:
        return f"LiteRT has no int16 kernel for {unit.op} that edgekit knows"
    for index, operand in enumerate(unit.inputs):
        if index in parameters or operand is None or (rule is _weighted and index > 0):
            continue
        if operand.quant is None:
            return f"its input {index} is not quantized"
        if operand.dtype != width or operand.quant.axis is not None:
            return f"its input {index} is {operand.dtype}, not {width} per tensor"
    if any(out.dtype != width for out in unit.outputs):
        return f"its output is {unit.outputs[0].dtype}, not {width}"
    if width == "int16":
        data = [x for x in (*unit.inputs, *unit.outputs) if x is not None and x.dtype == "int16"]
        if any(x.quant is not None and any(x.quant.zero_point) for x in data):
            return "an int16 tensor has a zero point other than 0, which no TFLite kernel takes"
        return rule(unit) or _coarse(unit)
    return rule(unit)


def _coarse(unit: Unit) -> str:
    """Where an int16 kernel would be more than one step off, by the tables and shifts that it uses."""
    x, out = unit.inputs[0], unit.outputs[0]
    if unit.op not in {"Sigmoid", "Softmax"} or x is None or x.quant is None or out.quant is None:
        return ""
    if not np.isclose(out.quant.scale[0], FIXED_INT16.scale[0], rtol=1e-6, atol=0.0):
        return "the int16 kernel gives steps of 1/32768, and the QDQ graph says otherwise"
    if unit.op == "Sigmoid" and np.isclose(x.quant.scale[0], COARSE_LOGISTIC, rtol=1e-2, atol=0.0):
        return "the int16 kernel is coarse for an input of scale 1/4096"
    if unit.op == "Softmax" and x.quant.scale[0] * 2**15 > LARGEST_LOGIT:
        return f"the int16 kernel is coarse for inputs beyond {LARGEST_LOGIT:g}"
    return ""


def with_bias(unit: Unit) -> Unit:
    """``unit`` with its bias as integers of scale s_input * s_weight; other units as they are."""
    bias = unit.operand(2)
    if RULES.get(unit.op) is not _weighted or bias is None or bias.const is None:
        return unit
    quant = bias_params(unit)
    data = _bias_integers(unit, quant)
    if unit.op == "Gemm" or bias.const.ndim != 1:
        data = data.reshape(-1)
    operand = Operand(bias.key, data.shape, quant.dtype, quant, data.astype(quant.dtype))
    return replace(unit, inputs=(unit.inputs[0], unit.inputs[1], operand))


def bias_params(unit: Unit) -> QuantParams:
    """Parameters that the kernel wants of its bias: the float32 product of the two scales."""
    x, w = unit.inputs[0], unit.inputs[1]
    if x is None or x.quant is None or w is None or w.quant is None:
        raise ValueError(f"{unit.node} is not an integer unit")
    scales = tuple(float(np.float32(x.quant.scale[0]) * np.float32(s)) for s in w.quant.scale)
    dtype = "int64" if x.dtype == "int16" else "int32"
    return QuantParams(dtype, scales, (0,) * len(scales), 0 if len(scales) > 1 else None)


def _bias_integers(unit: Unit, quant: QuantParams) -> Reals:
    """The bias in steps of ``quant``, before it is narrowed to int32."""
    bias = unit.operand(2)
    if bias is None or bias.const is None:
        raise ValueError(f"{unit.node} has no constant bias")
    own = bias.quant
    flat = bias.const.reshape(-1)
    if own is not None and own.dtype == "int32" and not any(own.zero_point):
        if len(own.scale) in {1, len(quant.scale)} and np.allclose(
            own.scale, quant.scale, rtol=1e-5, atol=0.0
        ):
            return flat.astype(np.float64)
        real = flat.astype(np.float64) * np.asarray(own.scale)
    elif own is not None:
        real = (flat.astype(np.float64) - np.asarray(own.zero_point)) * np.asarray(own.scale)
    else:
        real = flat.astype(np.float64)
    steps: Reals = np.rint(real / np.asarray(quant.scale))
    return steps


def _weighted(unit: Unit) -> str:
    """Conv, Gemm, MatMul with a constant weight."""
    w = unit.operand(1)
    if w is None or w.const is None:
        return _batch_matmul(unit) if unit.op == "MatMul" else "its weight is not a constant"
    if w.quant is None or w.dtype != "int8":
        return "its weight is not an int8 constant behind a DequantizeLinear"
    if any(w.quant.zero_point):
        return "its weight has a zero point other than 0, which no TFLite kernel takes"
    if w.quant.axis not in {None, _output_axis(unit)}:
        return f"its weight has scales along axis {w.quant.axis}, not along the output channels"
    if unit.op == "Gemm" and not _is_plain_gemm(unit):
        return "alpha, beta or transA are not the plain ones"
    if unit.op == "MatMul" and w.const.ndim != 2:
        return "its constant operand is not a matrix"
    bias = unit.operand(2)
    if bias is None:
        return ""
    if bias.const is None:
        return "its bias is not a constant"
    channels = w.const.shape[_output_axis(unit)]
    if bias.const.size != channels:
        return f"its bias has {bias.const.size} elements for {channels} channels"
    quant = bias_params(unit)
    largest = INT32_MAX if quant.dtype == "int32" else INT16_LIMIT
    if np.abs(_bias_integers(unit, quant)).max(initial=0.0) > largest:
        return f"its bias does not fit {quant.dtype} in steps of s_input * s_weight"
    return ""


def _batch_matmul(unit: Unit) -> str:
    w = unit.operand(1)
    if unit.outputs[0].dtype == "int16":
        return "its second operand is computed, and edgekit knows no int16 kernel for that"
    if w is None or w.quant is None or w.dtype != "int8" or w.quant.axis is not None:
        return "its second operand is not int8 per tensor"
    return ""


def _output_axis(unit: Unit) -> int:
    if unit.op == "Conv":
        return 0
    if unit.op == "Gemm":
        return 0 if unit.attributes.get("transB", 0) else 1
    return 1


def _is_plain_gemm(unit: Unit) -> bool:
    get = unit.attributes.get
    return float(get("alpha", 1.0)) == 1.0 and float(get("beta", 1.0)) == 1.0 and not get("transA", 0)


def _always(_unit: Unit) -> str:
    return ""


def _average_pool(unit: Unit) -> str:
    """The cases that ``ops.pool`` computes in int8; windows of different sizes are not among them."""
    x = unit.inputs[0]
    if unit.attributes.get("ceil_mode", 0):
        return "ceil_mode averages over windows of different sizes"
    padded = any(unit.attributes.get("pads") or ()) or unit.attributes.get("auto_pad", "NOTSET") not in {
        "NOTSET",
        "VALID",
    }
    same = x is not None and x.quant == unit.outputs[0].quant
    if not same and unit.outputs[0].dtype == "int16":
        return "it averages into another scale, which LiteRT does in int8 alone"
    if padded and not unit.attributes.get("count_include_pad", 0) and not same:
        return "it averages over windows of different sizes with different scales of input and output"
    return ""


RULES: dict[str, Rule] = {
    "Add": _always,
    "AveragePool": _average_pool,
    "Clip": _always,
    "Concat": _always,
    "Conv": _weighted,
    "DepthToSpace": _always,
    "Flatten": _always,
    "Gemm": _weighted,
    "GlobalAveragePool": _always,
    "GlobalMaxPool": _always,
    "HardSwish": _always,
    "LeakyRelu": _always,
    "MatMul": _weighted,
    "MaxPool": _always,
    "Mul": _always,
    "Pad": _always,
    "ReduceMax": _always,
    "ReduceMean": _always,
    "ReduceMin": _always,
    "Relu": _always,
    "Reshape": _always,
    "Resize": _always,
    "Sigmoid": _always,
    "Slice": _always,
    "Softmax": _always,
    "SpaceToDepth": _always,
    "Split": _always,
    "Squeeze": _always,
    "Sub": _always,
    "Tanh": _always,
    "Transpose": _always,
    "Unsqueeze": _always,
}
