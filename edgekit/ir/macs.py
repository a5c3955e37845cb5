"""Node with shapes -> multiply-accumulates of one inference.

    Conv            MACs = elements(output) * (input channels / groups) * kernel elements
    ConvTranspose   MACs = elements(input) * (output channels / groups) * kernel elements
    Gemm, MatMul    MACs = elements(output) * inner size
    Einsum          MACs = (operands - 1) * product of the sizes of all letters
    RNN, GRU, LSTM  MACs = steps * batch * (elements(W) + elements(R))
    Attention       MACs = batch * heads * queries * keys * (head size of keys + head size of values)

Convention. 1 MAC = one multiplication whose product is added to a sum: two floating-point operations.
Counted is what the operator's definition multiplies (padding and zeros included), whatever a kernel saves by
a better algorithm. Not counted: adding a bias, elementwise arithmetic, activations, normalization, pooling,
reductions, interpolation.

Source: the operators' definitions (onnx docs/Operators.md; ContribOperators.md of ONNX Runtime for domain
com.microsoft).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import onnx_ir as ir

from edgekit.ir.graph import int_attribute, shape_of


class _UnknownSizeError(Exception):
    """A size that counts is not known."""


def multiplies(node: ir.Node) -> bool:
    """Whether the operator is one whose multiply-accumulates are counted."""
    return node.domain in _DOMAINS and node.op_type in _RULES


def macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of one node; 0 where it has none, None where a size is unknown."""
    if not multiplies(node):
        return 0
    try:
        return _RULES[node.op_type](node)
    except (_UnknownSizeError, LookupError, ValueError):  # malformed: an input, axis or attribute is missing
        return None


def einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Multiply-accumulates as one loop over all letters; ``...`` stands for the broadcast leading axes."""
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        free = len(shape) - len(before) - len(after) if dots else 0
        letters = [*before, *(f".{index}" for index in range(-free, 0)), *after]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return (len(terms) - 1) * prod(sizes.values())


def elements(value: ir.Value | None) -> int | None:
    """Number of elements, or None where a size is unknown."""
    try:
        return _elements(value)
    except _UnknownSizeError:
        return None


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    found = shape_of(value)
    if found is None:
        raise _UnknownSizeError
    known = tuple(dim for dim in found if dim is not None)
    if len(known) < len(found):
        raise _UnknownSizeError
    return known


def _elements(value: ir.Value | None) -> int:
    return prod(_shape(value))


def _conv(weight: int) -> Callable[[ir.Node], int]:
    """W: (out, in/groups, *kernel) at input ``weight``."""
    return lambda node: _elements(node.outputs[0]) * prod(_shape(node.inputs[weight])[1:])


def _conv_transpose(node: ir.Node) -> int:
    """W: (in, out/groups, *kernel); every input element meets every tap, before padding cuts the result."""
    return _elements(node.inputs[0]) * prod(_shape(node.inputs[1])[1:])


def _gemm(node: ir.Node) -> int:
    rows = _shape(node.inputs[0])
    return _elements(node.outputs[0]) * rows[0 if int_attribute(node, "transA", 0) else 1]


def _matmul(node: ir.Node) -> int:
    """The left operand is (..., rows, inner); com.microsoft's FusedMatMul can transpose it."""
    left = _shape(node.inputs[0])
    inner = left[-2] if int_attribute(node, "transA", 0) and len(left) > 1 else left[-1]
    return _elements(node.outputs[0]) * inner


def _einsum(node: ir.Node) -> int:
    return einsum(node.attributes["equation"].as_string(), [_shape(value) for value in node.inputs])


def _recurrent(node: ir.Node) -> int:
    """X: (steps, batch, in), or (batch, steps, in) with layout 1; the product is the same."""
    steps, batch, _ = _shape(node.inputs[0])
    return steps * batch * (_elements(node.inputs[1]) + _elements(node.inputs[2]))


def _attention(node: ir.Node) -> int:
    """Attention-23: Q (batch, heads, queries, size), or (batch, queries, heads * size) with q_num_heads.

    Both forms have the same product: all queries against all keys over the whole width.
    """
    query, key, value = (_shape(node.inputs[index]) for index in range(3))
    past = _shape(node.inputs[4])[2] if len(node.inputs) > 4 and node.inputs[4] is not None else 0
    if len(query) == 3:
        batch, queries, width = query
        heads = int_attribute(node, "q_num_heads", 1)
        shared = heads // max(int_attribute(node, "kv_num_heads", heads), 1)
        return batch * queries * (key[1] + past) * (width + value[2] * shared)
    batch, heads, queries, size = query
    return batch * heads * queries * (key[2] + past) * (size + value[3])


def _packed_attention(node: ir.Node) -> int:
    """com.microsoft Attention: input (batch, length, in), weights (in, 3 * width)."""
    batch, length, inner = _shape(node.inputs[0])
    columns = _shape(node.inputs[1])[1]
    return batch * length * inner * columns + 2 * batch * length * length * (columns // 3)


def _heads_attention(node: ir.Node) -> int:
    """com.microsoft MultiHeadAttention: query (batch, queries, width), key and value (batch, keys, width)."""
    batch, queries, width = _shape(node.inputs[0])
    keys, values = _shape(node.inputs[1]), _shape(node.inputs[2])
    return batch * queries * keys[1] * (width + values[-1])


def _blocked_matmul(node: ir.Node) -> int:
    """com.microsoft MatMulNBits: K and N are attributes, because B is packed."""
    return _elements(node.outputs[0]) * int_attribute(node, "K", 0)


_DOMAINS = ("", "ai.onnx", "com.microsoft")
_RULES: Mapping[str, Callable[[ir.Node], int]] = {
    "Conv": _conv(1),
    "FusedConv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "DeformConv": _conv(1),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "QGemm": _gemm,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "DynamicQuantizeMatMul": _matmul,
    "QLinearMatMul": _matmul,
    "MatMulNBits": _blocked_matmul,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": lambda node: (_attention if node.domain != "com.microsoft" else _packed_attention)(node),
    "QAttention": _packed_attention,
    "MultiHeadAttention": _heads_attention,
}
