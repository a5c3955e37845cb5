"""One Keras layer or operation -> its ONNX nodes.

    ROWS[class](layer, inputs, writer) -> output

Here the layers without weights; those with some are in ``keras_layers``, activations in
``keras_activations``.

R3: Reshape to (1, ..., 1, channels) is a change of axes and follows; any other names sizes, and they stay.
R4: arithmetic between tensors (``x + y``) is an operation of Keras without weights; rows by its class too.

Source: keras/src/layers (Keras 3.15).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.keras_activations import ROWS as ACTIVATIONS
from edgekit.frontends.keras_geometry import along_axes, padded, padding_of, refuse_channels_first
from edgekit.frontends.keras_layers import ROWS as WITH_WEIGHTS
from edgekit.frontends.keras_writer import Held, Row, Writer, refused
from edgekit.spec import Array


def write(layer: Any, args: tuple[Any, ...], writer: Writer) -> Held:
    """The layer's nodes; InputError where it has no row."""
    kind = type(layer)
    row = ROWS.get(kind.__name__) if kind.__module__.startswith("keras.") else None
    if row is None:
        raise refused(layer, "edgekit has no row for such a layer (docs/pruning.md lists those it has)")
    inputs = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
    if not inputs or not all(isinstance(each, Held) for each in inputs):
        raise refused(layer, "it takes something else than tensors of the model")
    return row(layer, inputs, writer)


