"""One unit being lowered: its operands as TFLite tensors in the decided layouts, and what it emits.

A lowering takes a ``Step`` and calls ``x`` (inputs), ``emit`` (operators on the way) and ``result`` (the
operator that makes an output). ``result`` adds what the unit carries behind its operator, in this order:

    R1  requantization: a kernel that keeps its input's scale, then QUANTIZE to the output's scale
    R2  clamp: a fused activation where the kernel has it, MAXIMUM and MINIMUM otherwise; exact in int8 too:
        Q(clip(v, a, b)) = clip(Q(v), Q(a), Q(b)), since Q is monotone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from edgekit.backends.litert.constants import INTEGER_LIMITS, quantize
from edgekit.backends.litert.kernels import BROADCASTING, KERNELS, MOVING, SCALED_INT16
from edgekit.backends.litert.layout_rules import Ports, aligned
from edgekit.backends.litert.layouts import Layout, identity, same_storage
from edgekit.backends.litert.operands import Clamp, Operand, Unit
from edgekit.backends.litert.refusal import RefusedError
from edgekit.backends.litert.tensors import UNKNOWN_RANK, GraphBuilder, Shape, signature
from edgekit.spec import Array, Dim, QuantParams

# schema.fbs, ActivationFunctionType: the ones that every kernel with the field computes.
FUSED_ACTIVATIONS: dict[Clamp, str] = {
    Clamp(-inf, inf): "NONE",
    Clamp(0.0, inf): "RELU",
    Clamp(0.0, 6.0): "RELU6",
    Clamp(-1.0, 1.0): "RELU_N1_TO_1",
}
FUSING = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
    }
)
TENSOR_DTYPES = frozenset({"float32", "int8", "uint8", "int16", "int32", "int64", "bool"})


class Tensors:
    """Stored tensors by ONNX value name, in every layout that something asked for."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._made: dict[str, tuple[int, Layout, Shape]] = {}
        self._copies: dict[tuple[str, Layout], int] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._made

    def set(self, key: str, tensor: int, layout: Layout, *, logical: Shape) -> None:
        """Value ``key`` is ``tensor``, stored in ``layout``."""
        self._made[key] = (tensor, layout, logical)
        self._copies[key, layout] = tensor

    def get(self, key: str, layout: Layout) -> int:
        """The tensor of ``key`` in ``layout``; a RESHAPE or TRANSPOSE is added if there is none yet."""
        if (key, layout) not in self._copies:
            tensor, made, logical = self._made[key]
            self._copies[key, layout] = convert(self.builder, tensor, logical, made=made, wanted=layout)
        return self._copies[key, layout]


def convert(builder: GraphBuilder, tensor: int, logical: Shape, *, made: Layout, wanted: Layout) -> int:
    """Bring a stored tensor from one layout to another: nothing, RESHAPE, or TRANSPOSE."""
    if made == wanted:
        return tensor
    if same_storage(logical, made, wanted):
        return reshape(builder, tensor, wanted.shape(logical))
    if made.flat:
        tensor = _unflatten(builder, tensor, logical, made.flat)
        made = identity(len(logical))
    if wanted.flat:
        raise RefusedError(
            "layout",
            "a value would have to be brought into a flattened channels-last order",
            "report this graph: the layout pass should not have chosen it",
        )
    if same_storage(logical, made, wanted):
        return tensor if made == wanted else reshape(builder, tensor, wanted.shape(logical))
    return transpose(builder, tensor, tuple(made.perm.index(axis) for axis in wanted.perm))


def _unflatten(builder: GraphBuilder, tensor: int, logical: Shape, flat: tuple[int, ...]) -> int:
    lead = logical[:-1]
    channels, *spatial = flat
    tensor = reshape(builder, tensor, (*lead, *spatial, channels))
    last = len(lead) + len(spatial)
    tensor = transpose(builder, tensor, (*range(len(lead)), last, *range(len(lead), last)))
    return reshape(builder, tensor, logical)


