"""TfliteFile -> ONNX graph under construction: values by tensor and layout, with Q/DQ pairs where integer.

TFLite is channels-last, ONNX channels-first. Each tensor remembers the layout that it was made in, and is
brought into another only when an operator asks for that: elementwise operators follow their inputs, so a
Transpose stands where the layouts really change (at inputs, outputs, and around Reshape), and nowhere else.

    layout = perm: stored axis i is the tensor's own axis perm[i]; IDENTITY = as the file has it

Integers (``real = scale * (integer - zero_point)``):

Q1 an activation: float result -> QuantizeLinear -> DequantizeLinear -> every reader.
Q2 an activation in another layout: DequantizeLinear -> Transpose -> Q -> DQ with the same parameters, the
   form in which every runtime finds its integer Transpose.
Q3 a quantized input of the model: the ONNX input is float32, Transpose (if any) -> Q -> DQ.
Q4 a constant: the file's integers, permuted -> DequantizeLinear, along the permuted axis.
Q5 an integer tensor without scale is just integers.

Source: TFLite 8-bit quantization specification; onnx QuantizeLinear-21, DequantizeLinear-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import ExportError
from edgekit.frontends.tflite.read import ABSENT, Operator, Quant, Tensor, TfliteFile
from edgekit.spec import Array

Layout = tuple[int, ...]
IDENTITY: Layout = ()
NCHW: Layout = (0, 3, 1, 2)
OPSET = 21

_QUANTIZED = frozenset({"int8", "uint8", "int16"})


class UnreadableError(Exception):
    """An operator in a form that has no ONNX counterpart here: (why, remedy)."""


class Importer:
    """The ONNX graph that is being made of one file.

    Attributes:
        file: what is read.
        dynamic: whether sizes that the file calls dynamic are dynamic.
    """

    def __init__(self, file: TfliteFile, *, dynamic: bool) -> None:
        self.file = file
        self.dynamic = dynamic
        self.notes: list[str] = []
        self._nodes: list[ir.Node] = []
        self._initializers: list[ir.Value] = []
        self._taken: set[str] = set()
        self._real: dict[tuple[int, Layout], ir.Value] = {}
        self._made: dict[int, Layout] = {}
        self._same: dict[int, int] = {}
        self._float: dict[int, ir.Value] = {}
        self._parameters: dict[int, tuple[ir.Value, ir.Value]] = {}
        self._label = ""
        self.input_names = self._reserve(file.inputs)
        self.output_names = self._reserve(file.outputs)

    # What is known of a tensor ---------------------------------------------------------------------------

    def tensor(self, index: int) -> Tensor:
        """The tensor; refuses an absent one."""
        if index == ABSENT:
            raise UnreadableError("an input that it needs is absent", "convert the model again")
        return self.file.tensors[index]

    def dims(self, index: int) -> tuple[int | None, ...]:
        """Sizes in the file's own layout, None where dynamic."""
        tensor = self.tensor(index)
        sizes = tensor.signature if self.dynamic else tensor.shape
        return tuple(size if size >= 0 else None for size in sizes)

    def rank(self, index: int) -> int:
        """Number of axes."""
        return len(self.tensor(index).shape)

    def integers(self, index: int) -> tuple[int, ...] | None:
        """A constant vector of indices, sizes or axes; None if it is computed."""
        data = self.tensor(index).data
        return None if data is None else tuple(int(each) for each in data.reshape(-1))

    def known_integers(self, index: int, what: str) -> tuple[int, ...]:
        """As ``integers``, refusing a computed one."""
        found = self.integers(index)
        if found is None:
            raise UnreadableError(
                f"its {what} is computed, not a constant", "convert the model with fixed input shapes"
            )
        return found

    def array(self, index: int) -> Array | None:
        """A constant in real numbers (float32 if it has a scale); None if it is computed."""
        tensor = self.tensor(index)
        if tensor.data is None or tensor.quant is None:
            return tensor.data
        return dequantized(tensor.data, tensor.quant)

    def is_integer(self, index: int) -> bool:
        """Whether the tensor stands for reals by a scale."""
        tensor = self.tensor(index)
        return tensor.quant is not None and tensor.dtype in _QUANTIZED

    # Values ----------------------------------------------------------------------------------------------

    def layout(self, index: int) -> Layout:
        """The layout that the tensor was made in; constants follow others."""
        index = self._same.get(index, index)
        return self._made.get(index, IDENTITY)

    def value(self, index: int, layout: Layout = IDENTITY) -> ir.Value:
        """The tensor in ``layout``, in real numbers if it has a scale (Q1 to Q5)."""
        index = self._same.get(index, index)
        if (index, layout) not in self._real:
            self._real[index, layout] = self._bring(index, layout)
        return self._real[index, layout]

    def _bring(self, index: int, layout: Layout) -> ir.Value:
        tensor = self.tensor(index)
        if tensor.data is not None:
            return self.constant_tensor(index, axes=layout or tuple(range(len(tensor.shape))))
        made = self._made[index]
        name = f"{self._base(index)}/{'nhwc' if layout == IDENTITY else 'nchw'}"
        before = self._float.get(index) if index in self.file.inputs else None
        source = before if before is not None else self._real[index, made]
        moved = self.node("Transpose", [source], name=name, perm=change(made, layout, len(tensor.shape)))
        return self._pair(index, moved, name=name) if self.is_integer(index) else moved

    def constant_tensor(
        self, index: int, *, axes: Sequence[int], shape: Sequence[int] | None = None
    ) -> ir.Value:
        """A constant of the file with its axes in the order ``axes``, then reshaped; DQ if scaled (Q4).

        ``shape`` may only split or join axes of size 1, so that a channel axis stays one.
        """
        tensor = self.tensor(index)
        if tensor.data is None:
            raise UnreadableError("an operand is computed, and edgekit needs a constant there", "")
        data = np.transpose(tensor.data, axes)
        quant = tensor.quant
        if quant is not None and quant.axis is not None:
            quant = Quant(quant.scale, quant.zero_point, list(axes).index(quant.axis))
        if shape is not None:
            moved = data.reshape(shape)
            if quant is not None and quant.axis is not None:
                quant = Quant(quant.scale, quant.zero_point, _same_axis(data.shape, quant.axis, moved.shape))
            data = moved
        name = self._base(index)
        if quant is None:
            wide = data.astype(np.float32) if data.dtype == np.float16 else data
            return self.constant(name, wide)
        return self.dequantized_constant(name, data, quant)

    def dequantized_constant(self, name: str, data: Array, quant: Quant) -> ir.Value:
        """Integers -> DequantizeLinear."""
        if data.dtype.name not in {*_QUANTIZED, "int32", "uint16"}:
            return self.constant(name, dequantized(data, quant))
        integers = self.constant(f"{name}/integers", data)
        scalar = quant.axis is None
        scale = self.constant(f"{name}/scale", quant.scale[0] if scalar else quant.scale)
        zeros = quant.zero_point.astype(data.dtype)
        zero = self.constant(f"{name}/zero_point", zeros[0] if scalar else zeros)
        attributes = {} if scalar else {"axis": quant.axis}
        return self.node("DequantizeLinear", [integers, scale, zero], name=name, **attributes)

    def produce(self, index: int, value: ir.Value, layout: Layout = IDENTITY) -> None:
        """``value`` is what the operator computes for tensor ``index``, stored in ``layout`` (Q1)."""
        result = self._pair(index, value, name=self._base(index)) if self.is_integer(index) else value
        self._made[index] = layout
        self._real[index, layout] = result

    def moved(self, index: int, op: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        """A step on the way that moves elements of tensor ``index``: between DQ and Q where it is integer.

        A runtime takes an integer kernel for what stands in a pair of its own; between two such steps without
        one, onnxruntime 1.31 puts a pair of another type (its QDQ propagation, microsoft/onnxruntime 27845).
        """
        return self.requantized(index, self.node(op, inputs, **attributes))

    def requantized(self, index: int, value: ir.Value) -> ir.Value:
        """``value``, the reals of tensor ``index`` in another order or shape, as a kernel reads it."""
        return self._pair(index, value, name=self._base(index)) if self.is_integer(index) else value

    def same(self, index: int, source: int) -> None:
        """Tensor ``index`` holds the reals of ``source``, in whatever layout they are asked for."""
        self._same[index] = self._same.get(source, source)

    def _pair(self, index: int, value: ir.Value, *, name: str) -> ir.Value:
        scale, zero = self._scale(index)
        quantized = self.node("QuantizeLinear", [value, scale, zero], name=f"{name}/quantized")
        return self.node("DequantizeLinear", [quantized, scale, zero], name=f"{name}/dequantized")

    def _scale(self, index: int) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point of an activation, once per tensor."""
        if index not in self._parameters:
            tensor = self.tensor(index)
            quant = tensor.quant
            if quant is None or quant.axis is not None:
                raise UnreadableError(
                    f"tensor {index} ({tensor.name!r}) is an activation with one scale per channel",
                    "convert the model again: TFLite's kernels take one scale per activation",
                )
            base = self._base(index)
            zero = quant.zero_point[0].astype(tensor.dtype)
            self._parameters[index] = (
                self.constant(f"{base}/scale", quant.scale[0]),
                self.constant(f"{base}/zero_point", zero),
            )
        return self._parameters[index]

    def flat(self, index: int) -> ir.Value:
        """The tensor with its elements in the file's order: as it was made, if only sizes of 1 moved."""
        made = self.layout(index)
        dims = self.dims(index)
        real = [axis for axis in made if dims[axis] != 1]
        return self.value(index, made if made and real == sorted(real) else IDENTITY)

    # Nodes -----------------------------------------------------------------------------------------------

    def operator(self, operator: Operator) -> None:
        """What follows belongs to ``operator``: its nodes are called after it."""
        self._label = operator.code

    def constant(self, name: str, array: Any) -> ir.Value:
        """A new initializer."""
        data = np.asarray(array)
        free = self._free(name)
        value = ir.Value(
            name=free,
            shape=ir.Shape(data.shape),
            type=ir.TensorType(ir.DataType.from_numpy(data.dtype)),
            const_value=ir.tensor(np.asarray(data, order="C"), name=free),
        )
        self._initializers.append(value)
        return value

    def vector(self, values: Sequence[int], name: str = "") -> ir.Value:
        """An int64 constant: axes, sizes, positions."""
        return self.constant(name or f"{self._label}/indices", np.asarray(values, np.int64).reshape(-1))

    def node(
        self, op: str, inputs: Sequence[ir.Value | None], *, name: str = "", **attributes: Any
    ) -> ir.Value:
        """A node with one output."""
        return self.nodes(op, inputs, 1, name=name, **attributes)[0]

    def nodes(
        self, op: str, inputs: Sequence[ir.Value | None], outputs: int, *, name: str = "", **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """A node with several outputs; the attributes whose value is None are left out."""
        base = name or self._label or op
        given = {key: each for key, each in attributes.items() if each is not None}
        node = ir.node(op, list(inputs), attributes=given, num_outputs=outputs)
        for output in node.outputs:
            output.name = self._free(base)
        node.name = node.outputs[0].name
        self._nodes.append(node)
        return tuple(node.outputs)

    # The model -------------------------------------------------------------------------------------------

    def add_input(self, index: int, position: int, shape: Sequence[int | str | None]) -> None:
        """Input of the model: float32 where the file's is integer with a scale (Q3)."""
        tensor = self.tensor(index)
        dtype = np.dtype(np.float32 if self.is_integer(index) else tensor.dtype)
        value = ir.Value(
            name=self.input_names[position],
            shape=ir.Shape(shape),
            type=ir.TensorType(ir.DataType.from_numpy(dtype)),
        )
        self._made[index] = IDENTITY
        self._float[index] = value
        self._real[index, IDENTITY] = value

    def quantize_input(self, index: int) -> None:
        """The pair behind a quantized input, for readers in the file's own layout."""
        if self.is_integer(index):
            pair = self._pair(index, self._float[index], name=self._base(index))
            self._real[index, IDENTITY] = pair

    def model(self) -> ir.Model:
        """The finished model; unread nodes and constants are gone."""
        inputs = [self._float[index] for index in self.file.inputs]
        outputs: list[ir.Value] = []
        for index, name in zip(self.file.outputs, self.output_names, strict=True):
            value = self.value(index)
            if value in inputs or value in outputs or value.producer() is None:
                value = self.node("Identity", [value])
            value.name = name
            dtype = np.dtype(np.float32 if self.is_integer(index) else self.tensor(index).dtype)
            value.type = ir.TensorType(ir.DataType.from_numpy(dtype))
            outputs.append(value)
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self._nodes,
            initializers=self._initializers,
            opset_imports={"": OPSET},
            name="tflite",
        )
        return ir.Model(graph, ir_version=10)

    def stored(self) -> dict[int, list[tuple[str, tuple[int | None, ...]]]]:
        """By tensor: the name of each value that holds it, and the sizes that it should have."""
        found: dict[int, list[tuple[str, tuple[int | None, ...]]]] = {}
        for (index, layout), value in self._real.items():
            dims = self.dims(index)
            found.setdefault(index, []).append(
                (value.name or "", tuple(dims[axis] for axis in layout) if layout else dims)
            )
        return found

    def _reserve(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._free(self.file.tensors[index].name or f"tensor_{index}") for index in indices)

    def _base(self, index: int) -> str:
        return self.tensor(index).name or f"tensor_{index}"

    def _free(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._taken.add(candidate)
        return candidate


def change(made: Layout, wanted: Layout, rank: int) -> list[int]:
    """``perm`` of the Transpose that brings one layout into another."""
    have = made or tuple(range(rank))
    return [have.index(axis) for axis in wanted or tuple(range(rank))]


def dequantized(data: Array, quant: Quant) -> Array:
    """The reals that ``data`` stands for, as float32."""
    shape = [1] * data.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale, zero = quant.scale.reshape(shape), quant.zero_point.reshape(shape)
    if data.ndim == 0:
        scale, zero = scale.reshape(()), zero.reshape(())
    # (q - z) fits float32 exactly for 8 and 16 bits; a 32-bit bias is rounded once, in float64.
    real: Array = ((data.astype(np.float64) - zero) * scale.astype(np.float64)).astype(np.float32)
    return real


def _same_axis(old: Sequence[int], axis: int, new: Sequence[int]) -> int:
    """Where ``axis`` is after a reshape that only adds or drops sizes of 1."""
    places = [index for index, size in enumerate(new) if size != 1]
    order = [index for index, size in enumerate(old) if size != 1]
    if [old[index] for index in order] != [new[index] for index in places] or axis not in order:
        raise UnreadableError("its per-channel constant cannot be reshaped", "use one scale per tensor")
    return places[order.index(axis)]


def refusal(subject: Operator | str, file: TfliteFile, why: str, remedy: str) -> ExportError:
    """The error for one operator (by name and index) or input."""
    return ExportError(
        f"{subject} of {file.name} cannot be read: {why}",
        why="every operator of a .tflite file needs an ONNX form that computes the same",
        remedy=remedy or "export the model from its framework instead: edgekit export model.py:build",
    )