def _nothing(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """In inference it gives what it is given."""
    del layer, writer
    return inputs[0]


def _several(operator: str) -> Row:
    def row(layer: Any, inputs: list[Held], writer: Writer) -> Held:
        if len({each.rank for each in inputs}) != 1:
            raise refused(layer, "its inputs have different numbers of axes")
        if any(each.first for each in inputs):
            inputs = [writer.as_first(each) for each in inputs]
        sizes = zip(*(each.shape for each in inputs), strict=True)
        shape = tuple(next((size for size in along if size != 1), 1) for along in sizes)
        values: list[ir.Value | None] = [each.value for each in inputs]
        if operator in {"Add", "Mul", "Sub"}:
            value = values[0]
            for number, each in enumerate(values[1:]):
                value = writer.node(operator, [value, each], name=f"{writer.name_of(layer)}/{number}")
            assert value is not None  # noqa: S101  there is an input
        else:
            value = writer.node(operator, values, name=writer.name_of(layer))
        return replace(inputs[0], value=value, shape=shape)

    return row


def _concatenate(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    rank = inputs[0].rank
    axis = layer.axis % rank
    shape = list(inputs[0].shape)
    parts = [each.shape[axis] for each in inputs]
    shape[axis] = None if None in parts else sum(part or 0 for part in parts)
    if axis == 0:
        raise refused(layer, "it is along the batch")
    if any(each.first for each in inputs):
        inputs, axis = [writer.as_first(each) for each in inputs], 1 if axis == rank - 1 else axis + 1
    value = writer.node("Concat", [each.value for each in inputs], name=writer.name_of(layer), axis=axis)
    return replace(inputs[0], value=value, shape=tuple(shape))


def _flatten(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    refuse_channels_first(layer)
    held = writer.as_last(inputs[0])
    value = writer.node("Flatten", [held.value], name=writer.name_of(layer), axis=1)
    return Held(value, tuple(layer.compute_output_shape(held.shape)))


def is_change_of_axes(layer: Any, rank: int) -> bool:
    """R3."""
    wanted = tuple(layer.target_shape)
    return rank == 2 and len(wanted) > 1 and all(size == 1 for size in wanted[:-1])


def _reshape(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    held, name = writer.as_last(inputs[0]), writer.name_of(layer)
    shape = tuple(layer.compute_output_shape(held.shape))
    if is_change_of_axes(layer, held.rank):
        axes = writer.numbers(f"{name}/axes", np.arange(1, len(shape) - 1))
        return Held(writer.node("Unsqueeze", [held.value, axes], name=name), shape)
    wanted = writer.numbers(
        f"{name}/shape", np.array([0, *(-1 if s is None else s for s in shape[1:])], np.int64)
    )
    return Held(writer.node("Reshape", [held.value, wanted], name=name), shape)


def _pool(operator: str) -> Row:
    def row(layer: Any, inputs: list[Held], writer: Writer) -> Held:
        refuse_channels_first(layer)
        held = inputs[0]
        kernel, strides = along_axes(layer.pool_size, held), along_axes(layer.strides, held)
        value = writer.node(
            operator,
            [writer.as_first(held).value],
            name=writer.name_of(layer),
            kernel_shape=list(kernel),
            strides=list(strides),
            **padding_of(layer.padding, held, kernel, strides, (1,) * len(kernel)),
        )
        return Held(value, tuple(layer.compute_output_shape(held.shape)), first=True)

    return row


def _global_pool(operator: str) -> Row:
    def row(layer: Any, inputs: list[Held], writer: Writer) -> Held:
        refuse_channels_first(layer)
        held, name = writer.as_first(inputs[0]), writer.name_of(layer)
        axes = writer.numbers(f"{name}/axes", np.arange(2, held.rank))
        value = writer.node(operator, [held.value, axes], name=name, keepdims=int(layer.keepdims))
        return Held(value, tuple(layer.compute_output_shape(held.shape)), first=bool(layer.keepdims))

    return row


def _zero_padding(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    refuse_channels_first(layer)
    held = writer.as_first(inputs[0])
    given = layer.padding if held.rank > 3 else (layer.padding,)
    sides = [(each, each) if isinstance(each, int) else (int(each[0]), int(each[1])) for each in given]
    value = padded(writer, held.value, sides, writer.name_of(layer))
    return Held(value, tuple(layer.compute_output_shape(held.shape)), first=True)


def _cropping(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    refuse_channels_first(layer)
    held, name = writer.as_first(inputs[0]), writer.name_of(layer)
    sides = layer.cropping if held.rank > 3 else (layer.cropping,)
    far = np.iinfo(np.int64).max
    numbers: list[ir.Value | None] = [
        writer.numbers(f"{name}/{part}", np.array(each, np.int64))
        for part, each in (
            ("starts", [begin for begin, _ in sides]),
            ("ends", [-end if end else far for _, end in sides]),
            ("axes", list(range(2, held.rank))),
        )
    ]
    value = writer.node("Slice", [held.value, *numbers], name=name)
    return Held(value, tuple(layer.compute_output_shape(held.shape)), first=True)


def _upsampling(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    refuse_channels_first(layer)
    held, name = writer.as_first(inputs[0]), writer.name_of(layer)
    way = getattr(layer, "interpolation", "nearest")
    if way not in {"nearest", "bilinear"}:
        raise refused(layer, f"its interpolation is {way!r}")
    scales = writer.numbers(f"{name}/scales", np.array([1, 1, *along_axes(layer.size, held)], np.float32))
    kind = (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if way == "nearest"
        else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    )
    value = writer.node("Resize", [held.value, None, scales], name=name, **kind)
    return Held(value, tuple(layer.compute_output_shape(held.shape)), first=True)


def _rescaling(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    return _scaled(layer, inputs[0], writer, np.asarray(layer.scale), np.asarray(layer.offset))


def _normalization(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """(x - mean) / max(sqrt(variance), 1e-7): Keras's own epsilon."""
    if getattr(layer, "invert", False):
        raise refused(layer, "it is inverted")
    mean = np.asarray(layer.mean, np.float64)
    scale = 1 / np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), 1e-7)
    return _scaled(layer, inputs[0], writer, scale, -mean * scale)


def _scaled(layer: Any, held: Held, writer: Writer, scale: Array, offset: Array) -> Held:
    """X * scale + offset, in Keras's order of axes unless both are single numbers."""
    name = writer.name_of(layer)
    held = held if scale.size == offset.size == 1 else writer.as_last(held)
    parts: list[ir.Value | None] = [
        writer.numbers(f"{name}/{part}", (each.reshape(()) if each.size == 1 else each).astype(np.float32))
        for part, each in (("scale", scale), ("offset", offset))
    ]
    value = writer.node("Mul", [held.value, parts[0]], name=f"{name}/scaled")
    return replace(held, value=writer.node("Add", [value, parts[1]], name=f"{name}/moved"))


ROWS: dict[str, Row] = {
    **ACTIVATIONS,
    **WITH_WEIGHTS,
    "Add": _several("Add"),
    "Average": _several("Mean"),
    "Multiply": _several("Mul"),
    "Subtract": _several("Sub"),
    "Maximum": _several("Max"),
    "Minimum": _several("Min"),
    "Concatenate": _concatenate,
    "Flatten": _flatten,
    "Reshape": _reshape,
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D"), _pool("MaxPool")),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D"), _pool("AveragePool")),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D"), _global_pool("ReduceMean")),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D"), _global_pool("ReduceMax")),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D"), _zero_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D"), _cropping),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D"), _upsampling),
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    **dict.fromkeys(
        (
            *(
                "Identity",
                "Dropout",
                "SpatialDropout1D",
                "SpatialDropout2D",
                "GaussianDropout",
                "GaussianNoise",
            ),
            *("AlphaDropout", "ActivityRegularization", "InputLayer"),
        ),
        _nothing,
    ),
}
