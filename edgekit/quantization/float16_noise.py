"""Float model -> the same with switches: each turns on what float16 does at one place.

    v + switch * error          error: of summing in float16, drawn anew in each run; or of rounding, exact

N1 A sum of K terms, added up one after the other with each partial sum rounded, has an error of variance

       u^2 / 6 * (K * (y^2 / 3 + E / 6) + E)

   for y: the sum without its bias, E: the sum of squared terms, u = 2^-11.

   The partial sum behind k terms is y k/K on average, and strays by as much as signs of terms differ; each of
   its roundings is uniform within half a unit in the last place (u^2 / 6 of its square on average over
   mantissas). E: each product is rounded as well. E costs a second kernel, on squares. What constants lose
   when they are rounded is exact, and costs a third: the same error at every position of an image does not
   average out. Kernels that add up in a tree, or in float32, err less: this is the worst that GPUs are
   known to do. Where all terms are positive and many are near 0 those are lost to one side, and the error
   is up to twice as large.
N2 A result is rounded by a Cast to float16 and back. What only moves or chooses numbers rounds nothing.
N3 Nodes that stay in float32 anyway have no switch, so that nothing of theirs overflows.

Source: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), 4.2 and 2.8 (statistical bounds);
Widrow and Kollar, "Quantization Noise" (2008), 12 (the square of a rounding in floating point).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import (
    add_numbered_initializer,
    constant,
    float_attribute,
    has_subgraphs,
    int_attribute,
    ints_attribute,
    is_float32,
    is_onnx,
    shape_of,
)
from edgekit.quantization.alone import MOVING
from edgekit.spec import Array

SWITCHES = "edgekit_switches"
"""The input of the model with switches: (places,) float32, 1 = on."""

UNIT = 2.0**-11  # half a unit in the last place of 1 in binary16
UNKNOWN_SIZE = 64  # of an open axis that is summed over
_SQUARE = UNIT**2 / 6
EXACT = MOVING | {"Relu", "Clip", "Max", "Min", "Neg", "Abs", "Where"}
"""Operators whose results are among their operands, but for the sign: rounded operands stay rounded."""
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_MEANS = ("GlobalAveragePool", "AveragePool", "ReduceMean")
_POOLS = (*_MEANS, "ReduceSum")


@dataclass(frozen=True)
class Place:
    """One thing that float16 does.

    Attributes:
        value: name of the value that it changes.
        operators: the nodes that must all be in float32 for it to vanish, in the order of the graph.
        is_sum: N1 or N2.
    """

    value: str
    operators: tuple[str, ...]
    is_sum: bool


@dataclass(frozen=True, eq=False)
class Switched:
    """The model with switches, and what each of them is."""

    model: ir.Model
    places: tuple[Place, ...]


def with_switches(model: ir.Model, *, left: Collection[str] = ()) -> Switched:
    """N1 to N3; ``model`` is untouched.

    Args:
        model: canonical float model, masks saturated.
        left: names of nodes that stay in float32 anyway.
    """
    work = _Work(model.clone(), frozenset(left))
    nodes = tuple(work.graph)
    for value in tuple(work.graph.inputs):
        if is_float32(value):
            work.perturb(value, None)
    for node in nodes:
        if node.op_type in EXACT or has_subgraphs(node):
            continue
        for value in node.outputs:
            if is_float32(value):
                work.perturb(value, node)
    work.switches.shape = ir.Shape([len(work.places)])
    work.graph.inputs.append(work.switches)
    return Switched(work.model, tuple(work.places))


def terms_of(node: ir.Node) -> int:
    """How many terms one result of ``node`` sums up; 0 where it is no sum that N1 knows."""
    if is_onnx(node, *_PRODUCTS):
        return _terms_of_product(node)
    if is_onnx(node, "AveragePool"):
        return math.prod(ints_attribute(node, "kernel_shape", ()))
    if is_onnx(node, *_POOLS):
        source, result = shape_of(node.inputs[0]), shape_of(node.outputs[0])
        if source is None or result is None:
            return 0
        return round(_size(source[1:]) / _size(result[1:]))
    return 0


def _terms_of_product(node: ir.Node) -> int:
    shape = shape_of(node.inputs[1])
    if not shape:
        return 0
    if is_onnx(node, "Conv"):
        return _size(shape[1:])
    if is_onnx(node, "ConvTranspose"):
        strides = math.prod(ints_attribute(node, "strides", ()))
        return max(_size(shape[2:]) * (shape[0] or 1) // int_attribute(node, "group", 1) // strides, 1)
    if is_onnx(node, "Gemm") and int_attribute(node, "transB", 0):
        return shape[-1] or UNKNOWN_SIZE
    return shape[-2 if len(shape) > 1 else 0] or UNKNOWN_SIZE


def _operands(node: ir.Node) -> list[ir.Value]:
    """What is summed up: both operands of a product, or what a mean is taken of."""
    count = 2 if is_onnx(node, *_PRODUCTS) else 1
    return [value for value in node.inputs[:count] if value is not None]


def _lost(value: ir.Value) -> Array | None:
    """What rounding takes away from a constant; None for values."""
    array = constant(value)
    if array is None:
        return None
    return np.subtract(array.astype(np.float16).astype(np.float32), array.astype(np.float32))


def _size(shape: Sequence[int | None]) -> int:
    return math.prod(each or UNKNOWN_SIZE for each in shape)


@dataclass
class _Work:
    """Grows by one value after the other."""

    model: ir.Model
    left: frozenset[str]
    places: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph = self.model.graph
        self.flow = {id(node) for node in self.graph}
        self.switches = ir.Value(name=SWITCHES, type=ir.TensorType(ir.DataType.FLOAT))
        self._made: list[ir.Node] = []
        self._number = 0

    def perturb(self, value: ir.Value, node: ir.Node | None) -> None:
        """Readers of ``value``, which ``node`` computes, read it with what float16 does to it."""
        readers = [use for use in value.uses() if id(use.node) in self.flow]
        touching = self._touching(value, node)
        result = value
        terms = terms_of(node) if node is not None and node.name not in self.left else 0
        if node is not None and terms > 1:
            result = self._summed(value, node, terms)
        if not self.left.issuperset(touching):
            result = self._rounded(result, value, touching)
        if result is value:
            return
        if node is None:
            self.graph.insert_before(next(iter(self.graph)), self._made)
        else:
            self.graph.insert_after(node, self._made)
        self._made = []
        for reader, index in readers:
            reader.replace_input_with(index, result)
        for index, output in enumerate(tuple(self.graph.outputs)):
            if output is value and node is not None:
                name = value.name
                self.graph.outputs[index] = result
                value.name, result.name = f"{name}_edgekit_exact", name
                result.type, result.shape = value.type, value.shape

    def _touching(self, value: ir.Value, node: ir.Node | None) -> tuple[str, ...]:
        """The nodes that compute and read a value, also where it was only moved before they read it."""
        found = {} if node is None else {node.name or "": True}
        waiting = [value]
        while waiting:
            for reader, _ in waiting.pop().uses():
                if id(reader) not in self.flow or reader.name in found:
                    continue
                found[reader.name or ""] = True
                if reader.op_type in EXACT:
                    waiting += reader.outputs
        return tuple(found)

    def _summed(self, value: ir.Value, node: ir.Node, terms: int) -> ir.Value:
        """N1."""
        alone = self._without_bias(value, node)
        power = self._new("Mul", alone, alone)
        of_sum = self._new("Mul", power, self._constant(_SQUARE * terms / 3))
        energy = self._again(node, [self._squared(each) for each in _operands(node)])
        if is_onnx(node, *_MEANS):
            energy = self._new("Mul", energy, self._constant(1 / terms))
        of_terms = self._new("Mul", energy, self._constant(_SQUARE * (terms / 6 + 1)))
        size = self._new("Sqrt", self._new("Add", of_sum, of_terms))
        noise = self._new("RandomNormalLike", value, seed=float(len(self.places) + 1))
        error = self._new("Mul", size, noise)
        lost = [_lost(each) for each in _operands(node)]
        if any(each is not None for each in lost):
            operands = [
                each if array is None else self._constant(array)
                for each, array in zip(_operands(node), lost, strict=True)
            ]
            error = self._new("Add", error, self._again(node, operands))
        place = Place(value.name or "", (node.name or "",), is_sum=True)
        return self._new("Add", value, self._new("Mul", error, self._switch(place)))

    def _rounded(self, value: ir.Value, source: ir.Value, touching: tuple[str, ...]) -> ir.Value:
        """N2."""
        half = self._new("Cast", value, to=int(ir.DataType.FLOAT16))
        wide = self._new("Cast", half, to=int(ir.DataType.FLOAT))
        place = Place(source.name or "", touching, is_sum=False)
        error = self._new("Mul", self._new("Sub", wide, value), self._switch(place))
        return self._new("Add", value, error)

    def _without_bias(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """The sum before its bias is added; a bias that is no constant is small enough to stay."""
        bias = constant(node.inputs[2]) if is_onnx(node, *_PRODUCTS) and len(node.inputs) > 2 else None
        if bias is None:
            return value
        if not is_onnx(node, "Gemm"):
            bias = bias.reshape(-1, *([1] * (len(shape_of(node.inputs[1]) or ()) - 2)))  # (channels, 1, ...)
        scale = float_attribute(node, "beta", 1.0)
        return self._new("Sub", value, self._constant(np.multiply(bias, np.float32(scale))))

    def _again(self, node: ir.Node, operands: Sequence[ir.Value]) -> ir.Value:
        """The same kernel over other operands, without its bias."""
        axes = () if is_onnx(node, *_PRODUCTS) else tuple(node.inputs[1:])
        attributes = tuple(node.attributes.values())
        inputs = [*operands, *axes]
        return self._append(
            ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=1, version=node.version)
        )

    def _squared(self, value: ir.Value) -> ir.Value:
        array = constant(value)
        return self._new("Mul", value, value) if array is None else self._constant(np.square(array))

    def _switch(self, place: Place) -> ir.Value:
        """A scalar: it keeps the rank of whatever it is multiplied with."""
        self.places.append(place)
        return self._new("Gather", self.switches, self._constant(np.asarray(len(self.places) - 1)), axis=0)

    def _new(self, operator: str, *inputs: ir.Value, **attributes: int | float) -> ir.Value:
        return self._append(ir.node(operator, list(inputs), attributes=dict(attributes)))

    def _append(self, node: ir.Node) -> ir.Value:
        self._number += 1
        node.name = f"edgekit_float16_{self._number}"
        node.outputs[0].name = f"{node.name}_value"
        self._made.append(node)
        return node.outputs[0]

    def _constant(self, array: Array | float) -> ir.Value:
        stored = np.asarray(array, np.float32) if isinstance(array, float) else array
        return add_numbered_initializer(self.graph, "edgekit_float16_constant", stored)
