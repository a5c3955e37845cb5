"""One ONNX operator on torch tensors: table of functions, for ``backends.torch_module``.

    Call(node, inputs) --OPERATORS[op_type]--> tensor

Semantics are ONNX's at opset 21 (onnx/docs/Operators.md); where PyTorch's differ the function says how.
What is a parameter in ONNX and an argument in PyTorch (shapes, axes) must be a constant: ``Call.integers``
says so, and ``UnsupportedError`` is what ``check`` turns into a rejection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, float_attribute, int_attribute, ints_attribute, rank

Tensor = Any
"""A torch.Tensor; torch is imported by the caller alone."""


class UnsupportedError(Exception):
    """An operator, or a form of it, that has no counterpart here; the text is the reason."""


@dataclass(frozen=True, eq=False)
class Call:
    """One node with its inputs as tensors.

    Attributes:
        torch: the module.
        node: the operator with its attributes.
        inputs: by position; None where an optional one is left out.
    """

    torch: Any
    node: ir.Node
    inputs: tuple[Tensor | None, ...]

    def __getitem__(self, index: int) -> Tensor:
        return self.inputs[index]

    def get(self, index: int) -> Tensor | None:
        """Input ``index``, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integers(self, index: int) -> list[int] | None:
        """A constant input as integers; None where it is left out.

        Raises:
            UnsupportedError: it is computed.
        """
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            return None
        array = constant(value)
        if array is None:
            raise UnsupportedError(f"its input {index} ({value.name}) is computed, not constant")
        return [int(each) for each in np.reshape(array, -1)]

    def axis(self, default: int = 0) -> int:
        """The attribute ``axis``."""
        return int_attribute(self.node, "axis", default)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int_attribute(self.node, name, default)

    def real(self, name: str, default: float) -> float:
        """A float attribute."""
        return float_attribute(self.node, name, default)

    def list_of(self, name: str, default: tuple[int, ...] = ()) -> list[int]:
        """An attribute with several integers."""
        return list(ints_attribute(self.node, name, default))

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_string()


Operator = Callable[[Call], Tensor]


def _named(name: str) -> Operator:
    """The function of torch with the same meaning."""
    return lambda call: getattr(call.torch, name)(*call.inputs)


def _reduced(name: str) -> Operator:
    """ReduceMean and its kin: axes as input 1 (as an attribute before opset 18), kept or not."""

    def operator(call: Call) -> Tensor:
        axes = call.integers(1) or call.list_of("axes")
        if not axes:
            if call.integer("noop_with_empty_axes", 0):
                return call[0]
            axes = list(range(rank(call.node.inputs[0]) or 0))
        return getattr(call.torch, name)(call[0], dim=axes, keepdim=bool(call.integer("keepdims", 1)))

    return operator


def _folded(name: str) -> Operator:
    """Operators of any number of inputs (Max, Min, Sum)."""
    return lambda call: functools.reduce(getattr(call.torch, name), call.inputs)