def transpose(builder: GraphBuilder, tensor: int, perm: Sequence[int]) -> int:
    """TRANSPOSE: output axis i = input axis perm[i]."""
    source = builder.tensors[tensor]
    check_kernel("TRANSPOSE", source.dtype, len(source.shape))
    out = builder.tensor(
        f"{source.name}/transposed",
        source.dtype,
        tuple(source.shape[axis] for axis in perm),
        quant=source.quant,
    )
    builder.operator("TRANSPOSE", [tensor, builder.constant("perm", np.asarray(perm, np.int32))], [out])
    return out


def reshape(builder: GraphBuilder, tensor: int, shape: Shape) -> int:
    """RESHAPE to ``shape``."""
    source = builder.tensors[tensor]
    out = builder.tensor(f"{source.name}/reshaped", source.dtype, shape, quant=source.quant)
    reshape_into(builder, tensor, out)
    return out


def reshape_into(builder: GraphBuilder, tensor: int, out: int) -> None:
    """RESHAPE ``tensor`` into the tensor ``out``, which is there already.

    Raises:
        RefusedError: more than one size of the result is dynamic, and no tensor says how large they are.
    """
    shape = builder.tensors[out].shape
    sizes = signature(shape)
    check_kernel("RESHAPE", builder.tensors[tensor].dtype, len(sizes))
    if sizes.count(-1) > 1:
        builder.operator("RESHAPE", [tensor, computed_sizes(builder, tensor, shape)], [out])
        return
    constant = builder.constant("shape", np.asarray(sizes, np.int32).reshape(-1))
    # reshape.cc: newShape = [0] stands for a scalar where the shape tensor is empty
    builder.operator("RESHAPE", [tensor, constant], [out], options={"newShape": sizes or (0,)})


def computed_sizes(builder: GraphBuilder, tensor: int, shape: Shape) -> int:
    """``shape`` as an int32 vector: SHAPE of tensors that have its named sizes, joined and picked from.

    concatenation.cc and gather.cc compute them when the graph is prepared, as SHAPE does.
    """
    named = [dim for dim in shape if not isinstance(dim, int)]
    sources: list[int] = []
    places: dict[Dim, int] = {}
    length = 0
    for candidate in (tensor, *builder.inputs):
        have = builder.tensors[candidate].shape
        new = [dim for dim in named if dim is not None and dim in have and dim not in places]
        if new:
            places |= {dim: length + have.index(dim) for dim in new}
            length += len(have)
            sources.append(candidate)
    if any(dim not in places for dim in named):
        raise RefusedError(
            "one-dynamic-size",
            f"RESHAPE to {shape} has more than one dynamic size, and no input has them all",
            "give all axes but the batch a fixed size when exporting",
        )
    fixed = [dim for dim in shape if isinstance(dim, int)]
    parts = [_sizes_of(builder, source) for source in sources]
    parts.append(builder.constant("fixed", np.asarray(fixed, np.int32)))
    joined = builder.tensor("sizes", "int32", (length + len(fixed),))
    builder.operator("CONCATENATION", parts, [joined], options={"axis": 0})
    rest = iter(range(length, length + len(fixed)))
    order = [next(rest) if isinstance(dim, int) else places[dim] for dim in shape]
    out = builder.tensor("shape", "int32", (len(shape),))
    picked = builder.constant("order", np.asarray(order, np.int32))
    builder.operator("GATHER", [joined, picked], [out], options={"axis": 0})
    return out


def _sizes_of(builder: GraphBuilder, tensor: int) -> int:
    out = builder.tensor("sizes", "int32", (len(builder.tensors[tensor].shape),))
    builder.operator("SHAPE", [tensor], [out], options={"outType": "int32"})
    return out


