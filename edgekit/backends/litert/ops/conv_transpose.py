"""ConvTranspose -> TRANSPOSE_CONV, CONV_3D_TRANSPOSE (tflite/kernels/transpose_conv.cc, conv3d_transpose.cc).

    out[i * stride + k * dilation - before] += x[i] w[k]      w: (C, O / groups, *kernel) -> (O, *kernel, C)

T1 SAME where it crops as the pads do; otherwise VALID, then SLICE and PAD to what ONNX keeps
T2 dilation: zeros between the elements of the kernel
T3 groups: one convolution each, joined; above MOST_GROUPS one with a block-diagonal weight
T4 one spatial axis: two, the first of size 1
T5 dynamic batch, which the output_shape of TRANSPOSE_CONV cannot hold: one convolution with s * s * O output
   channels, each a phase of the result, then DEPTH_TO_SPACE by the stride s
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import Step
from edgekit.spec import Array

MOST_GROUPS = 4  # above, many small kernels cost more than multiplying zeros


@dataclass(frozen=True, slots=True)
class _Axis:
    """One spatial axis: sizes, stride, what is cut off before, and the (dilated) kernel."""

    size: int
    out: int
    stride: int
    before: int
    kernel: int

    @property
    def full(self) -> int:
        """Output size before anything is cut off: VALID."""
        return (self.size - 1) * self.stride + self.kernel

    @property
    def is_same(self) -> bool:
        """Whether SAME with this output size cuts the same (padding.h, ComputePaddingWithOffset)."""
        total = max((self.size - 1) * self.stride + self.kernel - self.out, 0)
        return -(-self.out // self.stride) == self.size and total // 2 == self.before


def lower_conv_transpose(step: Step) -> None:
    """ConvTranspose over one to three spatial axes with a constant weight."""
    if step.unit.is_integer:
        raise FloatOnlyError("edgekit has no int8 lowering for it")
    x, w = step.operand(0), step.operand(1)
    if w.const is None or (step.has(2) and step.operand(2).const is None):
        raise step.refusal(
            "constant-weight", "weight or bias is computed at run time", "make weight and bias constants"
        )
    if x.rank not in {3, 4, 5}:
        raise step.refusal("spatial-axes", f"{x.rank - 2} spatial axes", "LiteRT has one, two or three")
    t = Terms(step)
    weight = _dilated(w.const.astype(np.float32), step.attribute("dilations", None))
    axes = _axes(step, weight.shape[2:])
    groups = int(step.attribute("group", 1))
    channels = weight.shape[1] * groups
    tensor = step.x(0)
    if x.rank == 3:  # T4
        tensor = t.reshape(tensor, (t.shape(tensor)[0], 1, *t.shape(tensor)[1:]))
        weight = weight[:, :, None, :]
        axes = [_Axis(1, 1, 1, 0, 1), *axes]
    bias = np.zeros(channels, np.float32)
    if step.has(2):
        bias = np.asarray(step.operand(2).const, np.float32).reshape(-1)
    if groups > MOST_GROUPS:
        weight, groups = _block_diagonal(weight, groups), 1
    groups_of = np.split(weight, groups)
    made = _grouped(t, tensor, groups_of, bias=bias, axes=axes)
    t.finish(t.reshape(_cut(t, made, axes), step.label.shape(step.out.shape)))


def _dilated(weight: Array, dilations: list[int] | None) -> Array:
    """T2."""
    rates = [int(d) for d in dilations or [1] * (weight.ndim - 2)]
    sizes = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], rates, strict=True)]
    out: Array = np.zeros((*weight.shape[:2], *sizes), np.float32)
    out[(slice(None), slice(None), *(slice(None, None, d) for d in rates))] = weight
    return out


def _axes(step: Step, kernel: tuple[int, ...]) -> list[_Axis]:
    """Pads as ONNX ConvTranspose-11 computes them from auto_pad and output_shape."""
    count = len(kernel)
    sizes = static(step.operand(0).shape[2:], "ConvTranspose")
    outs = static(step.out.shape[2:], "ConvTranspose")
    strides = [int(s) for s in step.attribute("strides", None) or [1] * count]
    pads = [int(p) for p in step.attribute("pads", None) or [0] * (2 * count)]
    extra = [int(p) for p in step.attribute("output_padding", None) or [0] * count]
    auto = str(step.attribute("auto_pad", "NOTSET"))
    computed = auto.startswith("SAME") or step.attribute("output_shape", None) is not None
    found = []
    for i in range(count):
        before = pads[i] if auto in {"NOTSET", ""} else 0
        if computed:
            total = max(strides[i] * (sizes[i] - 1) + extra[i] + kernel[i] - outs[i], 0)
            before = total // 2 if auto != "SAME_LOWER" else total - total // 2
            if auto in {"NOTSET", ""}:  # onnxruntime: the larger half goes in front unless SAME_UPPER
                before = total - total // 2
        found.append(_Axis(sizes[i], outs[i], strides[i], before, kernel[i]))
    return found


def _block_diagonal(weight: Array, groups: int) -> Array:
    """T3: (C, O / groups, ...) as (C, O, ...), zeros between groups."""
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    out: Array = np.zeros((weight.shape[0], outputs * groups, *weight.shape[2:]), np.float32)
    for g in range(groups):
        rows = slice(g * inputs, (g + 1) * inputs)
        out[rows, g * outputs : (g + 1) * outputs] = weight[rows]
    return out


def _grouped(t: Terms, x: int, weights: list[Array], *, bias: Array, axes: list[_Axis]) -> int:
    """T3: the convolution before cutting, stored (N, *spatial, O)."""
    last = t.rank(x) - 1
    parts = []
    for g, weight in enumerate(weights):
        inputs, outputs = weight.shape[:2]
        part = t.slice(x, last, g * inputs, (g + 1) * inputs)
        parts.append(_one(t, part, weight, bias=bias[g * outputs : (g + 1) * outputs], axes=axes))
    return t.concat(parts, last)


def _phases(t: Terms, x: int, weight: Array, *, bias: Array, axes: list[_Axis]) -> int:
    """T5: before cutting, stored (N, H * s + ..., W * s + ..., O); weight: (C, O, kernel, kernel).

    out[i s + p] = sum_k x[i - k] w[k s + p]: phase p is a convolution of x, padded by ceil(kernel / s) - 1
    """
    step, stride = t.step, axes[-1].stride
    squares = [axis for axis in axes if axis.size != 1 or axis.kernel != 1 or axis.stride != 1]
    if len(axes) != 2 or any(axis.stride != stride for axis in squares):
        raise step.refusal(
            "dynamic-batch", "a dynamic batch with strides that differ", "fix the batch, or use equal strides"
        )
    channels, outputs = weight.shape[:2]
    taps = [-(-axis.kernel // stride) for axis in axes]
    grown: Array = np.zeros((channels, outputs, taps[0] * stride, taps[1] * stride), np.float32)
    grown[:, :, : weight.shape[2], : weight.shape[3]] = weight
    parts = grown.reshape(channels, outputs, taps[0], stride, taps[1], stride)[:, :, ::-1, :, ::-1]
    stored = np.transpose(parts, (3, 5, 1, 2, 4, 0)).reshape(stride * stride * outputs, *taps, channels)
    x = t.pad(x, [(0, 0), (taps[0] - 1, taps[0] - 1), (taps[1] - 1, taps[1] - 1), (0, 0)])
    sizes = [axis.size + tap - 1 for axis, tap in zip(axes, taps, strict=True)]
    inputs = [x, step.constant("weight", stored), step.constant("bias", np.tile(bias, stride * stride))]
    options: dict[str, int | str] = {"padding": "VALID", "strideH": 1, "strideW": 1}
    options.update({"dilationHFactor": 1, "dilationWFactor": 1})
    shape = (t.shape(x)[0], *sizes, stride * stride * outputs)
    made = step.emit("CONV_2D", inputs, shape, dtype="float32", options=options)
    if stride == 1:
        return made
    whole = (t.shape(x)[0], *(size * stride for size in sizes), outputs)
    return step.emit("DEPTH_TO_SPACE", [made], whole, options={"blockSize": stride})


def _one(t: Terms, x: int, weight: Array, *, bias: Array, axes: list[_Axis]) -> int:
    """One group; weight: (C, O, *kernel)."""
    step = t.step
    if not isinstance(t.shape(x)[0], int):
        return _phases(t, x, weight, bias=bias, axes=axes)
    same = all(axis.is_same for axis in axes)
    spatial = [axis.out if same else axis.full for axis in axes]
    (batch,) = static(t.shape(x)[:1], "ConvTranspose")
    shape = (batch, *spatial, weight.shape[1])
    names = ("strideD", "strideH", "strideW")[-len(axes) :]
    options: dict[str, int | str] = {"padding": "SAME" if same else "VALID"}
    options.update(zip(names, (axis.stride for axis in axes), strict=True))
    sizes = step.integers("output_shape", shape)
    if len(axes) == 3:
        stored = np.transpose(weight, (2, 3, 4, 1, 0))  # (D, H, W, O, C)
        inputs = [sizes, step.constant("weight", stored), x, step.constant("bias", bias)]
        options.update(dict.fromkeys(("dilationDFactor", "dilationHFactor", "dilationWFactor"), 1))
        return step.emit("CONV_3D_TRANSPOSE", inputs, shape, dtype="float32", options=options)
    stored = np.transpose(weight, (1, 2, 3, 0))  # (O, H, W, C)
    inputs = [sizes, step.constant("weight", stored), x, step.constant("bias", bias)]
    return step.emit("TRANSPOSE_CONV", inputs, shape, dtype="float32", options=options)


def _cut(t: Terms, x: int, axes: list[_Axis]) -> int:
    """T1: to (N, *out, O); nothing where SAME has cut already."""
    cut_already = all(axis.is_same for axis in axes) and isinstance(t.shape(x)[0], int)
    if cut_already:
        return x
    for index, axis in enumerate(axes, start=1):
        end = min(axis.before + axis.out, axis.full)
        x = t.slice(x, index, axis.before, end)
        missing = axis.out - (end - axis.before)
        x = t.pad(x, [(0, missing if i == index else 0) for i in range(t.rank(x))])
    return x


LOWERINGS: dict[str, Callable[[Step], None]] = {"ConvTranspose": lower_conv_transpose}
