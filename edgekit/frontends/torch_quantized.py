"""Quantized torch operators -> QuantizeLinear and DequantizeLinear, with the model's own scales.

    quantized_decomposed.quantize_per_tensor, .quantize_per_channel       -> QuantizeLinear
    quantized_decomposed.dequantize_per_tensor, .dequantize_per_channel   -> DequantizeLinear
    FakeQuantize modules (torch.ao, torchao)                              -> both

torch: integer = clamp(round(real * (1 / scale)) + zero_point, quant_min, quant_max). ONNX has no clamp, only
the range of the type; where that is wider, Q1 the real value is clipped to the ends of the range before it is
quantized, so that QuantizeLinear and DequantizeLinear stay neighbours. Q2 A type that QuantizeLinear cannot
give (int32) is computed. Q3 Quantized weights are integers with a DequantizeLinear: what training kept as
float is rounded here, by torch's formula. Q4 The FakeQuantize modules of quantization-aware training are
frozen: scale and zero point become constants, observers stop.

Source: torch/ao/quantization/fx/_decomposed.py; torch.fake_quantize_per_tensor_affine; QuantizeLinear-21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.frontends.extras import import_extra

_WIDE_OPSET = 21  # QuantizeLinear-21: 16 bits
_TYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
)  # the first that holds a fake-quantizer's range is taken
_FAKE_QUANTIZER = ("fake_quant_enabled", "scale", "zero_point", "qscheme")  # torch.ao's and torchao's alike
_INT32_END = 2147483520.0  # the largest float32 below 2 ** 31


def translations(opset: int) -> dict[Any, Callable[..., Any]]:
    """Operator of torch -> function that writes it with onnxscript, as torch's exporter takes it.

    The operators of ``quantized_decomposed`` exist only once something has registered them, which whatever
    made the model has done.
    """
    torch = import_extra("torch", needed_for="a PyTorch source")
    decomposed = torch.ops.quantized_decomposed
    if not hasattr(decomposed, "quantize_per_tensor"):
        return {}
    write = _Writer(opset)

    def quantize(  # noqa: PLR0917  # torch's signature
        x: Any, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int
    ) -> Any:
        grid = _Grid(dtype, quant_min, quant_max)
        return write.quantize(x, write.scalar(scale), write.scalar(zero_point, "int64"), grid, None)

    def quantize_channels(  # noqa: PLR0917  # torch's signature
        x: Any, scales: Any, zero_points: Any, axis: int, quant_min: int, quant_max: int, dtype: int
    ) -> Any:
        return write.quantize(x, scales, zero_points, _Grid(dtype, quant_min, quant_max), axis)

    def dequantize(  # noqa: PLR0917  # torch's signature
        x: Any,
        scale: float,
        zero_point: int,
        quant_min: int,
        quant_max: int,
        dtype: int,
        out_dtype: int = -1,
    ) -> Any:
        grid = _Grid(dtype, quant_min, quant_max)
        real = write.dequantize(x, write.scalar(scale), write.scalar(zero_point, "int64"), grid, None)
        return write.cast(real, out_dtype)

    def dequantize_channels(  # noqa: PLR0917  # torch's signature
        x: Any,
        scales: Any,
        zero_points: Any,
        axis: int,
        quant_min: int,
        quant_max: int,
        dtype: int,
        out_dtype: int = -1,
    ) -> Any:
        real = write.dequantize(x, scales, zero_points, _Grid(dtype, quant_min, quant_max), axis)
        return write.cast(real, out_dtype)

    table: dict[Any, Callable[..., Any]] = {
        decomposed.quantize_per_tensor.default: quantize,
        decomposed.quantize_per_channel.default: quantize_channels,
        decomposed.dequantize_per_tensor.default: dequantize,
        decomposed.dequantize_per_channel.default: dequantize_channels,
    }
    for function in table.values():
        _only_attributes_annotated(function)
    return table


class _Grid:
    """The integers that a quantizer gives: an ONNX type, and the part of its range that is used."""

    def __init__(self, dtype: int, low: int, high: int) -> None:
        """``dtype`` as ONNX counts types."""
        self.name = ir.DataType(dtype).name.lower()
        if self.name not in _TYPES:
            raise _unknown_type(self.name)
        self.low, self.high = low, high
        self.type = ir.DataType[self.name.upper()]

    @property
    def is_whole(self) -> bool:
        """Whether all values of the type are used, so that QuantizeLinear's own saturation is the clamp."""
        ends = np.iinfo(self.name)
        return self.low <= ends.min and ends.max <= self.high