def check_kernel(code: str, dtype: str, rank: int, *, plain: bool = False) -> None:
    """Refuse what LiteRT's kernel of ``code`` cannot take; ``plain``: the tensor has no scale."""
    kernel = KERNELS[code]
    scaled = dtype in {"int8", "uint8"} or (dtype == "int16" and code in SCALED_INT16)
    if plain and scaled and code not in MOVING:
        raise RefusedError(
            "plain-bytes",
            f"LiteRT's {code} takes {dtype} with a scale only, and this tensor is a plain integer",
            "compute in int32 or float32, or quantize the tensor with QuantizeLinear",
        )
    if dtype not in kernel.dtypes:
        raise RefusedError(
            "kernel-type",
            f"LiteRT's {code} does not take {dtype}",
            f"cast to {' or '.join(sorted(kernel.dtypes))} in the model",
        )
    if rank > kernel.rank:
        raise RefusedError(
            "kernel-rank",
            f"LiteRT's {code} takes at most {kernel.rank} axes, not {rank}",
            "merge axes with Reshape before this operator",
        )


class Step:
    """One unit, its decided ports, and the graph it is written into."""

    def __init__(self, unit: Unit, ports: Ports, tensors: Tensors, notes: list[str]) -> None:
        self.unit = unit
        self.ports = ports
        self.tensors = tensors
        self.builder = tensors.builder
        self._notes = notes

    # Operands ------------------------------------------------------------------------------------------

    @property
    def label(self) -> Layout:
        """Layout of the first output."""
        return self.ports.outputs[0]

    @property
    def out(self) -> Operand:
        """The first output."""
        return self.unit.outputs[0]

    def operand(self, index: int) -> Operand:
        """Input ``index``, which must be there."""
        operand = self.unit.operand(index)
        if operand is None:
            raise self.refusal(
                "missing-input", f"input {index} is absent", "check the model with onnx.checker"
            )
        return operand

    def has(self, index: int) -> bool:
        """Whether input ``index`` is there."""
        return self.unit.operand(index) is not None

    def x(self, index: int = 0) -> int:
        """Tensor of input ``index`` in its decided layout; constants follow the output's."""
        operand = self.operand(index)
        layout = self.ports.inputs[index] if index < len(self.ports.inputs) else None
        if operand.const is not None:
            layout = layout or (
                self.label if operand.rank == len(self.label.perm) else identity(operand.rank)
            )
            return self.constant(operand.key, layout.store(operand.const), quant=operand.quant)
        return self.tensors.get(operand.key, layout or identity(operand.rank))

    def broadcast(self, index: int) -> int:
        """Tensor of input ``index`` of an elementwise operator, with axes that fit the output's layout."""
        operand = self.operand(index)
        rank = self.out.rank
        if operand.const is not None:
            data = operand.const.reshape(tuple(d for d in aligned(operand, rank) if isinstance(d, int)))
            data = self.label.store(data)
            if data.size == 1 and rank > 0:
                data = data.reshape(1)
            return self.constant(operand.key, data, quant=operand.quant)
        tensor = self.x(index)
        if operand.rank == rank or self.label.is_identity:
            return tensor
        return reshape(self.builder, tensor, self.label.shape(aligned(operand, rank)))

    def constant(self, name: str, data: Array, *, quant: QuantParams | None = None) -> int:
        """A constant tensor."""
        return self.builder.constant(name, data, quant=quant)

    def integers(self, name: str, values: Sequence[int]) -> int:
        """A constant int32 vector."""
        return self.constant(name, np.asarray(values, np.int32))

    def shape(self, tensor: int) -> Shape:
        """Stored shape of a tensor."""
        return self.builder.tensors[tensor].shape

    def attribute(self, name: str, default: Any) -> Any:
        """ONNX attribute of the unit."""
        return self.unit.attributes.get(name, default)

    # What is emitted -----------------------------------------------------------------------------------

    def temporary(self, shape: Shape, dtype: str, *, quant: QuantParams | None = None) -> int:
        """A tensor between two operators of this unit."""
        return self.builder.tensor(f"{self.out.key}/part", dtype, shape, quant=quant)

    def emit(
        self,
        code: str,
        inputs: Sequence[int],
        shape: Shape,
        *,
        options: Mapping[str, Any] | None = None,
        dtype: str | None = None,
        quant: QuantParams | None = None,
    ) -> int:
        """An operator on the way to the result; type and scale are its first input's unless given."""
        first = self.builder.tensors[inputs[0]]
        out = self.temporary(shape, dtype or first.dtype, quant=quant if dtype or quant else first.quant)
        self._operator(code, inputs, out, options)
        return out

    def output(self, index: int = 0) -> int:
        """The tensor of output ``index``, to be filled by the caller."""
        out = self.unit.outputs[index]
        layout = self.ports.outputs[index]
        if out.dtype not in TENSOR_DTYPES:
            raise self.refusal("type", f"{out.key!r} is {out.dtype}", "export the model in float32")
        tensor = self.builder.tensor(out.key, out.dtype, layout.shape(out.shape), quant=out.quant)
        self.tensors.set(out.key, tensor, layout, logical=out.shape)
        return tensor

    def result(
        self,
        code: str,
        inputs: Sequence[int],
        *,
        options: Mapping[str, Any] | None = None,
        scale_of: int | None = None,
        fixed: QuantParams | None = None,
        shape: Shape | None = None,
        fuses: bool = True,
    ) -> None:
        """The operator that makes output 0, followed by what the unit carries behind it.

        Args:
            code: builtin operator.
            inputs: its tensors.
            options: its options.
            scale_of: a tensor whose scale the kernel keeps: the output of ``code`` has it (R1).
            fixed: the scale that the kernel prescribes (R1).
            shape: stored shape of ``code``'s output if it is not yet that of the unit's output (RESHAPE
            follows).
            fuses: whether its kernels heed the fused activation.
        """
        quant = self.out.quant
        if quant is not None and scale_of is not None:
            quant = self.builder.tensors[scale_of].quant
        if quant is not None and fixed is not None:
            quant = fixed
        clamp = self._effective_clamp()
        options = dict(options or {})
        if fuses and code in FUSING and quant == self.out.quant and clamp in FUSED_ACTIVATIONS:
            options["fusedActivationFunction"] = FUSED_ACTIVATIONS[clamp]
            clamp = Clamp(-inf, inf)
        stored = self.label.shape(self.out.shape)
        tail: list[tuple[str, Array | None]] = []
        if shape is not None and shape != stored:
            tail.append(("RESHAPE", None))
        if quant != self.out.quant:
            tail.append(("QUANTIZE", None))
            self.note("requantizes its output: the kernel prescribes another scale than the QDQ graph")
        tail += [
            (op, self.element(value))
            for op, value in (("MAXIMUM", clamp.low), ("MINIMUM", clamp.high))
            if abs(value) != inf
        ]
        if not tail:
            self._operator(code, inputs, self.output(), options)
            return
        tensor = self.temporary(shape or stored, self.out.dtype, quant=quant)
        self._operator(code, inputs, tensor, options)
        for index, (op, bound) in enumerate(tail):
            last = index == len(tail) - 1
            after = self.out.quant if op == "QUANTIZE" else self.builder.tensors[tensor].quant
            target = self.output() if last else self.temporary(stored, self.out.dtype, quant=after)
            if op == "RESHAPE":
                reshape_into(self.builder, tensor, target)
            else:
                extra = [] if bound is None else [self.constant("bound", bound, quant=self.out.quant)]
                self._operator(op, [tensor, *extra], target, None)
            tensor = target

    def many(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """An operator with several outputs, into tensors that are there already."""
        first = self.builder.tensors[inputs[0]]
        check_kernel(code, first.dtype, len(first.shape), plain=first.quant is None)
        self.builder.operator(code, inputs, outputs, options=options)

    def copy(self, tensor: int, *, index: int = 0) -> None:
        """Output ``index`` holds the elements of ``tensor``: nothing runs, or RESHAPE, or QUANTIZE."""
        out = self.unit.outputs[index]
        stored = self.ports.outputs[index].shape(out.shape)
        if self.shape(tensor) != stored:
            tensor = reshape(self.builder, tensor, stored)
        if self.builder.tensors[tensor].quant == out.quant:
            self.alias(tensor, index=index)
            return
        self.quantize(tensor, index=index)

    def quantize(self, tensor: int, *, index: int = 0) -> None:
        """QUANTIZE ``tensor`` into output ``index``."""
        self._operator("QUANTIZE", [tensor], self.output(index), None)

    def of(self, unit: Unit) -> Step:
        """A step for another form of the same unit, in the same layouts."""
        return Step(unit, self.ports, self.tensors, self._notes)

    def written_into(self, builder: GraphBuilder) -> Step:
        """A step for the same unit that emits into another graph, of which it knows no operands."""
        return Step(self.unit, self.ports, Tensors(builder), self._notes)

    def requantized(self, tensor: int, quant: QuantParams | None) -> int:
        """``tensor`` in the scale ``quant``: itself, or behind a QUANTIZE."""
        if quant is None or self.builder.tensors[tensor].quant == quant:
            return tensor
        return self.emit("QUANTIZE", [tensor], self.shape(tensor), dtype=quant.dtype, quant=quant)

    def alias(self, tensor: int, *, index: int = 0) -> None:
        """Output ``index`` is ``tensor`` itself: nothing runs."""
        self.tensors.set(
            self.unit.outputs[index].key,
            tensor,
            self.ports.outputs[index],
            logical=self.unit.outputs[index].shape,
        )

    def note(self, text: str) -> None:
        """Something for the report."""
        self._notes.append(f"{self.unit.node} ({self.unit.op}) {text}")

    def refusal(self, rule: str, reason: str, remedy: str) -> RefusedError:
        """The error to raise."""
        return RefusedError(rule, reason, remedy)

    def _operator(
        self, code: str, inputs: Sequence[int], output: int, options: Mapping[str, Any] | None
    ) -> None:
        tensors = [self.builder.tensors[i] for i in inputs if i >= 0]
        spread = code in BROADCASTING and len({tensor.shape for tensor in tensors}) == 1
        rank = 0 if spread else max(len(tensor.shape) for tensor in tensors[:3])
        check_kernel(code, tensors[0].dtype, rank, plain=tensors[0].quant is None)
        if tensors[0].dtype == "int16" and code in {"ADD", "SUB"}:
            options = {**(options or {}), "potScaleInt16": False}  # scales need not be powers of two
        self.builder.operator(code, inputs, [output], options=options)

    def _effective_clamp(self) -> Clamp:
        """The unit's clamp without the sides that the output's range makes void."""
        clamp = self.unit.clamp or Clamp(-inf, inf)
        quant = self.out.quant
        if quant is None or clamp in FUSED_ACTIVATIONS:
            return clamp
        lowest, highest = INTEGER_LIMITS[quant.dtype]
        low = -inf if clamp.low == -inf or int(self.element(clamp.low)) <= lowest else clamp.low
        high = inf if clamp.high == inf or int(self.element(clamp.high)) >= highest else clamp.high
        return Clamp(low, high)

    def element(self, value: float) -> Array:
        """``value`` as an element of the output: quantized where the output is."""
        if self.out.quant is not None:
            return quantize(np.asarray(value, np.float32), self.out.quant)
        return np.asarray(value, self.out.dtype)


def known(shape: Shape) -> bool:
    """Whether the rank is known."""
    return shape is not UNKNOWN_RANK and shape != UNKNOWN_RANK
