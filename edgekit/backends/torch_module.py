"""ONNX graph -> torch.nn.Module that computes it, and its torch.export.ExportedProgram.

    Model --module_of--> nn.Module --exported--> ExportedProgram

Constants are buffers, the forward pass is the graph's nodes in order (``backends.torch_operators``), outputs
are a tuple in the graph's order. Three rewrites, because kernels cost more to start than to run on a GPU:

A1 softmax(q k^T * scale + mask) v, read by nobody else in between, is one scaled_dot_product_attention
A2 MatMul with a constant matrix, and the Add of a constant vector behind it, is one linear
A3 several A2 of one input, as queries, keys and values have, are one product that is split

Source: PyTorch, torch.export and scaled_dot_product_attention; Vaswani et al. 2017, equation 1, for A1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.torch_operators import (
    OPERATORS,
    PARAMETERS,
    Call,
    Operator,
    Tensor,
    UnsupportedError,
    dtype_of,
)
from edgekit.ir.graph import constant, has_subgraphs, is_onnx, rank, sole_reader
from edgekit.spec import Rejection

if TYPE_CHECKING:
    from edgekit.spec import Array

OPEN_SIZE = 2  # of a dynamic axis while it is traced: torch.export takes 0 and 1 for fixed
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def rejections(model: ir.Model, *, operators: Collection[str] = OPERATORS) -> Iterator[Rejection]:
    """Operators, and computed parameters, that ``module_of`` has no counterpart for; needs no torch."""
    for node in model.graph:
        name = node.name or node.op_type
        if has_subgraphs(node) or not is_onnx(node, *operators):
            yield Rejection(
                node=name,
                rule="operator",
                reason=f"PyTorch gets no {node.op_type} from edgekit",
                remedy="choose another target (`edgekit targets`)",
            )
            continue
        for index in PARAMETERS.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and constant(value) is None:
                yield Rejection(
                    node=name,
                    rule="computed-parameter",
                    reason=f"input {index} of {node.op_type} ({value.name}) is computed, and an argument "
                    "of PyTorch's is fixed",
                    remedy="fix the sizes of the inputs (--input), or choose another target",
                )


@dataclass(frozen=True)
class Attention:
    """A1, by the names of values."""

    query: str
    transposed_key: str
    value: str
    mask: str
    scale: float


@dataclass(frozen=True)
class Linear:
    """A2 and A3: the product of one input with the columns of several matrices, side by side."""

    source: str
    products: tuple[tuple[str, str, str], ...]  # constant matrix, constant vector or "", output
    widths: tuple[int, ...]  # columns of each matrix


@dataclass
class Steps:
    """What the forward pass does at which node.

    Attributes:
        special: id of the node that is replaced -> what is done there.
        skipped: ids of nodes that a rewrite did away with.
    """

    special: dict[int, Attention | Linear] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)


def steps_of(model: ir.Model) -> Steps:
    """Find A1 to A3."""
    steps = Steps()
    for node in model.graph:
        if is_onnx(node, "Softmax"):
            _find_attention(node, steps)
    groups: dict[str, list[tuple[ir.Node, str, str, str]]] = {}
    for node in model.graph:
        if id(node) in steps.skipped or id(node) in steps.special or not is_onnx(node, "MatMul"):
            continue
        matrix = constant(node.inputs[1])
        if matrix is not None and matrix.ndim == 2 and node.inputs[0] is not None:
            bias, last = _bias_behind(node)
            source = f"{node.inputs[0].name}"
            groups.setdefault(source, []).append((node, _name(node.inputs[1]), bias, _name(last)))
    for source, group in groups.items():
        alike = {(shape[0], bool(bias)) for node, _, bias, _ in group for shape in [_shape(node.inputs[1])]}
        parts = [group] if len(alike) == 1 else [[each] for each in group]
        for part in parts:
            products = tuple((matrix, bias, output) for _, matrix, bias, output in part)
            widths = tuple(_shape(node.inputs[1])[1] for node, _, _, _ in part)
            steps.special[id(part[0][0])] = Linear(source, products, widths)
            for position, (node, _, bias, _) in enumerate(part):
                if position:
                    steps.skipped.add(id(node))
                if bias:
                    reader = sole_reader(node.outputs[0])
                    assert reader is not None  # noqa: S101  _bias_behind has found it
                    steps.skipped.add(id(reader))
    return steps


def _bias_behind(node: ir.Node) -> tuple[str, ir.Value]:
    """The constant vector that alone is added to the product, and the value that is then done."""
    product = node.outputs[0]
    reader = sole_reader(product)
    if reader is None or not is_onnx(reader, "Add"):
        return "", product
    other = reader.inputs[1] if reader.inputs[0] is product else reader.inputs[0]
    bias = constant(other)
    if bias is None or bias.ndim != 1 or bias.shape[0] != _shape(node.inputs[1])[1]:
        return "", product
    return _name(other), reader.outputs[0]


def _find_attention(softmax: ir.Node, steps: Steps) -> None:
    """A1 around ``softmax``; leaves everything as it is where one condition does not hold."""
    last = sole_reader(softmax.outputs[0])
    dims = rank(softmax.inputs[0])
    if last is None or not is_onnx(last, "MatMul") or last.inputs[0] is not softmax.outputs[0]:
        return
    axis = softmax.attributes.get("axis")
    if dims != 4 or (axis is not None and axis.as_int() not in {-1, 3}):
        return
    inner, nodes = softmax.inputs[0], [softmax]
    mask, scale = "", 1.0
    while inner is not None:
        node = inner.producer()
        if node is None or sole_reader(inner) is None:
            return
        if is_onnx(node, "MatMul"):
            break
        if is_onnx(node, "Add") and not mask and scale == 1.0:
            side = 0 if _comes_from_product(node.inputs[0]) else 1
            mask, inner = _name(node.inputs[1 - side]), node.inputs[side]
        elif is_onnx(node, "Mul", "Div"):
            factor = constant(node.inputs[1])
            if factor is None or factor.size != 1:
                return
            real = float(factor.reshape(()))
            scale, inner = scale * (real if node.op_type == "Mul" else 1 / real), node.inputs[0]
        else:
            return
        nodes.append(node)
    product = inner.producer() if inner is not None else None
    if product is None or any(value is None for value in (*product.inputs, *last.inputs)):
        return
    query, key = map(_name, product.inputs)
    steps.special[id(last)] = Attention(query, key, _name(last.inputs[1]), mask, scale)
    steps.skipped.update(map(id, (*nodes, product)))


def _comes_from_product(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    while node is not None and is_onnx(node, "Mul", "Div"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node is not None and is_onnx(node, "MatMul")


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    array = constant(value)
    return () if array is None else array.shape


def module_of(
    model: ir.Model, *, operators: Mapping[str, Operator] = OPERATORS, steps: Steps | None = None
) -> Any:
    """The torch.nn.Module of ``model``, in evaluation mode, on the CPU.

    Args:
        model: canonical, or what a compiler made of it.
        operators: how each of its operators is computed.
        steps: the rewrites; A1 to A3 where it is left out.

    Raises:
        UnsupportedError: an element type that PyTorch has not.
    """
    import torch

    found = steps_of(model) if steps is None else steps
    arrays = _constants(model, found)

    class Graph(torch.nn.Module):  # type: ignore[misc]
        """The nodes of one ONNX graph."""

        def __init__(self) -> None:
            super().__init__()
            self.places: dict[str, str] = {}
            for index, (name, tensor) in enumerate(_tensors(torch, arrays).items()):
                self.places[name] = f"constant_{index}"
                self.register_buffer(f"constant_{index}", tensor)

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            values = dict(zip((_name(each) for each in model.graph.inputs), inputs, strict=True))
            known = _Values(self, values)
            for node in model.graph:
                if id(node) not in found.skipped:
                    _compute(torch, node, found.special.get(id(node)), known, operators)
            return tuple(known[_name(each)] for each in model.graph.outputs)

    return Graph().eval()


class _Values:
    """Values by name: computed ones first, then the module's constants."""

    def __init__(self, module: Any, computed: dict[str, Tensor]) -> None:
        self._module, self.computed = module, computed

    def __getitem__(self, name: str) -> Tensor:
        return self.computed[name] if name in self.computed else getattr(self._module, self._place(name))

    def _place(self, name: str) -> str:
        place: str = self._module.places[name]
        return place


