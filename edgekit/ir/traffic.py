"""Node with shapes -> operations and bytes of one inference: where it stands under the roof.

    operations   T1 2 * MACs                         an operator that multiplies (``ir.macs``)
                 T2 elements(output) * kernel        MaxPool, AveragePool, LpPool
                 T3 elements(input)                  reductions, global pooling, ArgMax, CumSum, TopK
                 T4 5 * elements(input)              Softmax, normalizations: maximum or mean, difference,
                                                     exponential or square, sum, quotient
                 T5 elements(output)                 elementwise arithmetic and activations, one operation
                                                     each, however a kernel computes them
                 T6 0                                what only moves or renames values
    bytes        T7 activations read + constants read + outputs written, each once, at its element type
                 T8 0                                what only renames: Reshape, Squeeze, Identity

A QDQ graph is counted as kernels run it: a value behind DequantizeLinear is read at the integer type, one
that only QuantizeLinear reads is written at it, and a Q or DQ that stands at the graph's own edge is an
operator of its own. Caches, padding and re-reading are not modelled: it is the least that must move.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009, for the model; the operators'
definitions (onnx docs/Operators.md) for the counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from edgekit.ir.graph import is_onnx
from edgekit.ir.macs import elements, macs, multiplies

_POOLING = frozenset({"MaxPool", "AveragePool", "LpPool"})
_REDUCING = frozenset(
    {
        *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
        *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "GlobalAveragePool", "GlobalMaxPool"),
        *(
            "GlobalLpPool",
            "ArgMax",
            "ArgMin",
            "CumSum",
            "TopK",
            "QLinearGlobalAveragePool",
            "QLinearReduceMean",
        ),
    }
)
_NORMALIZING = frozenset(
    {
        *("Softmax", "LogSoftmax", "LayerNormalization", "SkipLayerNormalization", "InstanceNormalization"),
        *("GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "LpNormalization"),
        *("MeanVarianceNormalization", "LRN", "QLinearSoftmax"),
    }
)
_RENAMING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
_MOVING = frozenset(
    {
        *("Transpose", "Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Scatter"),
        *("ScatterElements", "ScatterND", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Resize"),
        *(
            "Shape",
            "Size",
            "Constant",
            "ConstantOfShape",
            "Where",
            "Compress",
            "OneHot",
            "EyeLike",
            "Upsample",
        ),
        *("If", "Loop", "Scan", "NonZero", "ReverseSequence", "Range", "QLinearConcat"),
    }
)
_DEFINED = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True, slots=True)
class Traffic:
    """One operator's work; None where a size is unknown.

    Attributes:
        operations: T1 to T6.
        read_bytes: activations.
        weight_bytes: constants.
        written_bytes: outputs.
    """

    operations: int | None
    read_bytes: int | None
    weight_bytes: int
    written_bytes: int | None

    @property
    def moved_bytes(self) -> int | None:
        """T7."""
        if self.read_bytes is None or self.written_bytes is None:
            return None
        return self.read_bytes + self.weight_bytes + self.written_bytes


NOTHING = Traffic(0, 0, 0, 0)


def traffic(node: ir.Node) -> Traffic:
    """What one operator computes and moves, batch and open sizes as its shapes say."""
    if is_onnx(node, "Constant", *_RENAMING) or _is_inside_a_kernel(node):  # T8
        return NOTHING if operations(node) == 0 else Traffic(operations(node), 0, 0, 0)
    constants = {id(root): root for value in node.inputs if (root := _constant_of(value)) is not None}
    free = [value for value in node.inputs if value is not None and _constant_of(value) is None]
    return Traffic(
        operations(node),
        _total(_read(value) for value in free),
        sum(_stored(root) for root in constants.values()),
        _total(_written(value) for value in node.outputs if value.name),
    )


def operations(node: ir.Node) -> int | None:
    """T1 to T6; None where a size is unknown."""
    if multiplies(node):
        counted = macs(node)
        return None if counted is None else 2 * counted
    if node.domain not in _DEFINED or is_onnx(node, *_RENAMING, *_MOVING) or node.op_type in _MOVING:
        return 0
    if _is_inside_a_kernel(node):
        return 0
    if node.op_type in _POOLING:
        kernel = node.attributes.get("kernel_shape")
        window = prod(kernel.as_ints()) if kernel is not None else 1
        return _times(elements(node.outputs[0]) if node.outputs else None, window)
    if node.op_type in _REDUCING:
        return elements(node.inputs[0]) if node.inputs else None
    if node.op_type in _NORMALIZING:
        return _times(elements(node.inputs[0]) if node.inputs else None, 5)
    return elements(node.outputs[0]) if node.outputs else None


def _times(count: int | None, factor: int) -> int | None:
    return None if count is None else count * factor


def _is_inside_a_kernel(node: ir.Node) -> bool:
    """A quantizer that no runtime runs by itself: both sides of it belong to other operators."""
    if is_onnx(node, "DequantizeLinear"):
        return _constant_of(node.outputs[0]) is not None or not _leaves(node.outputs[0])
    if is_onnx(node, "QuantizeLinear") and node.inputs and node.inputs[0] is not None:
        value = node.inputs[0]
        return not value.is_graph_input() and value.producer() is not None
    return False


def _leaves(value: ir.Value) -> bool:
    return value.is_graph_output()


def _constant_of(value: ir.Value | None) -> ir.Value | None:
    """The constant that ``value`` is, or is dequantized from."""
    while value is not None:
        if value.const_value is not None and not value.is_graph_input():
            return value
        node = value.producer()
        if node is None or not is_onnx(node, "DequantizeLinear", "Cast", "Reshape", "Transpose", "Identity"):
            return None
        value = node.inputs[0] if node.inputs else None
    return None


def _stored(root: ir.Value) -> int:
    return 0 if root.const_value is None else int(root.const_value.nbytes)


def _read(value: ir.Value) -> int | None:
    """At the type behind a DequantizeLinear."""
    node = value.producer()
    if node is not None and is_onnx(node, "DequantizeLinear") and node.inputs[0] is not None:
        return _bytes(value, node.inputs[0].dtype)
    return _bytes(value, value.dtype)


def _written(value: ir.Value) -> int | None:
    """At the type of the QuantizeLinear that alone reads it."""
    readers = [reader for reader, _ in value.uses()]
    quantizers = [reader for reader in readers if is_onnx(reader, "QuantizeLinear")]
    if readers and len(quantizers) == len(readers) and not value.is_graph_output():
        return _bytes(value, quantizers[0].outputs[0].dtype)
    return _bytes(value, value.dtype)


def _bytes(value: ir.Value, dtype: ir.DataType | None) -> int | None:
    count = elements(value)
    if count is None or dtype is None or dtype == ir.DataType.STRING:
        return None
    return int(count * dtype.itemsize)


def _total(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)
