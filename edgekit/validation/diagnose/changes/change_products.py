"""Integer product -> the same on a CPU whose sums of two products saturate at int16.

    y = sum over pairs of clip(u[2i] * w[2i] + u[2i + 1] * w[2i + 1], -32768, 32767)  -  zero_point * sum w

u are the integers of the input as uint8, w those of the weight. Computed in float32, which holds these sums
exactly. Which terms are neighbours depends on the kernel (``quantization.saturation``, S1 and S2).

I1 MatMul, Gemm, and Conv of one tap: terms 2i and 2i + 1
I2 Conv of several taps, without groups: the same with taps innermost, and with channels innermost

Not tried where no sum of neighbours can leave 16 bits, nor where it would need more than
``MOST_PARTIAL_SUMS`` partial sums of one position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.graph import constant, free_name, int_attribute, ints_attribute, is_onnx
from edgekit.spec import QuantParams
from edgekit.validation.diagnose.changes.change import Change, Segment, number, same_node
from edgekit.validation.diagnose.changes.change_weights import stored

KIND = "products"
LOWEST, HIGHEST = -32768.0, 32767.0
MOST_PARTIAL_SUMS = 10_000  # channels times pairs: two seconds on one core for 8 images of 32 pixels
_HALF = 128


@dataclass(frozen=True)
class _Product:
    """A head with its integers.

    Attributes:
        w: (out, terms, kernel ...) integers as float64.
        step: real value of one product, by output channel.
        scale: of the input.
        zero: zero point of the input in uint8 form.
    """

    w: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]
    scale: float
    zero: int


def changes(segment: Segment) -> Iterator[Change]:
    """I1 and I2."""
    weight = segment.weight
    if weight is None or weight.params is None or weight.depthwise:
        return
    for node in segment.model.graph:
        reads = [value.name for value in node.inputs if value is not None]
        if weight.name in reads[1:2] and is_onnx(node, "Conv", "Gemm", "MatMul"):
            product = _product(segment, node, reads[0] or "")
            if product is not None:
                yield from (
                    _conv(segment, node, product)
                    if node.op_type == "Conv"
                    else _dense(segment, node, product)
                )


def _product(segment: Segment, node: ir.Node, source: str) -> _Product | None:
    weight, params = segment.weight, segment.params.get(source)
    array = constant(node.inputs[1])
    if weight is None or weight.params is None or array is None or params is None or len(params.scale) != 1:
        return None
    if params.dtype not in {"int8", "uint8"} or weight.params.dtype not in {"int8", "uint8"}:
        return None
    axis = array.ndim - 1 if node.op_type == "MatMul" else 0
    integers, scale, zero = stored(array, weight.params, axis=axis)
    w = np.moveaxis(integers - zero, axis, 0)
    step = np.broadcast_to(scale.reshape(-1) * params.scale[0], (len(w),))
    return _Product(w, step, params.scale[0], _unsigned_zero(params))


def _unsigned_zero(params: QuantParams) -> int:
    return params.zero_point[0] + (_HALF if params.dtype == "int8" else 0)


def _dense(segment: Segment, node: ir.Node, product: _Product) -> Iterator[Change]:
    """(..., terms) -> (..., pairs, 1, 2) x (pairs, 2, out): one partial sum for each pair."""
    outputs, terms = product.w.shape
    pairs = -(-terms // 2)
    if outputs * pairs > MOST_PARTIAL_SUMS or int_attribute(node, "transA", 0):
        return
    if not _can_saturate(product.w, np.arange(terms) // 2):
        return
    clone = segment.model.clone()
    same = same_node(clone, node)
    build = _Build(clone.graph, same)
    rank = len(same.inputs[0].shape or (0, 0)) if same.inputs[0] is not None else 2
    padded = np.zeros((outputs, 2 * pairs))
    padded[:, :terms] = product.w
    by_pair = build.floats(np.moveaxis(padded.reshape(outputs, pairs, 2), 0, 2))
    integers = build.integers(product)
    if terms % 2:
        integers = build.node("Pad", [integers, build.sizes([0] * (2 * rank - 1) + [1])])
    rows = build.node("Reshape", [integers, build.sizes([0] * (rank - 1) + [pairs, 1, 2])])
    partial = build.clipped(build.node("MatMul", [rows, by_pair]), LOWEST, HIGHEST)
    total = build.node("ReduceSum", [partial, build.sizes([-3, -2])], keepdims=0)
    build.instead(build.real(total, product, spatial=0))
    yield Change(KIND, "sums of two products that saturate at 16 bits", "pairs", clone)


def _conv(segment: Segment, node: ir.Node, product: _Product) -> Iterator[Change]:
    """A Conv with one output channel for each pair of terms; then a grouped Conv of ones adds them up."""
    outputs, channels, *kernel = product.w.shape
    terms = channels * int(np.prod(kernel))
    pairs = -(-terms // 2)
    if int_attribute(node, "group", 1) != 1 or outputs * pairs > MOST_PARTIAL_SUMS:
        return
    ones = np.ones((outputs, pairs, *([1] * len(kernel))))
    for innermost in ("taps", "channels") if len(kernel) < terms // channels else ("channels",):
        clone = segment.model.clone()
        same = same_node(clone, node)
        build = _Build(clone.graph, same)
        flat, pair = product.w.reshape(outputs, terms), _pair_of(channels, kernel, innermost)
        if not _can_saturate(flat, pair):
            continue
        spread = np.zeros((outputs, pairs, terms))
        spread[:, pair, np.arange(terms)] = flat
        weights = build.floats(spread.reshape(outputs * pairs, channels, *kernel))
        partial = build.node("Conv", [build.padded(build.integers(product), product.zero), weights])
        maker = partial.producer()
        for name in ("strides", "dilations"):
            if maker is not None and name in same.attributes:
                maker.attributes[name] = same.attributes[name]
        added = build.node(
            "Conv", [build.clipped(partial, LOWEST, HIGHEST), build.floats(ones)], group=outputs
        )
        build.instead(build.real(added, product, spatial=len(kernel)))
        says = f"sums of two products that saturate at 16 bits ({innermost} innermost)"
        yield Change(KIND, says, innermost, clone)


def _can_saturate(w: npt.NDArray[np.float64], pair: npt.NDArray[np.int64]) -> bool:
    """Whether some input of 0 .. 255 brings a sum of two products out of 16 bits."""
    for side in (np.maximum(w, 0), np.minimum(w, 0)):
        order = np.argsort(pair, kind="stable")
        starts = np.searchsorted(pair[order], np.arange(int(pair.max()) + 1))
        sums = np.add.reduceat(side[:, order], starts, axis=1)
        if (255 * sums).max() > HIGHEST or (255 * sums).min() < LOWEST:
            return True
    return False


def _pair_of(channels: int, kernel: list[int], innermost: str) -> npt.NDArray[np.int64]:
    """For each term (channels, taps; C order) the number of its pair."""
    terms = np.arange(channels * int(np.prod(kernel))).reshape(channels, -1)
    sequence = (terms if innermost == "taps" else terms.T).reshape(-1)
    pair = np.empty(terms.size, np.int64)
    pair[sequence] = np.arange(terms.size) // 2
    return pair


@dataclass(frozen=True, eq=False)
class _Build:
    """New nodes in front of ``head``, and at last in its place."""

    graph: ir.Graph
    head: ir.Node

    def node(self, operator: str, inputs: list[ir.Value | None], **attributes: object) -> ir.Value:
        made = ir.node(operator, inputs, attributes=dict(attributes))
        made.outputs[0].name = free_name(self.graph, f"{self.head.name}_{operator.lower()}")
        made.name = made.outputs[0].name
        made.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.insert_before(self.head, made)
        return made.outputs[0]

    def floats(self, array: npt.ArrayLike) -> ir.Value:
        return number(self.graph, "constant", np.asarray(array, np.float32))

    def sizes(self, values: list[int]) -> ir.Value:
        return number(self.graph, "sizes", np.array(values, np.int64))

    def clipped(self, value: ir.Value, low: float, high: float) -> ir.Value:
        return self.node("Clip", [value, self.floats(low), self.floats(high)])

    def integers(self, product: _Product) -> ir.Value:
        """The head's input in uint8 form: 0 .. 255, as float32."""
        steps = self.node("Div", [self.head.inputs[0], self.floats(product.scale)])
        shifted = self.node("Add", [self.node("Round", [steps]), self.floats(product.zero)])
        return self.clipped(shifted, 0, 255)

    def padded(self, integers: ir.Value, zero: int) -> ir.Value:
        pads = ints_attribute(self.head, "pads", ())
        if not any(pads):
            return integers
        many = len(pads) // 2
        amounts = self.sizes([0, 0, *pads[:many], 0, 0, *pads[many:]])
        return self.node("Pad", [integers, amounts, self.floats(zero)])

    def real(self, total: ir.Value, product: _Product, *, spatial: int) -> ir.Value:
        """Take away the zero point's part of the sum, scale, add the bias."""
        column = (-1, *([1] * spatial))
        offset = product.w.reshape(len(product.w), -1).sum(axis=1) * product.zero
        rest = self.node("Sub", [total, self.floats(offset.reshape(column))])
        scaled = self.node("Mul", [rest, self.floats(product.step.reshape(column))])
        bias = constant(self.head.inputs[2]) if len(self.head.inputs) > 2 else None
        return scaled if bias is None else self.node("Add", [scaled, self.floats(bias.reshape(column))])

    def instead(self, value: ir.Value) -> None:
        ir.convenience.replace_all_uses_with(self.head.outputs[0], value, replace_graph_outputs=True)
        name = self.head.outputs[0].name
        self.graph.remove(self.head, safe=True)
        value.name = name