def _pads(call: Call, spatial: int) -> tuple[list[int], list[int]]:
    """(begin, end) of each spatial axis; ``auto_pad`` is resolved by the canonical form."""
    if call.text("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise UnsupportedError("auto_pad is not resolved")
    pads = call.list_of("pads", (0,) * 2 * spatial)
    return pads[:spatial], pads[spatial:]


def _padded(call: Call, x: Tensor, spatial: int, value: float) -> tuple[Tensor, list[int]]:
    """``x`` with what PyTorch's symmetric padding cannot express added to it, and the rest."""
    begin, end = _pads(call, spatial)
    if begin == end:
        return x, begin
    pairs = [each for pair in zip(reversed(begin), reversed(end), strict=True) for each in pair]
    return call.torch.nn.functional.pad(x, pairs, value=value), [0] * spatial


def _conv(call: Call) -> Tensor:
    spatial = (rank(call.node.inputs[1]) or 0) - 2
    x, padding = _padded(call, call[0], spatial, 0.0)
    function = getattr(call.torch.nn.functional, f"conv{spatial}d", None)
    if function is None:
        raise UnsupportedError(f"a convolution over {spatial} axes")
    return function(
        x,
        call[1],
        call.get(2),
        stride=call.list_of("strides", (1,) * spatial),
        padding=padding,
        dilation=call.list_of("dilations", (1,) * spatial),
        groups=call.integer("group", 1),
    )


def _pooled(call: Call, kind: str) -> Tensor:
    kernel = call.list_of("kernel_shape")
    spatial = len(kernel)
    if call.integer("ceil_mode", 0) or len([each for each in call.node.outputs if each.name]) > 1:
        raise UnsupportedError("ceil_mode, or indices as a second output")
    dilations = call.list_of("dilations", (1,) * spatial)
    strides = call.list_of("strides", (1,) * spatial)
    function = getattr(call.torch.nn.functional, f"{kind}_pool{spatial}d", None)
    if function is None:
        raise UnsupportedError(f"pooling over {spatial} axes")
    begin, end = _pads(call, spatial)
    # PyTorch pads half a kernel at most
    plain = begin == end and all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True))
    if kind == "max":
        x, padding = (call[0], begin) if plain else _padded_wide(call, begin, end, -math.inf)
        return function(x, kernel, strides, padding, dilations)
    counted = bool(call.integer("count_include_pad", 0))
    if not plain and not counted:
        raise UnsupportedError("a mean over uneven padding that is not counted")
    if any(size != 1 for size in dilations):
        raise UnsupportedError("a dilated mean")
    x, padding = (call[0], begin) if plain else _padded_wide(call, begin, end, 0.0)
    return function(x, kernel, strides, padding, count_include_pad=counted)


def _padded_wide(call: Call, begin: list[int], end: list[int], value: float) -> tuple[Tensor, list[int]]:
    pairs = [each for pair in zip(reversed(begin), reversed(end), strict=True) for each in pair]
    return call.torch.nn.functional.pad(call[0], pairs, value=value), [0] * len(begin)


def _global_average(call: Call) -> Tensor:
    return call.torch.mean(call[0], dim=list(range(2, rank(call.node.inputs[0]) or 4)), keepdim=True)


def _gemm(call: Call) -> Tensor:
    a = call[0].transpose(0, 1) if call.integer("transA", 0) else call[0]
    alpha, beta, bias = call.real("alpha", 1.0), call.real("beta", 1.0), call.get(2)
    if call.integer("transB", 0) and alpha == beta == 1.0 and (bias is None or bias.dim() == 1):
        return call.torch.nn.functional.linear(a, call[1], bias)
    b = call[1].transpose(0, 1) if call.integer("transB", 0) else call[1]
    product = call.torch.matmul(a, b)
    product = product if alpha == 1.0 else product * alpha
    return product if bias is None else product + (bias if beta == 1.0 else bias * beta)


def _division(call: Call) -> Tensor:
    if call[0].is_floating_point():
        return call[0] / call[1]
    return call.torch.div(call[0], call[1], rounding_mode="trunc")


def _clip(call: Call) -> Tensor:
    low, high = (_scalar(call, index) for index in (1, 2))
    return call.torch.clamp(call[0], min=low, max=high)


def _scalar(call: Call, index: int) -> float | Tensor | None:
    value = call.node.inputs[index] if index < len(call.node.inputs) else None
    array = constant(value)
    return call.get(index) if array is None or value is None else array.reshape(()).item()


def _power(call: Call) -> Tensor:
    return call.torch.pow(call[0], _scalar(call, 1))


def _layer_normalization(call: Call) -> Tensor:
    axis = call.axis(-1)
    dims = rank(call.node.inputs[0]) or 0
    shape = call[0].shape[axis if axis < 0 else axis - dims :]
    return call.torch.nn.functional.layer_norm(
        call[0], shape, call.get(1), call.get(2), call.real("epsilon", 1e-5)
    )


def _batch_normalization(call: Call) -> Tensor:
    x, scale, bias, mean, variance = call.inputs
    return call.torch.nn.functional.batch_norm(
        x, mean, variance, scale, bias, training=False, eps=call.real("epsilon", 1e-5)
    )


