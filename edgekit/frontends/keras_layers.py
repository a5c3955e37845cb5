"""Keras layers that have weights -> ONNX nodes, each weight under its layer's name, and the way back.

Layouts: a kernel is (*spatial, in, out) in Keras and (out, in, *spatial) in ONNX.

R2: a depthwise kernel (*spatial, channels, multiplier) gives channel c the outputs c * multiplier + m, which
    is the order of ONNX's groups.

Source: keras/src/layers (Keras 3.15).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.keras_activations import activated
from edgekit.frontends.keras_geometry import along_axes, padded, padding_of, refuse_channels_first
from edgekit.frontends.keras_writer import Held, Row, Writer, refused
from edgekit.spec import Array


def _spatial_last(array: Array, lead: int = 2) -> Array:
    """(a, b, *spatial) -> (*spatial, b, a)."""
    return np.asarray(np.transpose(array, (*range(lead, array.ndim), 1, 0)))


def _spatial_first(array: Array) -> Array:
    """(*spatial, b, a) -> (a, b, *spatial)."""
    return np.asarray(np.transpose(array, (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))))


def _depthwise_there(array: Array) -> Array:
    """R2: (*spatial, channels, multiplier) -> (channels * multiplier, 1, *spatial)."""
    turned = np.moveaxis(array, (-2, -1), (0, 1))
    return np.asarray(turned.reshape(-1, 1, *turned.shape[2:]))


def _depthwise_back(array: Array, groups: int) -> Array:
    split = array.reshape(groups, -1, *array.shape[2:])
    return np.asarray(np.moveaxis(split, (0, 1), (-2, -1)))


def _bias(layer: Any, writer: Writer) -> list[ir.Value | None]:
    if not layer.use_bias:
        return []
    return [writer.weight(layer, "bias", lambda a: a, lambda a, _: np.asarray(a))]


def _conv(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    kernel = writer.weight(layer, "kernel", _spatial_first, lambda a, _: _spatial_last(a))
    held = _convolved(layer, inputs[0], writer, [kernel, *_bias(layer, writer)], layer.groups)
    return activated(layer, held, writer)


def _depthwise(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    kernel = writer.weight(layer, "kernel", _depthwise_there, _depthwise_back)
    groups = inputs[0].shape[-1] or 1
    return activated(
        layer, _convolved(layer, inputs[0], writer, [kernel, *_bias(layer, writer)], groups), writer
    )


def _separable(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """Depthwise, then 1x1."""
    deep = writer.weight(layer, "depthwise_kernel", _depthwise_there, _depthwise_back)
    groups = inputs[0].shape[-1] or 1
    held = _convolved(
        layer, inputs[0], writer, [deep], groups, part="/depthwise", channels=groups * layer.depth_multiplier
    )
    mix = writer.weight(layer, "pointwise_kernel", _spatial_first, lambda a, _: _spatial_last(a))
    value = writer.node(
        "Conv", [held.value, mix, *_bias(layer, writer)], name=f"{writer.name_of(layer)}/pointwise"
    )
    return activated(layer, replace(held, value=value, shape=(*held.shape[:-1], layer.filters)), writer)


def _convolved(
    layer: Any,
    held: Held,
    writer: Writer,
    weights: list[ir.Value | None],
    groups: int,
    *,
    part: str = "",
    channels: int = 0,
) -> Held:
    """A Conv with the layer's strides, dilation and padding."""
    refuse_channels_first(layer)
    shape = tuple(layer.compute_output_shape(held.shape))
    x = writer.as_first(held)
    strides, kernel = along_axes(layer.strides, held), along_axes(layer.kernel_size, held)
    dilations = along_axes(layer.dilation_rate, held)
    value, padding = x.value, layer.padding
    if padding == "causal":
        value = padded(
            writer, value, [(dilations[0] * (kernel[0] - 1), 0)], f"{writer.name_of(layer)}/causal"
        )
        padding = "valid"
    value = writer.node(
        "Conv",
        [value, *weights],
        name=f"{writer.name_of(layer)}{part}",
        strides=list(strides),
        dilations=list(dilations),
        group=groups,
        **padding_of(padding, held, kernel, strides, dilations),
    )
    return Held(value, (*shape[:-1], channels or shape[-1]), first=True)


