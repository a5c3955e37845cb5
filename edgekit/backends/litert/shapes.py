"""Model -> the same with a shape and type for every value; sizes that inference leaves open are found.

    Reshape (batch, 3, 2, 2) by a computed (batch, -1): onnx says (batch, ?), and ? = 3 * 2 * 2

The batch stays dynamic; the rest must be known, since a TFLite RESHAPE has one open size at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx_ir as ir

from edgekit.backends.litert.tensors import UNKNOWN_RANK, Shape
from edgekit.ir.infer import infer_shapes


def with_probed(model: ir.Model, shapes: Mapping[str, Shape]) -> ir.Model:
    """A clone in which the values of ``shapes`` have these; ``model`` itself if there are none."""
    if not shapes:
        return model
    model = model.clone()
    for node in model.graph:
        for value in node.outputs:
            found = shapes.get(value.name or "")
            if found is not None:
                value.shape = ir.Shape(found)
    return model


def with_shapes(model: ir.Model) -> ir.Model:
    """``model`` itself where all is known, else a clone that knows more."""
    if not _is_missing(model) and not _open_reshapes(model):
        return model
    model = infer_shapes(model) if _is_missing(model) else model.clone()
    while _close(model):
        model = infer_shapes(model)
    return model


def shape_of(value: ir.Value) -> Shape:
    """Sizes of ``value``; a symbolic size is its name, an unknown rank is ``UNKNOWN_RANK``."""
    if value.shape is None:
        return UNKNOWN_RANK
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def _is_missing(model: ir.Model) -> bool:
    outputs = [value for node in model.graph for value in node.outputs if value.name]
    return any(value.shape is None or value.dtype is None for value in outputs)


def _open_reshapes(model: ir.Model) -> list[ir.Node]:
    """Reshapes of which more than one output size is dynamic."""
    return [
        node
        for node in model.graph
        if node.op_type == "Reshape"
        and sum(not isinstance(dim, int) for dim in shape_of(node.outputs[0])) > 1
    ]


def _close(model: ir.Model) -> bool:
    """Fill in the sizes of open Reshapes; whether there was one."""
    found = False
    for node in _open_reshapes(model):
        size = _open_size(node)
        if size is not None:
            node.outputs[0].shape = ir.Shape(size)
            found = True
    return found


def _open_size(node: ir.Node) -> Shape | None:
    """The output shape with its one unexplained size: what is left when the named sizes cancel."""
    source = node.inputs[0]
    before, after = shape_of(source) if source is not None else UNKNOWN_RANK, shape_of(node.outputs[0])
    names = [dim for dim in before if not isinstance(dim, int)]
    unexplained = []
    for axis, dim in enumerate(after):
        if isinstance(dim, int):
            continue
        if dim is not None and dim in names:
            names.remove(dim)
        else:
            unexplained.append(axis)
    static = prod(dim for dim in after if isinstance(dim, int))
    if names or len(unexplained) != 1 or None in before or before == UNKNOWN_RANK or not static:
        return None
    size, rest = divmod(prod(dim for dim in before if isinstance(dim, int)), static)
    if rest:
        return None
    return tuple(size if axis == unexplained[0] else dim for axis, dim in enumerate(after))
