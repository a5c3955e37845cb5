"""Convolutions of TFLite -> Conv and ConvTranspose.

    CONV_2D            weights (out, kh, kw, in/groups)   ->  (out, in/groups, kh, kw)
    DEPTHWISE_CONV_2D  weights (1, kh, kw, in * m)        ->  (in * m, 1, kh, kw), group = in
    TRANSPOSE_CONV     weights (out, kh, kw, in)          ->  (in, out, kh, kw)
    SAME:   out = ceil(in / stride), pads before = total // 2, the rest after
            total = max((out - 1) stride + (k - 1) dilation + 1 - in, 0)

A bias of integers has scale s_input * s_weight whatever the file says: the kernel adds it to its accumulator.
The file's scale is kept where it is that product.

Source: kernels/conv.cc, depthwise_conv.cc, transpose_conv.cc, padding.h (ComputePaddingHeightWidth),
kernel_util.cc (PopulateConvolutionQuantizationParams).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import NCHW, Importer, UnreadableError, dequantized
from edgekit.frontends.tflite.ops.activation import fused
from edgekit.frontends.tflite.read import ABSENT, Operator, Quant

SAME = 0  # schema.fbs, Padding
_INT32 = np.iinfo(np.int32)


def same_pads(
    sizes: Sequence[int | None], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int] | None:
    """Pads in ONNX order (all before, all after) of SAME; None where a size is dynamic."""
    before, after = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if size is None:
            return None
        total = max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return [*before, *after]


def padding(
    operator: Operator,
    sizes: Sequence[int | None],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> dict[str, Any]:
    """The ``pads`` (or, on dynamic sizes, ``auto_pad``) attribute of a window operator."""
    if min(*strides, *dilations, *kernel) < 1:
        raise UnreadableError(f"kernel {kernel}, stride {strides}, dilation {dilations}", "")
    if int(operator.options["padding"]) != SAME:
        return {}
    pads = same_pads(sizes, kernel, strides, dilations)
    return {"auto_pad": "SAME_UPPER"} if pads is None else {"pads": pads}


def strides_of(operator: Operator) -> list[int]:
    """(vertical, horizontal)."""
    return [int(operator.options["strideH"]), int(operator.options["strideW"])]


def bias(graph: Importer, operator: Operator, position: int, *, data: int, weight: int) -> ir.Value | None:
    """The bias operand, or None where there is none."""
    index = operator.inputs[position] if len(operator.inputs) > position else ABSENT
    if index == ABSENT:
        return None
    tensor = graph.tensor(index)
    if tensor.data is None or tensor.data.dtype.kind != "i":
        return graph.value(index)
    source, factor = graph.tensor(data).quant, graph.tensor(weight).quant
    if source is None or factor is None:
        raise UnreadableError("its bias is integer, and its input or its weights are not", "")
    product = source.scale[0] * factor.scale
    quant = Quant(product, np.zeros(product.size, np.int64), None if product.size == 1 else 0)
    own = product if tensor.quant is None else tensor.quant.scale
    if own.shape == product.shape and np.allclose(own, product, rtol=1e-6, atol=0.0):
        quant = Quant(own, quant.zero_point, quant.axis)
    fits = tensor.data.min(initial=0) >= _INT32.min and tensor.data.max(initial=0) <= _INT32.max
    flat = tensor.data.reshape(-1)
    if not fits:  # a 64-bit bias of int16 activations, for which ONNX has no DequantizeLinear
        return graph.constant(tensor.name or "bias", dequantized(flat, quant))
    return graph.dequantized_constant(tensor.name or "bias", flat.astype(np.int32), quant)


def weight(graph: Importer, index: int, axes: Sequence[int]) -> ir.Value:
    """Weights with their axes in ONNX order; computed ones go through a Transpose."""
    if graph.tensor(index).data is None:
        return graph.node("Transpose", [graph.value(index)], perm=list(axes))
    return graph.constant_tensor(index, axes=axes)


def _conv(graph: Importer, operator: Operator) -> None:
    data, kernel = operator.inputs[:2]
    _, height, width, channels = graph.dims(data)
    _, kh, kw, per_group = graph.tensor(kernel).shape
    if channels is None or per_group < 1 or channels % per_group:
        raise UnreadableError(f"{channels} channels for weights of {per_group}", "")
    _finish(
        graph,
        operator,
        weight(graph, kernel, (0, 3, 1, 2)),
        group=channels // per_group,
        sizes=(height, width),
        kernel=(kh, kw),
    )


def _depthwise(graph: Importer, operator: Operator) -> None:
    data, kernel = operator.inputs[:2]
    _, height, width, channels = graph.dims(data)
    one, kh, kw, outputs = graph.tensor(kernel).shape
    if channels is None or one != 1 or channels < 1 or outputs % channels:
        raise UnreadableError(f"{channels} channels for depthwise weights of {outputs}", "")
    weights = weight(graph, kernel, (3, 0, 1, 2))
    _finish(graph, operator, weights, group=channels, sizes=(height, width), kernel=(kh, kw))


def _finish(
    graph: Importer,
    operator: Operator,
    weights: ir.Value,
    *,
    group: int,
    sizes: tuple[int | None, int | None],
    kernel: tuple[int, int],
) -> None:
    data, factor = operator.inputs[:2]
    strides = strides_of(operator)
    dilations = [int(operator.options["dilationHFactor"]), int(operator.options["dilationWFactor"])]
    added = bias(graph, operator, 2, data=data, weight=factor)
    result = graph.node(
        "Conv",
        [graph.value(data, NCHW), weights, *([] if added is None else [added])],
        kernel_shape=list(kernel),
        strides=strides,
        dilations=dilations,
        group=group,
        **padding(operator, sizes, kernel, strides, dilations),
    )
    graph.produce(operator.outputs[0], fused(graph, operator, result), NCHW)


def _transpose_conv(graph: Importer, operator: Operator) -> None:
    """Inputs: output shape, weights, data, bias. Pads are those that give the output shape."""
    shape, kernel, data = operator.inputs[:3]
    # With a dynamic batch the shape is computed; the tensor itself then says the sizes that are fixed.
    wanted = graph.integers(shape) or graph.dims(operator.outputs[0])
    _, kh, kw, _ = graph.tensor(kernel).shape
    _, *sizes, _ = graph.dims(data)
    strides = strides_of(operator)
    if len(wanted) != 4 or min(strides) < 1:
        raise UnreadableError(f"output shape {wanted}, stride {strides}", "")
    before, after, extra = [], [], []
    for size, goal, width, stride in zip(sizes, wanted[1:3], (kh, kw), strides, strict=True):
        if size is None or goal is None:
            raise UnreadableError("it has a dynamic height or width", "convert with fixed input shapes")
        full = (size - 1) * stride + width
        # TFLite places the input as the convolution with these sizes would: padding.h, on the output.
        total = max(full - goal, 0)
        before.append(total // 2)
        after.append(total - total // 2)
        extra.append(max(goal - full, 0))
    added = bias(graph, operator, 3, data=data, weight=kernel)
    weights = weight(graph, kernel, (3, 0, 1, 2))
    result = graph.node(
        "ConvTranspose",
        [graph.value(data, NCHW), weights, *([] if added is None else [added])],
        kernel_shape=[kh, kw],
        strides=strides,
        pads=[*before, *after],
        output_padding=extra if any(extra) else None,
    )
    graph.produce(operator.outputs[0], fused(graph, operator, result), NCHW)


LOWERINGS: dict[str, Callable[[Importer, Operator], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
}
