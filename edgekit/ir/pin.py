"""Model with open sizes -> the same with numbers in their place, and the shapes that follow.

    image: (batch, 3, height, 224), {batch: 1, height: 192}  ->  (1, 3, 192, 224)

Source: onnxruntime.ai, "Make dynamic input shape fixed": a size is bound by its name, everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgekit.errors import InputError, closest
from edgekit.ir.graph import shape_of
from edgekit.ir.infer import infer_shapes


def pinned(model: ir.Model, sizes: Mapping[str, int], *, batch: int | None = None) -> ir.Model:
    """A clone whose open sizes are the numbers of ``sizes``; ``model`` itself where there is nothing to bind.

    Args:
        model: never changed.
        sizes: name of an open size -> number.
        batch: of open first axes that ``sizes`` does not name; None = they stay open.

    Raises:
        InputError: no input has an open size of that name.
    """
    bound = {**_first_axes(model, batch), **sizes}
    names = _open_sizes(model)
    unknown = next((name for name in sizes if name not in names), None)
    if unknown is not None:
        near = closest(unknown, names)
        raise InputError(
            f"no input has an open size {unknown!r}",
            why=f"open sizes are {', '.join(sorted(names))}" if names else "every size is fixed already",
            remedy=f"did you mean {', '.join(near)}?" if near else "leave it out",
        )
    if not bound and not _unnamed(model, batch):
        return model
    clone = model.clone()
    for value in clone.graph.inputs:
        if value.shape:
            first, *others = value.shape
            value.shape = ir.Shape(
                [_number(first, bound, unnamed=batch), *(_number(each, bound) for each in others)]
            )
    for graph in clone.graphs():
        for value in (*graph.outputs, *(output for node in graph for output in node.outputs)):
            # a name such as "seq + 1" says nothing once sizes are bound: inference finds the number
            if None in (shape_of(value) or ()):
                value.shape = None
    return infer_shapes(clone)


def _number(
    dim: int | ir.SymbolicDim, bound: Mapping[str, int], *, unnamed: int | None = None
) -> int | ir.SymbolicDim:
    if isinstance(dim, int):
        return dim
    if dim.value is None:
        return dim if unnamed is None else unnamed
    return bound.get(dim.value, dim)


def _first_axes(model: ir.Model, batch: int | None) -> dict[str, int]:
    """Names of open first axes of inputs, each with ``batch``."""
    if batch is None:
        return {}
    shapes = [value.shape for value in model.graph.inputs if value.shape]
    first = [shape[0] for shape in shapes]
    return {dim.value: batch for dim in first if isinstance(dim, ir.SymbolicDim) and dim.value is not None}


def _open_sizes(model: ir.Model) -> set[str]:
    """Names of open sizes of inputs."""
    return {
        dim.value
        for value in model.graph.inputs
        for dim in value.shape or ()
        if isinstance(dim, ir.SymbolicDim) and dim.value is not None
    }


def _unnamed(model: ir.Model, batch: int | None) -> bool:
    """Whether a first axis without a name is to be bound."""
    first = [value.shape[0] for value in model.graph.inputs if value.shape]
    return batch is not None and any(isinstance(dim, ir.SymbolicDim) and dim.value is None for dim in first)
