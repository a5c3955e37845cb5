"""Value -> the weights on both sides of it, where scaling its channels can be undone exactly.

    Conv, Gemm, MatMul -> value -> (Relu, LeakyRelu, PRelu, pool, zero Pad, Flatten)* -> Conv, Gemm, MatMul

C1: a power of two commutes with what is positively homogeneous and with sums, bit for bit, as long as nothing
    leaves the normal numbers. Clip, Sigmoid and the like are not homogeneous: refused.
C2: every reader has to undo the scale. One that does not (a residual Add, an output of the model): refused.
C3: LayerNormalization, RMSNormalization and Mul by a constant count as the operator in front (SmoothQuant):
    what they multiply and add is per channel of the last axis.
C4: after Flatten of (n, c, h, w) channel i is columns i*h*w to (i+1)*h*w; a Reshape like that counts.

Source: Nagel et al. (2019), section 4.1, with the factors restricted to powers of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import constant, int_attribute, is_onnx, rank, shape_of

Integers = npt.NDArray[np.int64]

_HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")


@dataclass(frozen=True)
class Reader:
    """A weighted operator that multiplies the channels of a value with its columns.

    Attributes:
        node: Conv, Gemm or MatMul.
        repeat: columns of its weight that belong to one channel: h*w behind a Flatten (C4).
    """

    node: ir.Node
    repeat: int = 1


@dataclass(frozen=True)
class Between:
    """A value whose channels may be scaled.

    Attributes:
        head: what makes it.
        constants: indices of the inputs of ``head`` that scale what it makes.
        value: the first output of ``head``.
        seen: the value that the readers read; its peaks decide.
        axis: of the channels, in ``value`` and in ``seen``.
        channels: how many.
        readers: all that undo the scale.
    """

    head: ir.Node
    constants: tuple[int, ...]
    value: ir.Value
    seen: ir.Value
    axis: int
    channels: int
    readers: tuple[Reader, ...]

    @property
    def is_norm(self) -> bool:
        """C3."""
        return not is_onnx(self.head, "Conv", "Gemm", "MatMul")


def scalable(model: ir.Model) -> tuple[Between, ...]:
    """Every value between two weighted operators that C1 to C4 allow to scale, in the order of the graph."""
    found = []
    for node in model.graph:
        constants, channels, axis = _made_by(node)
        if not channels or not node.outputs[0].name:
            continue
        readers: list[Reader] = []
        if _all_undo(node.outputs[0], axis, channels, 1, readers) and readers:
            value = node.outputs[0]
            found.append(Between(node, constants, value, _seen(value), axis, channels, tuple(readers)))
    return tuple(found)


def head_axis(node: ir.Node) -> int:
    """The axis of the weight of ``node`` that its output channels run along."""
    if is_onnx(node, "Gemm"):
        return 0 if int_attribute(node, "transB", 0) else 1
    return 1 if is_onnx(node, "MatMul") else 0


def columns(reader: Reader, per_channel: Integers, *, shape: tuple[int, ...]) -> Integers:
    """One number per channel -> an array that broadcasts against the weight of ``reader``.

    Conv: (out, in/groups, *kernel); group g reads channels g*in/groups to (g+1)*in/groups.
    """
    node = reader.node
    if is_onnx(node, "Conv"):
        groups = int_attribute(node, "group", 1)
        rows = np.repeat(per_channel.reshape(groups, -1), shape[0] // groups, axis=0)
        return rows.reshape(*rows.shape, *(1,) * (len(shape) - 2))
    many = np.repeat(per_channel, reader.repeat)
    transposed = is_onnx(node, "Gemm") and int_attribute(node, "transB", 0)
    return many[None, :] if transposed else many[:, None]


_NOTHING: tuple[tuple[int, ...], int, int] = ((), 0, 0)


def _made_by(node: ir.Node) -> tuple[tuple[int, ...], int, int]:
    """(inputs that scale it, channels, axis) of what ``node`` makes; no channels where it is no head."""
    if is_onnx(node, "Conv", "Gemm", "MatMul"):
        return _made_by_weight(node)
    count = rank(node.outputs[0]) or 0
    if is_onnx(node, "Mul"):
        factors = tuple(index for index in (0, 1) if constant(node.inputs[index]) is not None)
        last = (shape_of(node.outputs[0]) or (None,))[-1]
        scale = constant(node.inputs[factors[0]]) if len(factors) == 1 else None
        if scale is None or scale.dtype != np.float32 or scale.shape != (last,) or count < 2:
            return _NOTHING
        return factors, int(scale.size), count - 1
    if not is_onnx(node, *_NORMS) or int_attribute(node, "axis", -1) not in {-1, count - 1} or count < 2:
        return _NOTHING
    indices = tuple(index for index in (1, 2) if len(node.inputs) > index and node.inputs[index] is not None)
    arrays = [constant(node.inputs[index]) for index in indices]
    if not arrays or any(array is None or array.ndim != 1 or array.dtype != np.float32 for array in arrays):
        return _NOTHING
    return indices, (0 if arrays[0] is None else arrays[0].shape[0]), count - 1


def _made_by_weight(node: ir.Node) -> tuple[tuple[int, ...], int, int]:
    count = rank(node.outputs[0]) or 0
    weight = constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    added = constant(bias)
    if weight is None or weight.dtype != np.float32 or (bias is not None and added is None) or count < 2:
        return _NOTHING
    if is_onnx(node, "MatMul") and weight.ndim != 2:
        return _NOTHING
    channels = weight.shape[head_axis(node)]
    if added is not None and added.shape not in {(channels,), (1, channels)}:
        return _NOTHING
    indices = (1,) if added is None else (1, 2)
    return indices, channels, 1 if is_onnx(node, "Conv") else count - 1


def _all_undo(value: ir.Value, axis: int, channels: int, repeat: int, readers: list[Reader]) -> bool:
    """C2, for every reader of ``value``; ``readers`` grows."""
    if value.is_graph_output() or not value.uses():
        return False
    for use in value.uses():
        node, output = use.node, use.node.outputs[0]
        if use.idx != 0:
            return False
        if _passes(node, axis):
            if not _all_undo(output, axis, channels, repeat, readers):
                return False
        elif (size := _flattened(node, axis)) and repeat == 1:
            if not _all_undo(output, 1, channels, size, readers):
                return False
        elif _undoes(node, axis, channels, repeat):
            readers.append(Reader(node, repeat))
        else:
            return False
    return True


def _passes(node: ir.Node, axis: int) -> bool:
    """C1: whether the channels of what ``node`` gives are those it got, each scaled alike."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    if is_onnx(node, "Pad"):
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
        filling = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
        known = len(node.inputs) < 3 or node.inputs[2] is None or filling is not None
        pads, count = constant(node.inputs[1]), rank(node.inputs[0]) or 0
        plain = pads is not None and pads.size == 2 * count and not pads[axis] and not pads[axis + count]
        return plain and len(node.inputs) < 4 and (mode != "constant" or (known and not np.any(filling or 0)))
    if is_onnx(node, "ReduceMean"):
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        count = rank(node.inputs[0]) or 0
        kept = int_attribute(node, "keepdims", 1) or axis == 1
        return axes is not None and bool(kept) and all(int(each) % count > axis for each in axes.ravel())
    if is_onnx(node, "PRelu"):
        return constant(node.inputs[1]) is not None
    if is_onnx(node, "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"):
        return axis == 1
    return is_onnx(node, *_HOMOGENEOUS)


