"""Pooling, resizing and the operators that trade space for channels or batch -> ONNX.

    AVERAGE_POOL_2D   the mean over what is inside: count_include_pad = 0
    RESIZE_*          align_corners, half_pixel or asymmetric; nearest rounds half up
    SPACE_TO_DEPTH    the new channel is (row in block, column in block, channel), as ONNX has it

Source: kernels/internal/reference/pooling.h, resize_bilinear.h, resize_nearest_neighbor.h,
space_to_batch_nd.h; onnx Resize-19, SpaceToDepth-13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.frontends.tflite.graph import NCHW, Importer, UnreadableError
from edgekit.frontends.tflite.ops.activation import fused
from edgekit.frontends.tflite.ops.conv import padding, strides_of
from edgekit.frontends.tflite.read import Operator

Lowering = Callable[[Importer, Operator], None]


def _pool(op: str) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        data = operator.inputs[0]
        _, height, width, _ = graph.dims(data)
        kernel = [int(operator.options["filterHeight"]), int(operator.options["filterWidth"])]
        strides = strides_of(operator)
        pads = padding(operator, (height, width), kernel, strides)
        result = graph.node(op, [graph.value(data, NCHW)], kernel_shape=kernel, strides=strides, **pads)
        graph.produce(operator.outputs[0], fused(graph, operator, result), NCHW)

    return lower


def _resize(mode: str) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        data = operator.inputs[0]
        sizes = graph.known_integers(operator.inputs[1], "target size")
        batch, height, width, channels = graph.dims(data)
        corners = bool(operator.options.get("alignCorners"))
        centers = bool(operator.options.get("halfPixelCenters"))
        if len(sizes) != 2 or channels is None or min(sizes) < 1:
            raise UnreadableError(f"target size {sizes}", "")
        kind = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
        # Nearest: floor(x + 0.5) with corners or centers, floor(x) otherwise.
        rounding = ("round_prefer_ceil" if corners or centers else "floor") if mode == "nearest" else None
        whole = [_ratio(size, old) for size, old in zip(sizes, (height, width), strict=True)]
        inputs: list[ir.Value | None] = [graph.value(data, NCHW), None]
        if corners or None in whole:
            sizes_only = batch is None
            target = sizes if sizes_only else (batch or 0, channels, *sizes)
            inputs += [None, graph.vector(target)]
        else:  # by factors: it says the same, and the batch may be dynamic
            sizes_only = False
            inputs.append(graph.constant("scales", np.asarray([1, 1, *whole], np.float32)))
        result = graph.node(
            "Resize",
            inputs,
            mode=mode,
            coordinate_transformation_mode=kind,
            nearest_mode=rounding,
            axes=[2, 3] if sizes_only else None,
        )
        graph.produce(operator.outputs[0], result, NCHW)

    return lower


def _ratio(new: int, old: int | None) -> int | None:
    """The whole number that ``old`` grows by, if it is one."""
    return new // old if old and new % old == 0 else None


def _depth(op: str) -> Lowering:
    def lower(graph: Importer, operator: Operator) -> None:
        block = int(operator.options["blockSize"])
        if block < 1:
            raise UnreadableError(f"its block size is {block}", "")
        mode = "DCR" if op == "DepthToSpace" else None
        source = graph.value(operator.inputs[0], NCHW)
        graph.produce(operator.outputs[0], graph.node(op, [source], blocksize=block, mode=mode), NCHW)

    return lower


def _blocks(graph: Importer, operator: Operator) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    block = graph.known_integers(operator.inputs[1], "block shape")
    pairs = graph.known_integers(operator.inputs[2], "paddings or crops")
    if (
        len(pairs) != 2 * len(block)
        or min(block, default=1) < 1
        or len(block) >= graph.rank(operator.inputs[0])
    ):
        raise UnreadableError(f"block shape {block} with paddings {pairs}", "")
    return block, list(zip(pairs[::2], pairs[1::2], strict=True))


def _fixed(graph: Importer, operator: Operator, index: int) -> list[int]:
    dims = graph.dims(index)[1:]
    if any(size is None for size in dims):
        raise UnreadableError("a size other than the batch is dynamic", "convert with fixed input shapes")
    return [int(size or 0) for size in dims]


def _space_to_batch(graph: Importer, operator: Operator) -> None:
    """Pad, then (n, h/b, b, w/b, b, c) -> (b, b, n, h/b, w/b, c), the blocks being the batch's outer part."""
    block, pads = _blocks(graph, operator)
    data, count = operator.inputs[0], len(block)
    sizes = _fixed(graph, operator, data)
    rank = 1 + len(sizes)
    before = [0, *(low for low, _ in pads), *[0] * (rank - 1 - count)]
    after = [0, *(high for _, high in pads), *[0] * (rank - 1 - count)]
    padded = graph.moved(data, "Pad", [graph.value(data), graph.vector([*before, *after])])
    whole = [size + low + high for size, (low, high) in zip(sizes, pads, strict=False)]
    rest = sizes[count:]
    outer = [size // step for size, step in zip(whole, block, strict=True)]
    if [a * b for a, b in zip(outer, block, strict=True)] != whole:
        raise UnreadableError(f"blocks {block} do not divide {whole}", "")
    split = [each for pair in zip(outer, block, strict=True) for each in pair]
    parts = graph.moved(data, "Reshape", [padded, graph.vector([-1, *split, *rest])])
    perm = [
        *range(2, 2 + 2 * count, 2),
        0,
        *range(1, 1 + 2 * count, 2),
        *range(1 + 2 * count, 1 + 2 * count + len(rest)),
    ]
    moved = graph.moved(data, "Transpose", [parts], perm=perm)
    graph.produce(operator.outputs[0], graph.node("Reshape", [moved, graph.vector([-1, *outer, *rest])]))


def _batch_to_space(graph: Importer, operator: Operator) -> None:
    """(b, b, n, h, w, c) -> (n, h, b, w, b, c), then crop: the way back."""
    block, crops = _blocks(graph, operator)
    data, count = operator.inputs[0], len(block)
    sizes = _fixed(graph, operator, data)
    rest = sizes[count:]
    parts = graph.moved(data, "Reshape", [graph.value(data), graph.vector([*block, -1, *sizes])])
    inner = [each for index in range(count) for each in (count + 1 + index, index)]
    tail = range(2 * count + 1, 2 * count + 1 + len(rest))
    moved = graph.moved(data, "Transpose", [parts], perm=[count, *inner, *tail])
    whole = [size * step for size, step in zip(sizes, block, strict=False)]
    joined = graph.node("Reshape", [moved, graph.vector([-1, *whole, *rest])])
    if any(low or high for low, high in crops):
        starts = graph.vector([low for low, _ in crops])
        ends = graph.vector([size - high for size, (_, high) in zip(whole, crops, strict=True)])
        joined = graph.requantized(data, joined)
        joined = graph.node("Slice", [joined, starts, ends, graph.vector(range(1, 1 + count))])
    graph.produce(operator.outputs[0], joined)


def _local_response(graph: Importer, operator: Operator) -> None:
    """X / (bias + alpha sum of squares)^beta; ONNX divides alpha by the size of the window."""
    size = 2 * int(operator.options["radius"]) + 1
    result = graph.node(
        "LRN",
        [graph.value(operator.inputs[0], NCHW)],
        size=size,
        alpha=float(np.float32(operator.options["alpha"]) * size),
        beta=float(operator.options["beta"]),
        bias=float(operator.options["bias"]),
    )
    graph.produce(operator.outputs[0], result, NCHW)


LOWERINGS: dict[str, Lowering] = {
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "DEPTH_TO_SPACE": _depth("DepthToSpace"),
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "MAX_POOL_2D": _pool("MaxPool"),
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPACE_TO_DEPTH": _depth("SpaceToDepth"),
}
