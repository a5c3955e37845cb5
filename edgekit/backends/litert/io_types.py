"""Graph with float boundaries -> the same with integer ones: QUANTIZE and DEQUANTIZE at the boundary go.

    x f32 -> QUANTIZE -> q int8 -> ...        becomes        q int8 -> ...
    ... -> q int8 -> DEQUANTIZE -> y f32      becomes        ... -> q int8

I1 what moves elements (TRANSPOSE, RESHAPE) between the boundary and its QUANTIZE or DEQUANTIZE moves integers
I2 uint8: s * (u8 - (z + 128)) = s * (i8 - z) exactly, by a QUANTIZE between the boundary and the int8 tensor
I3 an input or output that is float32 in the reference and has no scale in the file: refused
I4 integers and booleans of the reference (ids, classes, masks) stay as they are

Source: TFLite quantization specification; tflite/kernels/quantize.cc (equal scales, zero points 128 apart: a
flip of the sign bit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.backends.litert.tidy import tidy
from edgekit.spec import QuantParams, Rejection

MOVES = frozenset({"RESHAPE", "TRANSPOSE"})
SHIFT = 128  # between the int8 and the uint8 form of one tensor
_REMEDY = "use --io-dtype float32, or quantize the operator at this end of the model as well"


def with_integer_io(graph: Graph, dtype: str) -> tuple[Graph, tuple[Rejection, ...]]:
    """``graph`` with inputs and outputs of ``dtype`` ("int8" or "uint8") where they were float32.

    Returns:
        The graph, and one rejection per input or output that has no scale (I3); the graph is complete only
        where there is none.
    """
    boundary = _Boundary(graph, dtype)
    for position, name in enumerate(graph.input_names):
        boundary.input(position, name)
    for position, name in enumerate(graph.output_names):
        boundary.output(position, name)
    return tidy(boundary.graph()), tuple(boundary.rejections)


class _Boundary:
    """The graph while its ends are rewritten."""

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.dtype = dtype
        self.rejections: list[Rejection] = []
        self._graph = graph
        self._tensors = list(graph.tensors)
        self._first: list[Operator] = []
        self._operators = list(graph.operators)
        self._inputs = list(graph.inputs)
        self._outputs = list(graph.outputs)

    def graph(self) -> Graph:
        """What it has become."""
        return replace(
            self._graph,
            tensors=tuple(self._tensors),
            operators=(*self._first, *self._operators),
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
        )

    # Inputs --------------------------------------------------------------------------------------------

    def input(self, position: int, name: str) -> None:
        """The input becomes what its QUANTIZE makes of it."""
        index = self._inputs[position]
        if self._tensors[index].dtype != "float32":
            return  # I4
        found = set(self._quantized_as(index))
        if not found:
            return  # nobody reads it
        quant = next(iter(found))
        if len(found) > 1 or quant is None or index in self._outputs:
            said = "is not quantized" if None in found or index in self._outputs else "has several scales"
            self._reject(name, f"input {name!r} {said}, and {self.dtype} needs one scale for it")
            return
        if not self._has_form(quant):
            self._reject(name, f"input {name!r} is quantized to {quant.dtype}, not to int8 or uint8")
            return
        self._retype(index, quant)
        if quant.dtype == self.dtype:
            return
        outside = self._add(replace(self._tensors[index], dtype=self.dtype, quant=shifted(quant, self.dtype)))
        self._tensors[index] = replace(self._tensors[index], name=f"{name}/{quant.dtype}")
        self._first.append(Operator("QUANTIZE", (outside,), (index,)))
        self._inputs[position] = outside

    def _readers(self, index: int) -> Iterator[Operator]:
        return (op for op in self._operators if index in op.inputs and op.code != "SHAPE")

    def _quantized_as(self, index: int) -> Iterator[QuantParams | None]:
        """The parameters in which the readers want it; None for one that takes floats."""
        for op in self._readers(index):
            if op.code == "QUANTIZE":
                yield self._tensors[op.outputs[0]].quant
            elif op.code in MOVES and op.outputs[0] not in self._outputs:
                yield from self._quantized_as(op.outputs[0])
            else:
                yield None

    def _retype(self, index: int, quant: QuantParams) -> None:
        """The tensor and what is moved from it hold integers; QUANTIZEs behind it are nothing (I1)."""
        self._tensors[index] = replace(self._tensors[index], dtype=quant.dtype, quant=quant)
        for op in tuple(self._readers(index)):
            result = op.outputs[0]
            if op.code in MOVES:
                self._retype(result, quant)
            elif result not in self._outputs:  # a model output stays a copy: QUANTIZE into its own scale
                self._operators.remove(op)
                self._operators = [_reading(each, result, index) for each in self._operators]

    # Outputs -------------------------------------------------------------------------------------------

    def output(self, position: int, name: str) -> None:
        """The output becomes what its DEQUANTIZE reads."""
        index = self._outputs[position]
        if self._tensors[index].dtype != "float32":
            return  # I4
        source = self._integers_of(index)
        quant = self._tensors[source].quant if source is not None else None
        if source is None or quant is None:
            self._reject(name, f"output {name!r} is computed in float32: it has no scale")
            return
        if not self._has_form(quant):
            self._reject(name, f"output {name!r} is quantized to {quant.dtype}, not to int8 or uint8")
            return
        before = len(self._operators)
        source = self._moved(index, source)
        fresh = len(self._operators) > before
        self._tensors[index] = replace(self._tensors[index], name=f"{name}/float")
        stored = self._tensors[source]
        wanted = shifted(quant, self.dtype)
        taken = not fresh and (source in self._outputs or source in self._inputs or stored.data is not None)
        if wanted != quant or taken:  # I2, or a second name for one tensor
            result = self._add(Tensor(name, self.dtype, stored.shape, wanted))
            self._operators.append(Operator("QUANTIZE", (source,), (result,)))
        else:
            self._tensors[source] = replace(stored, name=name)
            result = source
        self._outputs[position] = result

    def _producer(self, index: int) -> Operator | None:
        return next((op for op in self._operators if index in op.outputs), None)

    def _integers_of(self, index: int) -> int | None:
        """The quantized tensor that ``index`` is the dequantized form of, behind what moves elements."""
        op = self._producer(index)
        if op is None or op.code not in {"DEQUANTIZE", *MOVES}:
            return None
        return op.inputs[0] if op.code == "DEQUANTIZE" else self._integers_of(op.inputs[0])

    def _moved(self, index: int, source: int) -> int:
        """The moves between ``source`` and ``index`` once more, on integers (I1); the float ones may die."""
        op = self._producer(index)
        if op is None or op.code == "DEQUANTIZE":
            return source
        inner = self._moved(op.inputs[0], source)
        quant = self._tensors[source].quant
        made = self._tensors[index]
        out = self._add(Tensor(f"{made.name}/moved", self._tensors[source].dtype, made.shape, quant))
        self._operators.append(replace(op, inputs=(inner, *op.inputs[1:]), outputs=(out,)))
        return out

    # Both ----------------------------------------------------------------------------------------------

    def _has_form(self, quant: QuantParams) -> bool:
        return quant.axis is None and quant.dtype in {"int8", "uint8"}

    def _add(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _reject(self, name: str, reason: str) -> None:
        self.rejections.append(Rejection(name, "io-dtype", reason, _REMEDY))


def _reading(op: Operator, old: int, new: int) -> Operator:
    return replace(op, inputs=tuple(new if index == old else index for index in op.inputs))


def shifted(quant: QuantParams, dtype: str) -> QuantParams:
    """The same real numbers in ``dtype``, int8 or uint8 (I2)."""
    if quant.dtype == dtype:
        return quant
    step = SHIFT if dtype == "uint8" else -SHIFT
    return replace(quant, dtype=dtype, zero_point=tuple(zero + step for zero in quant.zero_point))