class _Writer:
    """Writes the three forms with onnxscript; ``axis`` is None for one scale."""

    def __init__(self, opset: int) -> None:
        onnxscript = import_extra("onnxscript", needed_for="a PyTorch source")
        self._opset = opset
        self.op = onnxscript.opset21 if opset >= _WIDE_OPSET else onnxscript.opset18

    def scalar(self, value: float, dtype: str = "float32") -> Any:
        return self.op.Constant(value=ir.tensor(np.array(value, dtype)))

    def shape(self, sizes: tuple[int, ...]) -> Any:
        return self.op.Constant(value=ir.tensor(np.array(sizes, np.int64)))

    def cast(self, x: Any, dtype: int | None) -> Any:
        return x if dtype in (None, -1, ir.DataType.FLOAT) else self.op.Cast(x, to=dtype)

    def quantize(self, x: Any, scale: Any, zero_point: Any, grid: _Grid, axis: int | None) -> Any:
        if grid.name in ("int16", "uint16") and self._opset < _WIDE_OPSET:
            raise ExportError(
                f"the model quantizes to {grid.name}, which ONNX has since opset {_WIDE_OPSET}",
                why=f"opset {self._opset} is asked for",
                remedy="leave --opset out",
            )
        op, rank = self.op, len(x.shape)
        scale = op.Cast(scale, to=ir.DataType.FLOAT)
        wide_scale, wide_zero = (self._along(each, axis, rank) for each in (scale, zero_point))
        wide_zero = op.Cast(wide_zero, to=ir.DataType.FLOAT)
        if grid.name == "int32":  # Q2
            steps = op.Add(op.Round(op.Mul(x, op.Reciprocal(wide_scale))), wide_zero)
            low, high = max(grid.low, -_INT32_END), min(grid.high, _INT32_END)
            return op.Cast(op.Max(op.Min(steps, self.scalar(high)), self.scalar(low)), to=grid.type)
        if not grid.is_whole:  # Q1
            low, high = (
                op.Mul(op.Sub(self.scalar(end), wide_zero), wide_scale) for end in (grid.low, grid.high)
            )
            x = op.Max(op.Min(x, high), low)
        zero_point = op.Cast(zero_point, to=grid.type)
        return op.QuantizeLinear(x, scale, zero_point, **({} if axis is None else {"axis": axis}))

    def dequantize(self, x: Any, scale: Any, zero_point: Any, grid: _Grid, axis: int | None) -> Any:
        op, at = self.op, {} if axis is None else {"axis": axis}
        scale = op.Cast(scale, to=ir.DataType.FLOAT)
        if grid.name == "int32":  # DequantizeLinear takes no zero point with it
            if zero_point is not None:
                zero_point = op.Cast(self._along(zero_point, axis, len(x.shape)), to=grid.type)
                x = op.Sub(x, zero_point)
            return op.DequantizeLinear(x, scale, **at)
        if zero_point is None:
            return op.DequantizeLinear(x, scale, **at)
        return op.DequantizeLinear(x, scale, op.Cast(zero_point, to=grid.type), **at)

    def _along(self, x: Any, axis: int | None, rank: int) -> Any:
        """One value per channel, in the shape that broadcasts along ``axis``."""
        if axis is None:
            return x
        return self.op.Reshape(x, self.shape(tuple(-1 if each == axis % rank else 1 for each in range(rank))))


