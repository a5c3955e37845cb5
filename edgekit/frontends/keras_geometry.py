"""What convolutions and pools of Keras share: sizes by axis, and padding as TensorFlow has it.

R1: sides of "same" padding: what is odd goes to the end; with strides they hang on the size, and where
    that is open the padding stays by name.

Source: tensorflow/core/framework/common_shape_fns.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.keras_writer import Held, Writer, refused


def refuse_channels_first(layer: Any) -> None:
    """Keras on TensorFlow runs them on a GPU alone."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise refused(layer, "its channels are first; Keras on TensorFlow runs that on a GPU alone")


def along_axes(given: Any, held: Held) -> tuple[int, ...]:
    """One number for each spatial axis."""
    many = held.rank - 2
    return (int(given),) * many if isinstance(given, int) else tuple(int(each) for each in given)


def padding_of(
    padding: str, held: Held, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> dict[str, Any]:
    """R1."""
    if padding == "valid":
        return {}
    begins, ends = [], []
    for size, width, stride, dilation in zip(held.shape[1:-1], kernel, strides, dilations, strict=True):
        reach = dilation * (width - 1) + 1
        if stride == 1:
            total = reach - 1
        elif size is None:
            return {"auto_pad": "SAME_UPPER"}
        else:
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return {"pads": [*begins, *ends]} if any((*begins, *ends)) else {}


def padded(writer: Writer, value: ir.Value, sides: list[tuple[int, int]], name: str) -> ir.Value:
    """Zeros around the spatial axes of a channels-first value."""
    pads = [0, 0, *(begin for begin, _ in sides), 0, 0, *(end for _, end in sides)]
    return writer.node("Pad", [value, writer.numbers(f"{name}/pads", np.array(pads, np.int64))], name=name)