def _compute(
    torch: Any,
    node: ir.Node,
    special: Attention | Linear | None,
    values: _Values,
    operators: Mapping[str, Operator],
) -> None:
    if isinstance(special, Attention):
        values.computed[_name(node.outputs[0])] = _attention(torch, special, values)
    elif isinstance(special, Linear):
        values.computed.update(_linear(torch, special, values))
    else:
        inputs = tuple(None if each is None else values[_name(each)] for each in node.inputs)
        result = operators[node.op_type](Call(torch, node, inputs))
        parts = result if isinstance(result, tuple | list) else (result,)
        values.computed.update(zip(map(_name, node.outputs), parts, strict=False))


def _attention(torch: Any, step: Attention, values: _Values) -> Tensor:
    query, value = values[step.query], values[step.value]
    mask = values[step.mask].to(query.dtype) if step.mask else None
    return torch.nn.functional.scaled_dot_product_attention(
        query, values[step.transposed_key].transpose(-1, -2), value, attn_mask=mask, scale=step.scale
    )


def _linear(torch: Any, step: Linear, values: _Values) -> Mapping[str, Tensor]:
    weight = values[_joined(step, 0)]
    bias = values[_joined(step, 1)] if step.products[0][1] else None
    product = torch.nn.functional.linear(values[step.source], weight, bias)
    names = [output for _, _, output in step.products]
    if len(names) == 1:
        return {names[0]: product}
    return dict(zip(names, torch.split(product, step.widths, dim=-1), strict=True))


