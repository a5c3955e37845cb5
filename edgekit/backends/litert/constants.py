"""Constants of an ONNX graph: initializers, Constant nodes, and Q/DQ of constants, by value name.

    q = saturate(round_half_even(x / scale) + zero_point)        x = (q - zero_point) * scale
(ONNX QuantizeLinear, DequantizeLinear, opset 21)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.spec import Array, QuantParams

Reals = npt.NDArray[np.float64]
INTEGER_LIMITS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, eq=False)
class SmallWeight:
    """A constant of int4 behind a DequantizeLinear, symmetric.

    Attributes:
        integers: int8 array of numbers from -8 to 7.
        scales: one number, one for each index of ``axis``, or (``block``) of the rank of ``integers``.
        axis: that the scales, or the blocks, run along.
        block: integers along ``axis`` that share a scale; 0 where a scale is for whole slices.
    """

    integers: Array
    scales: Array
    axis: int
    block: int

    def real(self) -> Array:
        """float32, as ONNX DequantizeLinear gives it."""
        scales = self.scales.astype(np.float32)
        if self.block:
            scales = np.repeat(scales, self.block, self.axis)
        elif scales.size > 1:
            shape = [1] * self.integers.ndim
            shape[self.axis] = scales.size
            scales = scales.reshape(shape)
        real: Array = self.integers.astype(np.float32) * scales
        return real


class Constants:
    """Value name -> elements, for everything that is known when compiling."""

    def __init__(self, graph: ir.Graph, found: Mapping[str, Array] | None = None) -> None:
        self._data: dict[str, Array] = dict(found or {})
        self._quantized: dict[str, tuple[Array, QuantParams]] = {}
        self._small: dict[str, SmallWeight] = {}
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                self._data[name] = value.const_value.numpy()
        for node in graph:
            self._learn(node)

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def __getitem__(self, name: str) -> Array:
        return self._data[name]

    def get(self, value: ir.Value | None) -> Array | None:
        """Elements of ``value``, or None where they are not known."""
        return self._data.get(value.name or "") if value is not None else None

    def quantized(self, value: ir.Value) -> tuple[Array, QuantParams] | None:
        """Integers and parameters of a constant that a DequantizeLinear makes; uint8 comes back as int8."""
        return self._quantized.get(value.name or "")

    def small(self, value: ir.Value) -> SmallWeight | None:
        """The int4 weight that a DequantizeLinear makes ``value`` of."""
        return self._small.get(value.name or "")

    def holds_all(self, node: ir.Node) -> bool:
        """Whether all outputs of ``node`` are known, so that nothing runs for it."""
        return all((out.name or "") in self._data for out in node.outputs)

    def params(self, node: ir.Node) -> QuantParams | None:
        """Scale and zero point of a Q or DQ node; None where they are not constant or blocked."""
        scale = self.get(node.inputs[1])
        if scale is None or scale.ndim > 1 or _int_attribute(node, "block_size", 0):
            return None
        zero_input = node.inputs[2] if len(node.inputs) > 2 else None
        zero = self.get(zero_input)
        if zero is None:
            if zero_input is not None:
                return None
            zero = np.zeros(scale.shape, _dtype_without_zero_point(node))
        axis = None
        if scale.size > 1:
            source = node.inputs[0]
            rank = len(source.shape) if source is not None and source.shape is not None else 0
            axis = _int_attribute(node, "axis", 1)
            axis = axis + rank if axis < 0 else axis
        return QuantParams(
            zero.dtype.name,
            tuple(float(s) for s in scale.astype(np.float64).reshape(-1)),
            tuple(int(z) for z in zero.reshape(-1)),
            axis,
        )

    def _learn(self, node: ir.Node) -> None:
        if node.op_type == "Constant":
            data = _constant_of(node)
            if data is not None:
                self._data[node.outputs[0].name or ""] = data
            return
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            return
        source = self.get(node.inputs[0])
        if source is not None and source.dtype.name == "int4" and node.op_type == "DequantizeLinear":
            self._learn_small(node, source)
            return
        params = self.params(node)
        if source is None or params is None or params.dtype not in INTEGER_LIMITS or not _fit(params, source):
            return
        name = node.outputs[0].name or ""
        if node.op_type == "QuantizeLinear":
            self._data[name] = quantize(source, params)
            return
        self._data[name] = dequantize(source, params)
        if params.dtype == "uint8":
            source = (source.astype(np.int16) - 128).astype(np.int8)
            params = QuantParams("int8", params.scale, tuple(z - 128 for z in params.zero_point), params.axis)
        self._quantized[name] = (source, params)

    def _learn_small(self, node: ir.Node, source: Array) -> None:
        scales = self.get(node.inputs[1])
        zero = self.get(node.inputs[2]) if len(node.inputs) > 2 else None
        if scales is None or (zero is None and len(node.inputs) > 2 and node.inputs[2] is not None):
            return
        if zero is not None and np.any(zero.astype(np.int8)):
            return
        block, axis = _int_attribute(node, "block_size", 0), _int_attribute(node, "axis", 1)
        axis = axis + source.ndim if axis < 0 else axis
        if not 0 <= axis < source.ndim or (block and source.shape[axis] % block):
            return
        if not _scales_fit(scales, source.shape, axis, block):
            return
        weight = SmallWeight(source.astype(np.int8), scales.astype(np.float32), axis, block)
        name = node.outputs[0].name or ""
        self._small[name], self._data[name] = weight, weight.real()


def quantize(x: Array, params: QuantParams) -> Array:
    """ONNX QuantizeLinear of real values."""
    low, high = INTEGER_LIMITS[params.dtype]
    scale, zero = _broadcast(params, x.ndim)
    scaled = np.rint(x.astype(np.float32) / scale.astype(np.float32)).astype(np.float64) + zero
    out: Array = np.clip(scaled, low, high).astype(params.dtype)
    return out


def dequantize(q: Array, params: QuantParams) -> Array:
    """ONNX DequantizeLinear: float32 values."""
    scale, zero = _broadcast(params, q.ndim)
    steps = (q.astype(np.float64) - zero).astype(np.float32)
    out: Array = (steps * scale.astype(np.float32)).astype(np.float32)
    return out


def _fit(params: QuantParams, data: Array) -> bool:
    """Whether there is a scale and a zero point for each index of an axis that ``data`` has."""
    count = len(params.scale)
    if len(params.zero_point) != count:
        return False
    if params.axis is None:
        return count == 1
    return 0 <= params.axis < data.ndim and data.shape[params.axis] == count


def _scales_fit(scales: Array, shape: tuple[int, ...], axis: int, block: int) -> bool:
    """Likewise for the scales of a ``SmallWeight``."""
    if block:
        return scales.shape == (*shape[:axis], shape[axis] // block, *shape[axis + 1 :])
    return scales.size in (1, shape[axis])


def _broadcast(params: QuantParams, rank: int) -> tuple[Reals, Reals]:
    shape = [1] * rank
    if params.axis is not None:
        shape[params.axis] = len(params.scale)
    scale = np.asarray(params.scale, np.float64)
    zero = np.asarray(params.zero_point, np.float64)
    return scale.reshape(shape), zero.reshape(shape)


def _dtype_without_zero_point(node: ir.Node) -> str:
    """Element type where the zero point is absent: the input's for DQ, uint8 or ``output_dtype`` for Q."""
    if node.op_type == "DequantizeLinear":
        source = node.inputs[0]
        return source.dtype.name.lower() if source is not None and source.dtype is not None else "uint8"
    wanted = _int_attribute(node, "output_dtype", 0)
    return ir.DataType(wanted).name.lower() if wanted else "uint8"


def _int_attribute(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return int(attribute.value) if isinstance(attribute, ir.Attr) else default


def _constant_of(node: ir.Node) -> Array | None:
    for name, attribute in node.attributes.items():
        value: Any = attribute.value
        if name == "value":
            data: Array = value.numpy()
            return data
        if name in {"value_float", "value_floats"}:
            return np.asarray(value, np.float32)
        if name in {"value_int", "value_ints"}:
            return np.asarray(value, np.int64)
    return None
