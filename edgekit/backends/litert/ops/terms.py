"""Stored tensors -> TFLite operators with inferred shapes: the language of decompositions.

    t = Terms(step);  t.finish(t.mul(x, t.sigmoid(x)))

Every method takes and gives tensor indices. Shapes follow NumPy's rules; a size that is not an ``int`` is
dynamic. Nothing here knows ONNX or layouts: a lowering that uses it works on the ONNX order (layout rule
``plain``), or on tensors whose axes it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from edgekit.backends.litert.kernels import KERNELS
from edgekit.backends.litert.refusal import RefusedError
from edgekit.backends.litert.step import Step, reshape, transpose
from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, Dim


def static(shape: Shape, what: str) -> tuple[int, ...]:
    """``shape`` with numbers only.

    Raises:
        RefusedError: a size is dynamic.
    """
    sizes = tuple(dim for dim in shape if isinstance(dim, int))
    if len(sizes) != len(shape):
        raise RefusedError(
            "dynamic-size", f"{what} has the dynamic shape {shape}", "fix the sizes when exporting"
        )
    return sizes


def merged(shape: Shape) -> Dim:
    """Number of elements of ``shape``; None where a size is dynamic."""
    sizes = [dim for dim in shape if isinstance(dim, int)]
    return prod(sizes) if len(sizes) == len(shape) else None


def spread(a: Shape, b: Shape) -> Shape:
    """Shape of two tensors broadcast against each other."""
    rank = max(len(a), len(b))
    x, y = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(q if p == 1 else p for p, q in zip(x, y, strict=True))


class Terms:
    """Emits operators on the way to the result of ``step``."""

    def __init__(self, step: Step) -> None:
        self.step = step

    # What is known of a tensor -------------------------------------------------------------------------

    def shape(self, x: int) -> Shape:
        """Stored shape."""
        return self.step.shape(x)

    def sizes(self, x: int) -> tuple[int, ...]:
        """Stored shape, all numbers; refused otherwise."""
        return static(self.shape(x), f"{self.step.unit.op} on {self.step.builder.tensors[x].name!r}")

    def rank(self, x: int) -> int:
        """Number of axes."""
        return len(self.shape(x))

    def dtype(self, x: int) -> str:
        """Element type."""
        return self.step.builder.tensors[x].dtype

    # Constants -----------------------------------------------------------------------------------------

    def const(self, value: Any, dtype: str = "float32") -> int:
        """A constant tensor; a scalar becomes one of no axes."""
        return self.step.constant("constant", np.asarray(value, dtype))

    def like(self, value: float, x: int) -> int:
        """A scalar of the type of ``x``."""
        return self.const(value, self.dtype(x))

    # Elementwise ---------------------------------------------------------------------------------------

    def unary(self, code: str, x: int, *, dtype: str | None = None, **options: Any) -> int:
        """One input, the same shape."""
        return self.step.emit(code, [x], self.shape(x), dtype=dtype, options=options)

    def binary(self, code: str, a: int, b: int, *, dtype: str | None = None) -> int:
        """Two inputs with broadcasting."""
        return self.broadcasting(code, [a, b], dtype=dtype)

    def broadcasting(self, code: str, inputs: Sequence[int], *, dtype: str | None = None) -> int:
        """Inputs with broadcasting; where the kernel has too few axes, some merge, or inputs spread first."""
        shapes = [self.shape(x) for x in inputs]
        whole = shapes[0]
        for shape in shapes[1:]:
            whole = spread(whole, shape)
        if exceeds(code, shapes) and all(isinstance(dim, int) for shape in shapes for dim in shape):
            merged_shapes = merged_axes([static(shape, code) for shape in shapes])
            inputs = [self.reshape(x, shape) for x, shape in zip(inputs, merged_shapes, strict=True)]
            if exceeds(code, merged_shapes):  # equal shapes are one flat loop in any rank
                full = np.broadcast_shapes(*merged_shapes)
                inputs = [self.expand(x, full) for x in inputs]
        made: Shape = self.shape(inputs[0])
        for x in inputs[1:]:
            made = spread(made, self.shape(x))
        return self.reshape(self.step.emit(code, inputs, made, dtype=dtype), whole)

    def add(self, a: int, b: int) -> int:
        """A + b."""
        return self.binary("ADD", a, b)

    def sub(self, a: int, b: int) -> int:
        """A - b."""
        return self.binary("SUB", a, b)

    def mul(self, a: int, b: int) -> int:
        """A * b."""
        return self.binary("MUL", a, b)

    def div(self, a: int, b: int) -> int:
        """A / b; towards zero for integers."""
        return self.binary("DIV", a, b)

    def maximum(self, a: int, b: int) -> int:
        """max(a, b)."""
        return self.binary("MAXIMUM", a, b)

    def minimum(self, a: int, b: int) -> int:
        """min(a, b)."""
        return self.binary("MINIMUM", a, b)

    def clamp(self, x: int, low: float, high: float) -> int:
        """min(max(x, low), high)."""
        return self.minimum(self.maximum(x, self.like(low, x)), self.like(high, x))

    def scale(self, x: int, factor: float) -> int:
        """Factor * x."""
        return x if factor == 1.0 else self.mul(x, self.like(factor, x))

    def shift(self, x: int, addend: float) -> int:
        """X + addend."""
        return x if addend == 0.0 else self.add(x, self.like(addend, x))

    def power(self, x: int, exponent: float) -> int:
        """X ** exponent, by SQUARE and SQRT where these are it."""
        if exponent == 1.0:
            return x
        code = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}.get(exponent)
        return self.unary(code, x) if code else self.binary("POW", x, self.like(exponent, x))

    def compare(self, code: str, a: int, b: int) -> int:
        """EQUAL, LESS and their like: bool."""
        return self.binary(code, a, b, dtype="bool")

    def select(self, condition: int, a: int, b: int) -> int:
        """A where ``condition``, else b."""
        return self.broadcasting("SELECT_V2", [condition, a, b], dtype=self.dtype(a))

    def cast(self, x: int, dtype: str) -> int:
        """``x`` as another type."""
        have = self.dtype(x)
        if have == dtype:
            return x
        options = {"inDataType": have, "outDataType": dtype}
        return self.step.emit("CAST", [x], self.shape(x), dtype=dtype, options=options)

    # Moves ---------------------------------------------------------------------------------------------

    def reshape(self, x: int, shape: Sequence[Dim]) -> int:
        """Another shape of as many elements."""
        return x if self.shape(x) == tuple(shape) else reshape(self.step.builder, x, tuple(shape))

    def flat(self, x: int) -> int:
        """All elements in one axis."""
        return self.reshape(x, (prod(self.sizes(x)),))

    def transpose(self, x: int, perm: Sequence[int]) -> int:
        """Output axis i = input axis perm[i]."""
        return x if list(perm) == list(range(self.rank(x))) else transpose(self.step.builder, x, perm)

    def to_last(self, x: int, axis: int) -> int:
        """``axis`` behind all others."""
        return self.transpose(x, [*(a for a in range(self.rank(x)) if a != axis), axis])

    def from_last(self, x: int, axis: int) -> int:
        """The last axis at ``axis``: undoes ``to_last``."""
        others = list(range(self.rank(x) - 1))
        others.insert(axis, self.rank(x) - 1)
        return self.transpose(x, others)

    def concat(self, parts: Sequence[int], axis: int) -> int:
        """Join along ``axis``."""
        if len(parts) == 1:
            return parts[0]
        shapes = [self.shape(part) for part in parts]
        dims = [shape[axis] for shape in shapes]
        joined: Dim = (
            sum(d for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None
        )
        shape = tuple(joined if i == axis else dim for i, dim in enumerate(shapes[0]))
        return self.step.emit("CONCATENATION", list(parts), shape, options={"axis": axis})

    def slice(self, x: int, axis: int, start: int, stop: int, stride: int = 1) -> int:
        """x[start:stop:stride] along ``axis``; all bounds from 0."""
        shape = self.shape(x)
        if start == 0 and stop == shape[axis] and stride == 1:
            return x
        length = -(-(stop - start) // stride)
        out = tuple(length if i == axis else dim for i, dim in enumerate(shape))
        integers = self.step.integers
        if stride == 1:
            begin = [start if i == axis else 0 for i in range(len(shape))]
            size = [length if i == axis else -1 for i in range(len(shape))]
            return self.step.emit("SLICE", [x, integers("begin", begin), integers("size", size)], out)
        mask = sum(1 << i for i in range(len(shape)) if i != axis)
        parts = [
            integers(name, [value if i == axis else rest for i in range(len(shape))])
            for name, value, rest in (("begin", start, 0), ("end", stop, 0), ("strides", stride, 1))
        ]
        return self.step.emit("STRIDED_SLICE", [x, *parts], out, options={"beginMask": mask, "endMask": mask})

    def take(self, x: int, axis: int, index: int) -> int:
        """x[index] along ``axis``, which is removed."""
        part = self.slice(x, axis, index, index + 1)
        return self.reshape(part, tuple(d for i, d in enumerate(self.shape(x)) if i != axis))

    def reverse(self, x: int, axis: int) -> int:
        """``x`` backwards along ``axis``."""
        return self.step.emit("REVERSE_V2", [x, self.step.integers("axis", [axis])], self.shape(x))

    def gather(self, x: int, indices: int, axis: int) -> int:
        """X at ``indices`` (0 and above) along ``axis``."""
        shape = self.shape(x)
        out = (*shape[:axis], *self.shape(indices), *shape[axis + 1 :])
        return self.step.emit("GATHER", [x, indices], out, options={"axis": axis})

    def rows(self, x: int, indices: Array, axis: int) -> int:
        """X at constant indices along ``axis``."""
        return self.gather(x, self.const(indices, "int32"), axis)

    def pad(self, x: int, amounts: Sequence[tuple[int, int]], value: float = 0.0) -> int:
        """Constant padding."""
        if not any(any(pair) for pair in amounts):
            return x
        shape: list[Dim] = [
            dim + sum(pair) if isinstance(dim, int) else dim
            for dim, pair in zip(self.shape(x), amounts, strict=True)
        ]
        paddings = self.step.constant("paddings", np.asarray(amounts, np.int32))
        if value == 0.0:
            return self.step.emit("PAD", [x, paddings], tuple(shape))
        fill = self.const([value], self.dtype(x))
        return self.step.emit("PADV2", [x, paddings, fill], tuple(shape))

    def expand(self, x: int, shape: Sequence[Dim]) -> int:
        """Broadcast to ``shape``."""
        if self.shape(x) == tuple(shape):
            return x
        sizes = static(tuple(shape), f"{self.step.unit.op} to a shape")
        return self.step.emit("BROADCAST_TO", [x, self.step.integers("shape", sizes)], sizes)

    # Sums and products ---------------------------------------------------------------------------------

    def reduce(self, code: str, x: int, axes: Sequence[int], *, keep: bool = True) -> int:
        """SUM, MEAN, REDUCE_MAX and their like over ``axes``."""
        shape = self.shape(x)
        out = tuple(1 if i in axes else dim for i, dim in enumerate(shape))
        if not keep:
            out = tuple(dim for i, dim in enumerate(shape) if i not in axes)
        indices = self.step.integers("axes", sorted(axes))
        return self.step.emit(code, [x, indices], out, options={"keepDims": keep})

    def matmul(self, a: int, b: int, *, adjoint: bool = False) -> int:
        """A @ b, or a @ b^T, of (*batch, m, k) and (*batch, k, n)."""
        x, y = self.shape(a), self.shape(b)
        columns = y[-2] if adjoint else y[-1]
        out = (*spread(x[:-2], y[:-2]), x[-2], columns)
        return self.step.emit("BATCH_MATMUL", [a, b], out, options={"adjX": False, "adjY": adjoint})

    def dense(self, x: int, weight: Array, bias: Array | None = None) -> int:
        """X @ weight^T + bias; weight: (out, in), x: (*, in)."""
        inputs = [x, self.const(weight)]
        inputs.append(self.const(np.zeros(weight.shape[0]) if bias is None else bias))
        shape = (*self.shape(x)[:-1], weight.shape[0])
        return self.step.emit("FULLY_CONNECTED", inputs, shape, options={"keepNumDims": len(shape) > 2})

    def along(self, x: int, axis: int, weight: Array) -> int:
        """``weight`` (out, in) applied along ``axis``."""
        return self.from_last(self.dense(self.to_last(x, axis), weight), axis)

    # Indices -------------------------------------------------------------------------------------------

    def from_zero(self, indices: int, size: int) -> int:
        """Indices that ONNX may count from the end, counted from 0; int32."""
        flat = self.cast(indices, "int32")
        if self.rank(indices) > 4:
            flat = self.flat(flat)
        wrapped = self.binary("FLOOR_MOD", flat, self.const(size, "int32"))
        return self.reshape(wrapped, self.shape(indices))

    # The result ----------------------------------------------------------------------------------------

    def finish(self, x: int, *, index: int = 0) -> None:
        """Output ``index`` of the unit is ``x``, in its declared type, behind the unit's clamp."""
        x = self.cast(x, self.step.unit.outputs[index].dtype)
        clamp = self.step.unit.clamp
        if clamp is not None and index == 0:
            x = x if clamp.low == -np.inf else self.maximum(x, self.like(clamp.low, x))
            x = x if clamp.high == np.inf else self.minimum(x, self.like(clamp.high, x))
        self.step.copy(x, index=index)


def exceeds(code: str, shapes: Sequence[Shape]) -> bool:
    """Whether the kernel of ``code`` has too few axes to broadcast ``shapes``."""
    return len(set(shapes)) > 1 and max(map(len, shapes)) > KERNELS[code].rank


def merged_axes(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shapes that broadcast, with neighbouring axes merged that are of size 1 in the same shapes."""
    rank = max(map(len, shapes))
    columns = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    kinds: list[tuple[bool, ...]] = []
    merged_columns: list[list[int]] = []
    for column in columns:
        kind = tuple(dim == 1 for dim in column)
        if all(kind):
            continue
        if kinds and kinds[-1] == kind:
            merged_columns[-1] = [x * y for x, y in zip(merged_columns[-1], column, strict=True)]
        else:
            kinds.append(kind)
            merged_columns.append(list(column))
    return [tuple(column[i] for column in merged_columns) or (1,) for i in range(len(shapes))]