def _joined(step: Linear, position: int) -> str:
    """Name of the constant that holds the matrices, or the vectors, of one step side by side."""
    return " | ".join(product[position] for product in step.products)


def _constants(model: ir.Model, steps: Steps) -> dict[str, Array]:
    """Every constant that the forward pass reads, by name; matrices of A2 and A3 as (outputs, inputs)."""
    found: dict[str, Array] = {}
    for node in model.graph:
        special = steps.special.get(id(node))
        if isinstance(special, Linear):
            arrays = model.graph.initializers
            matrices = [_array(arrays[matrix]) for matrix, _, _ in special.products]
            found[_joined(special, 0)] = np.concatenate([each.T for each in matrices])
            if special.products[0][1]:
                vectors = [_array(arrays[bias]) for _, bias, _ in special.products]
                found[_joined(special, 1)] = np.concatenate(vectors)
        elif id(node) in steps.skipped:
            continue
        elif not isinstance(special, Attention):
            for value in node.inputs:
                array = constant(value)
                if array is not None:
                    found[_name(value)] = array
        if isinstance(special, Attention) and special.mask in model.graph.initializers:
            found[special.mask] = _array(model.graph.initializers[special.mask])
    for value in model.graph.outputs:
        array = constant(value)
        if array is not None:
            found[_name(value)] = array
    return found


def _array(value: ir.Value) -> Array:
    array = constant(value)
    assert array is not None  # noqa: S101  steps_of has looked
    return array


def _tensors(torch: Any, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, order="C", copy=True)) for name, array in arrays.items()}


def exported(model: ir.Model, module: Any, *, device: str, largest: int | None = None) -> Any:
    """torch.export of ``module`` on ``device``; open sizes of the inputs stay open.

    ``largest``: the bound of each open size, from 1; None = no bound.

    Raises:
        UnsupportedError: PyTorch cannot keep an open size open.
    """
    import torch

    module = module.to(device)
    feeds, sizes = sample_inputs(torch, model.graph.inputs, device=device, largest=largest)
    try:
        with torch.no_grad():
            return torch.export.export(module, feeds, dynamic_shapes=(sizes,) if any(sizes) else None)
    except torch.fx.experimental.symbolic_shapes.ConstraintViolationError as error:
        raise UnsupportedError(f"an open size cannot stay open: {error}".splitlines()[0]) from error


def sample_inputs(
    torch: Any, inputs: Sequence[ir.Value], *, device: str, largest: int | None = None
) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any] | None, ...]]:
    """Zeros for every input, with OPEN_SIZE for open sizes, and which axes are open."""
    feeds, sizes = [], []
    bounded: dict[str, Any] = {}  # one Dim for each name: equal names are equal sizes
    for value in inputs:
        assert value.shape is not None  # noqa: S101  the canonical form has types and shapes
        assert value.dtype is not None  # noqa: S101
        shape = [dim if isinstance(dim, int) else OPEN_SIZE for dim in value.shape]
        feeds.append(torch.zeros(shape, dtype=dtype_of(torch, value.dtype), device=device))
        opened = {
            axis: torch.export.Dim.DYNAMIC if largest is None else _bounded(torch, dim, largest, bounded)
            for axis, dim in enumerate(value.shape)
            if not isinstance(dim, int)
        }
        sizes.append(opened or None)
    return tuple(feeds), tuple(sizes)


def _bounded(torch: Any, dim: ir.SymbolicDim, largest: int, known: dict[str, Any]) -> Any:
    name = dim.value or f"unnamed{len(known)}"
    if name not in known:
        known[name] = torch.export.Dim(f"size{len(known)}", min=1, max=largest)
    return known[name]
