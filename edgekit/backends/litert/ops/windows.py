"""Pads, strides, dilations of ONNX -> TFLite's SAME, VALID, or an explicit PAD before VALID.

    reach = (kernel - 1) * dilation + 1
    out = floor((in + before + after - reach) / stride) + 1      ceil instead of floor under ceil_mode
    SAME: out = ceil(in / stride), before = floor(max((out - 1) * stride + reach - in, 0) / 2)

What counts is where windows begin and how many there are. SAME is chosen only where both agree with ONNX;
with stride 2 and pads (1, 1) on an even size they do not. (tflite/kernels/padding.h,
ComputePaddingWithOffset)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.step import Step
from edgekit.spec import Dim


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one spatial axis.

    Attributes:
        size: input size, or None where it is dynamic.
        kernel: window size in elements.
        stride: distance between windows.
        dilation: distance between elements of a window.
        before: padding before.
        after: padding after, as ONNX says it.
        out: number of windows, or None.
    """

    size: int | None
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int | None

    @property
    def reach(self) -> int:
        """Elements from the first to the last of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def needed_after(self) -> int:
        """Padding after that the last window really reaches into."""
        if self.size is None or self.out is None:
            return self.after
        return max((self.out - 1) * self.stride + self.reach - self.size - self.before, 0)

    @property
    def is_valid(self) -> bool:
        """Whether no padding is needed."""
        return self.before == 0 and self.needed_after == 0

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME puts the same windows."""
        if self.size is None or self.out is None:
            return (
                self.stride == 1
                and self.before == (self.reach - 1) // 2
                and self.before + self.after == self.reach - 1
            )
        total = max((self.out - 1) * self.stride + self.reach - self.size, 0)
        return self.out == -(-self.size // self.stride) and self.before == total // 2


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows along all spatial axes, and how TFLite makes them."""

    axes: tuple[Axis, ...]

    @property
    def padding(self) -> str:
        """TFLite's padding: VALID, SAME, or "" where an explicit PAD has to come before VALID."""
        if all(axis.is_valid for axis in self.axes):
            return "VALID"
        return "SAME" if all(axis.is_same for axis in self.axes) else ""


def windows_of(step: Step, x: Operand, kernel: tuple[int, ...]) -> Windows:
    """The windows of a convolution or a pool over ``x``: (N, C, *spatial)."""
    count = len(kernel)
    strides = _per_axis(step, "strides", count)
    dilations = _per_axis(step, "dilations", count)
    pads = tuple(int(p) for p in step.attribute("pads", None) or (0,) * (2 * count))
    auto = str(step.attribute("auto_pad", "NOTSET"))
    ceil = bool(step.attribute("ceil_mode", 0))
    axes = []
    for i in range(count):
        size = x.shape[2 + i]
        reach = (kernel[i] - 1) * dilations[i] + 1
        before, after = pads[i], pads[count + i]
        if auto not in {"NOTSET", ""}:
            before, after = _automatic(step, auto, size, reach=reach, stride=strides[i])
        if before < 0 or after < 0:
            raise step.refusal("negative-pads", f"pads {pads} are negative", "use Slice before the operator")
        out = _out(size, before + after - reach, strides[i], before, ceil=ceil)
        said = step.out.shape[2 + i]
        if isinstance(said, int) and out is not None and said != out:
            raise step.refusal(
                "output-size",
                f"spatial size {said} is declared where the operator gives {out}",
                "infer shapes again",
            )
        axes.append(
            Axis(
                size if isinstance(size, int) else None,
                kernel[i],
                strides[i],
                dilations[i],
                before,
                after,
                out,
            )
        )
    return Windows(tuple(axes))


def as_2d(windows: Windows) -> Windows:
    """One spatial axis as two, the first of size 1."""
    if len(windows.axes) != 1:
        return windows
    return Windows((Axis(1, 1, 1, 1, 0, 0, 1), *windows.axes))


def _per_axis(step: Step, name: str, count: int) -> tuple[int, ...]:
    return tuple(int(v) for v in step.attribute(name, None) or (1,) * count)


def _automatic(step: Step, auto: str, size: Dim, *, reach: int, stride: int) -> tuple[int, int]:
    if auto == "VALID":
        return 0, 0
    if not isinstance(size, int):
        if stride != 1:
            raise step.refusal(
                "dynamic-same", f"auto_pad={auto} with a dynamic size", "fix the spatial sizes"
            )
        total = reach - 1
    else:
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _out(size: Dim, extra: int, stride: int, before: int, *, ceil: bool) -> int | None:
    if not isinstance(size, int):
        return None
    if not ceil:
        return (size + extra) // stride + 1
    out = -(-(size + extra) // stride) + 1
    # ONNX Pool, ceil_mode: a window that would begin in the padding after is dropped.
    return out - 1 if (out - 1) * stride >= size + before else out


def pad_spatial(step: Step, tensor: int, windows: Windows, *, value: int | None = None) -> int:
    """Explicit padding of a stored (N, *spatial, C) tensor: zeros, or the constant tensor ``value``."""
    amounts = [(0, 0), *((axis.before, axis.needed_after) for axis in windows.axes), (0, 0)]
    shape: list[Dim] = []
    for (before, after), dim in zip(amounts, step.shape(tensor), strict=True):
        shape.append(dim + before + after if isinstance(dim, int) else dim)
    flat = step.constant("paddings", np.asarray(amounts, np.int32))
    inputs = [tensor, flat] if value is None else [tensor, flat, value]
    return step.emit("PAD" if value is None else "PADV2", inputs, tuple(shape))