def _instance_normalization(call: Call) -> Tensor:
    return call.torch.nn.functional.instance_norm(
        call[0], weight=call[1], bias=call[2], eps=call.real("epsilon", 1e-5)
    )


def _reshape(call: Call) -> Tensor:
    shape = call.integers(1) or []
    if not call.integer("allowzero", 0):
        shape = [call[0].shape[index] if size == 0 else size for index, size in enumerate(shape)]
    return call[0].reshape(shape)


def _flatten(call: Call) -> Tensor:
    axis = call.axis(1)
    if axis == 1:
        return call[0].flatten(1)
    sizes = call[0].shape[: axis if axis >= 0 else call[0].dim() + axis]
    return call[0].reshape(math.prod(sizes), -1)


def _squeeze(call: Call) -> Tensor:
    axes = call.integers(1) or call.list_of("axes")
    return call[0].squeeze(tuple(axes)) if axes else call[0].squeeze()


def _unsqueeze(call: Call) -> Tensor:
    axes = call.integers(1) or call.list_of("axes")
    dims = call[0].dim() + len(axes)
    x = call[0]
    for axis in sorted(each % dims for each in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(call: Call) -> Tensor:
    dims = rank(call.node.inputs[0]) or call[0].dim()
    return call[0].permute(call.list_of("perm", tuple(reversed(range(dims)))))


def _split(call: Call) -> Tensor:
    sizes = call.integers(1) or call.list_of("split")
    if not sizes:
        axis, parts = call.axis(), call.integer("num_outputs", len(call.node.outputs))
        return call.torch.split(call[0], -(-call[0].shape[axis] // parts), dim=axis)
    return call.torch.split(call[0], sizes, dim=call.axis())


def _slice(call: Call) -> Tensor:
    starts, ends = call.integers(1) or [], call.integers(2) or []
    axes = call.integers(3) or list(range(len(starts)))
    steps = call.integers(4) or [1] * len(starts)
    x = call[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise UnsupportedError("a slice that runs backwards")
        index = [slice(None)] * (axis % x.dim()) + [slice(start, end, step)]
        x = x[tuple(index)]
    return x


def _gather(call: Call) -> Tensor:
    axis, indices = call.axis(), constant(call.node.inputs[1])
    axis %= call[0].dim()
    if indices is not None and indices.ndim == 0:
        return call[0].select(axis, int(indices))
    if axis == 0 and constant(call.node.inputs[0]) is not None and call[0].dim() == 2:
        return call.torch.nn.functional.embedding(_positive(call[1], call[0].shape[0], call), call[0])
    found = call[0].index_select(axis, _positive(call[1].reshape(-1), call[0].shape[axis], call))
    return found.reshape([*call[0].shape[:axis], *call[1].shape, *call[0].shape[axis + 1 :]])


def _positive(indices: Tensor, size: int, call: Call) -> Tensor:
    """Indices from the end count as in ONNX."""
    known = constant(call.node.inputs[1])
    if known is not None and np.all(known.astype(np.int64) >= 0):
        return indices
    return call.torch.where(indices < 0, indices + size, indices)


def _gather_nd(call: Call) -> Tensor:
    if call.integer("batch_dims", 0):
        raise UnsupportedError("batch_dims of GatherND")
    return call[0][call[1].unbind(-1)]


def _gather_elements(call: Call) -> Tensor:
    axis = call.axis() % call[0].dim()
    return call.torch.gather(call[0], axis, _positive(call[1], call[0].shape[axis], call))


def _cast(call: Call) -> Tensor:
    return call[0].to(dtype_of(call.torch, ir.DataType(call.integer("to", 1))))


def _expand(call: Call) -> Tensor:
    shape = call.integers(1) or []
    return call[0].broadcast_to(call.torch.broadcast_shapes(call[0].shape, tuple(shape)))


def _pad(call: Call) -> Tensor:
    mode = call.text("mode", "constant")
    pads, dims = call.integers(1) or [], call[0].dim()
    if mode != "constant" or call.integers(3):
        raise UnsupportedError(f"padding by {mode}, or of some axes only")
    value = _scalar(call, 2)
    pairs = [each for axis in reversed(range(dims)) for each in (pads[axis], pads[axis + dims])]
    return call.torch.nn.functional.pad(call[0], pairs, value=0.0 if value is None else value)


def _arg_max(call: Call) -> Tensor:
    if call.integer("select_last_index", 0):
        raise UnsupportedError("the last of several maxima")
    return call.torch.argmax(call[0], dim=call.axis(), keepdim=bool(call.integer("keepdims", 1)))


def _hard_sigmoid(call: Call) -> Tensor:
    alpha, beta = call.real("alpha", 0.2), call.real("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return call.torch.nn.functional.hardsigmoid(call[0])
    return call.torch.clamp(call[0] * alpha + beta, 0.0, 1.0)


def _gelu(call: Call) -> Tensor:
    return call.torch.nn.functional.gelu(call[0], approximate=call.text("approximate", "none"))


OPERATORS: Mapping[str, Operator] = {
    # one by one
    **{name: _named(name.lower()) for name in ("Abs", "Add", "Mul", "Sub", "Sqrt", "Exp", "Log", "Erf")},
    **{name: _named(name.lower()) for name in ("Relu", "Sigmoid", "Tanh", "Sin", "Cos", "Floor", "Ceil")},
    **{name: _named(name.lower()) for name in ("Reciprocal", "Sign", "Where")},
    "Neg": _named("neg"),
    "Div": _division,
    "Pow": _power,
    "Clip": _clip,
    "Softplus": lambda call: call.torch.nn.functional.softplus(call[0]),
    "LeakyRelu": lambda call: call.torch.nn.functional.leaky_relu(call[0], call.real("alpha", 0.01)),
    "Elu": lambda call: call.torch.nn.functional.elu(call[0], call.real("alpha", 1.0)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda call: call.torch.nn.functional.hardswish(call[0]),
    "Gelu": _gelu,
    "Max": _folded("maximum"),
    "Min": _folded("minimum"),
    "Sum": _folded("add"),
    "Cast": _cast,
    "Identity": lambda call: call[0].clone(),
    # logic
    "And": _named("logical_and"),
    "Or": _named("logical_or"),
    "Not": _named("logical_not"),
    "Equal": _named("eq"),
    "Less": _named("lt"),
    "LessOrEqual": _named("le"),
    "Greater": _named("gt"),
    "GreaterOrEqual": _named("ge"),
    # sums of products
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _named("matmul"),
    # over axes
    "Softmax": lambda call: call.torch.softmax(call[0], dim=call.axis(-1)),
    "LogSoftmax": lambda call: call.torch.log_softmax(call[0], dim=call.axis(-1)),
    "LayerNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "ReduceMean": _reduced("mean"),
    "ReduceSum": _reduced("sum"),
    "ReduceMax": _reduced("amax"),
    "ReduceMin": _reduced("amin"),
    "ArgMax": _arg_max,
    "GlobalAveragePool": _global_average,
    "AveragePool": lambda call: _pooled(call, "avg"),
    "MaxPool": lambda call: _pooled(call, "max"),
    # moves
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": lambda call: call.torch.cat(call.inputs, dim=call.axis()),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "Expand": _expand,
    "Pad": _pad,
}


PARAMETERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Squeeze", "Unsqueeze", "Split"), (1,)),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
}
"""Inputs that must be constants, by operator: arguments and no tensors in PyTorch."""


def dtype_of(torch: Any, kind: ir.DataType) -> Any:
    """The torch.dtype of an ONNX element type.

    Raises:
        UnsupportedError: PyTorch has none.
    """
    names = {"float": "float32", "double": "float64"}
    found = getattr(torch, names.get(kind.name.lower(), kind.name.lower()), None)
    if not isinstance(found, torch.dtype):
        raise UnsupportedError(f"element type {kind.name}")
    return found