def _flattened(node: ir.Node, axis: int) -> int:
    """C4: how many columns one channel becomes; 0 where ``node`` does something else."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if not is_onnx(node, "Flatten", "Reshape", "Squeeze") or axis != 1 or before is None or after is None:
        return 0
    if len(after) != 2 or len(before) < 2 or None in before[1:]:
        return 0
    sizes = [size or 0 for size in before[1:]]
    return math.prod(sizes[1:]) if after[1] == math.prod(sizes) else 0


def _undoes(node: ir.Node, axis: int, channels: int, repeat: int) -> bool:
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or weight.dtype != np.float32:
        return False
    count = rank(node.inputs[0]) or 0
    if is_onnx(node, "Conv"):
        return axis == 1 and repeat == 1 and weight.shape[1] * int_attribute(node, "group", 1) == channels
    if is_onnx(node, "Gemm"):
        side = 1 if int_attribute(node, "transB", 0) else 0
        plain = not int_attribute(node, "transA", 0)
        return plain and axis == 1 and weight.shape[side] == channels * repeat
    last = axis == count - 1
    return is_onnx(node, "MatMul") and weight.ndim == 2 and last and weight.shape[0] == channels * repeat


def _seen(value: ir.Value) -> ir.Value:
    """Behind the activation that a kernel fuses: what is quantized between the two operators."""
    uses = tuple(value.uses())
    if len(uses) == 1 and is_onnx(uses[0].node, "Relu", "LeakyRelu", "PRelu"):
        return uses[0].node.outputs[0]
    return value