def _conv_transposed(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """kernel: (*spatial, out, in). TensorFlow's is the gradient of a Conv of the size that comes out."""
    refuse_channels_first(layer)
    held = inputs[0]
    if getattr(layer, "output_padding", None) is not None:
        raise refused(layer, "its output_padding is given")
    strides, kernel = along_axes(layer.strides, held), along_axes(layer.kernel_size, held)
    dilations = along_axes(layer.dilation_rate, held)
    weight = writer.weight(layer, "kernel", _spatial_first, lambda a, _: _spatial_last(a))
    begins, ends, extra = [], [], []
    for width, stride, dilation in zip(kernel, strides, dilations, strict=True):
        reach = dilation * (width - 1) + 1
        total = max(reach - stride, 0) if layer.padding == "same" else 0
        begins.append(total // 2)
        ends.append(total - total // 2)
        extra.append(max(stride - reach, 0))
    value = writer.node(
        "ConvTranspose",
        [writer.as_first(held).value, weight, *_bias(layer, writer)],
        name=writer.name_of(layer),
        strides=list(strides),
        dilations=list(dilations),
        pads=[*begins, *ends],
        output_padding=extra,
    )
    return activated(layer, Held(value, tuple(layer.compute_output_shape(held.shape)), first=True), writer)


def _dense(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """kernel: (in, out). Two axes: a Gemm; more: a MatMul, because a Gemm has two."""
    held, name = writer.as_last(inputs[0]), writer.name_of(layer)
    if getattr(layer, "lora_rank", None) or getattr(layer, "quantization_mode", None):
        raise refused(layer, "it has LoRA weights or is quantized")
    if held.rank == 2:
        kernel = writer.weight(layer, "kernel", lambda a: a.T, lambda a, _: np.asarray(a.T))
        value = writer.node("Gemm", [held.value, kernel, *_bias(layer, writer)], name=name, transB=1)
    else:
        kernel = writer.weight(layer, "kernel", lambda a: a, lambda a, _: np.asarray(a))
        value = writer.node("MatMul", [held.value, kernel], name=name)
        for bias in _bias(layer, writer):
            value = writer.node("Add", [value, bias], name=f"{name}/add")
    return activated(layer, Held(value, (*held.shape[:-1], layer.units)), writer)


def _batch_norm(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    held = writer.as_first(inputs[0])
    axis = layer.axis[0] if isinstance(layer.axis, list | tuple) else layer.axis
    if axis not in {-1, held.rank - 1}:
        raise refused(layer, "its axis is not the last one")
    channels, name = held.shape[-1] or 1, writer.name_of(layer)
    values: list[ir.Value | None] = []
    for part, filler in (("gamma", 1.0), ("beta", 0.0), ("moving_mean", 0.0), ("moving_variance", 1.0)):
        if getattr(layer, part, None) is None:
            values.append(writer.constant(f"{name}/{part}", np.full(channels, filler, np.float32), None))
        else:
            values.append(writer.weight(layer, part, lambda a: a, lambda a, _: np.asarray(a)))
    value = writer.node("BatchNormalization", [held.value, *values], name=name, epsilon=float(layer.epsilon))
    return replace(held, value=value)


def _layer_norm(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    held = writer.as_last(inputs[0])
    axis = layer.axis[0] if isinstance(layer.axis, list | tuple) and len(layer.axis) == 1 else layer.axis
    if axis not in {-1, held.rank - 1} or getattr(layer, "rms_scaling", False):
        raise refused(layer, "it is not over the last axis alone")
    name, channels = writer.name_of(layer), held.shape[-1] or 1
    values: list[ir.Value | None] = []
    for part, filler in (("gamma", 1.0), ("beta", 0.0)):
        if getattr(layer, part, None) is None:
            values.append(writer.constant(f"{name}/{part}", np.full(channels, filler, np.float32), None))
        else:
            values.append(writer.weight(layer, part, lambda a: a, lambda a, _: np.asarray(a)))
    value = writer.node(
        "LayerNormalization", [held.value, *values], name=name, epsilon=float(layer.epsilon), axis=-1
    )
    return replace(held, value=value)


def _embedding(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    if layer.mask_zero:
        raise refused(layer, "its mask (mask_zero) goes to layers behind it unseen")
    held, name = inputs[0], writer.name_of(layer)
    table = writer.weight(layer, "embeddings", lambda a: a, lambda a, _: np.asarray(a))
    whole = writer.node("Cast", [held.value], name=f"{name}/ids", to=ir.DataType.INT64)
    value = writer.node("Gather", [table, whole], name=name, axis=0)
    return Held(value, (*held.shape, layer.output_dim))


ROWS: dict[str, Row] = {
    **dict.fromkeys(("Conv1D", "Conv2D"), _conv),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    "Conv2DTranspose": _conv_transposed,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Embedding": _embedding,
}