def integer_weights(model: ir.Model) -> ir.Model:
    """Rule Q3, in place: QuantizeLinear of a constant -> an integer initializer.

    ``model`` is the exporter's own fresh one. Nothing happens to a model that holds no QuantizeLinear.
    """
    nodes = [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if any(_is_computed_constant(node.inputs[0]) for node in nodes):
        optimizer = import_extra("onnxscript.optimizer", needed_for="a quantized PyTorch source")
        no_limit = 2**62
        optimizer.fold_constants(model, input_size_limit=no_limit, output_size_limit=no_limit)
    for node in [node for node in model.graph if node.op_type == "QuantizeLinear"]:
        constants = [None if value is None else value.const_value for value in node.inputs]
        if len(constants) != 3 or any(each is None for each in constants):
            continue
        x, scale, zero_point = (each.numpy() for each in constants if each is not None)
        axis = node.attributes.get_int("axis", 1)
        integers = _rounded(x, scale, zero_point, axis)
        (old,) = node.outputs
        new = ir.Value(
            name=old.name, shape=ir.Shape(integers.shape), type=old.type, const_value=ir.tensor(integers)
        )
        ir.convenience.replace_all_uses_with(old, new)
        model.graph.remove(node, safe=True)
        model.graph.register_initializer(new)
    results = set(model.graph.outputs)
    for name, value in list(model.graph.initializers.items()) if nodes else ():
        if not value.uses() and value not in results:  # the float weights
            model.graph.initializers.pop(name)
    return model


def _is_computed_constant(value: ir.Value | None) -> bool:
    """Whether ``value`` is computed from initializers alone."""
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if each is None or each in seen or each.const_value is not None:
            continue
        producer = each.producer()
        if producer is None or producer.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return False
        seen.add(each)
        waiting.extend(producer.inputs)
    return bool(seen)


def _rounded(x: Any, scale: Any, zero_point: Any, axis: int) -> Any:
    """By torch's formula in float32."""
    if scale.ndim:
        shape = [1] * x.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    ends = np.iinfo(zero_point.dtype)
    steps = np.rint(x * (np.float32(1) / scale)) + zero_point.astype(np.float32)
    return np.clip(steps, ends.min, ends.max).astype(zero_point.dtype)


def freeze(module: Any) -> tuple[str, ...]:
    """Rule Q4, in place: the module is the caller's own. Gives a note if there was something to freeze.

    Raises:
        ExportError: a fake quantizer has a zero point that is no integer, or a range that no type has.
    """
    found = [
        (name, each)
        for name, each in module.named_modules()
        if all(hasattr(each, attribute) for attribute in _FAKE_QUANTIZER)
    ]
    if not found:
        return ()
    import_extra("torch.ao.quantization.fx._decomposed", needed_for="a quantized PyTorch source")
    for name, each in found:
        each.forward = _frozen(each, name)
    return (f"{len(found)} fake quantizers keep the scales that training left them; their observers are off",)


def _frozen(fake: Any, name: str) -> Callable[[Any], Any]:
    """What ``fake`` computes once training is over, without its branches on tensors.

    torch.export does not take the fake-quantizing operator apart, so it sees the two that it stands for.
    """
    torch = import_extra("torch", needed_for="a PyTorch source")
    if not bool(fake.fake_quant_enabled.flatten()[0]):
        return lambda x: x
    if "float_qparams" in str(fake.qscheme):
        raise ExportError(
            f"fake quantizer {name} has zero points that are no integers ({fake.qscheme})",
            why="in ONNX, real = scale * (integer - zero_point) with integers",
            remedy="use torch.per_channel_symmetric or torch.per_channel_affine",
        )
    low, high = int(fake.quant_min), int(fake.quant_max)
    kind = getattr(torch, _type_of_range(low, high))
    op = torch.ops.quantized_decomposed
    zero_points = fake.zero_point.detach().float().round().clamp(low, high).to(torch.int32)
    if "per_channel" in str(fake.qscheme):
        scales, axis = fake.scale.detach().float(), int(fake.ch_axis)

        def per_channel(x: Any) -> Any:
            if not torch.compiler.is_exporting():
                return torch.fake_quantize_per_channel_affine(x, scales, zero_points, axis, low, high)
            integers = op.quantize_per_channel(x, scales, zero_points, axis, low, high, kind)
            return op.dequantize_per_channel(integers, scales, zero_points, axis, low, high, kind)

        return per_channel
    scale, zero_point = float(fake.scale), int(zero_points)

    def per_tensor(x: Any) -> Any:
        if not torch.compiler.is_exporting():
            return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
        integers = op.quantize_per_tensor(x, scale, zero_point, low, high, kind)
        return op.dequantize_per_tensor(integers, scale, zero_point, low, high, kind)

    return per_tensor


def _type_of_range(low: int, high: int) -> str:
    fitting = [name for name in _TYPES if np.iinfo(name).min <= low and high <= np.iinfo(name).max]
    if not fitting:
        raise _unknown_type(f"an integer from {low} to {high}")
    return fitting[0]


def _unknown_type(name: str) -> ExportError:
    return ExportError(
        f"the model quantizes to {name}",
        why=f"integers that ONNX and edgekit's targets share: {', '.join(_TYPES)}",
        remedy="quantize to int8 or uint8",
    )


def _only_attributes_annotated(function: Callable[..., Any]) -> None:
    """For torch's exporter: annotated parameters are attributes, all others tensors."""
    kinds = ("int", "float")
    function.__annotations__ = {key: kind for key, kind in function.__annotations__.items() if kind in kinds}
