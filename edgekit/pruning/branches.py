"""A group whose channels may all go: a branch that is only added to something.

    x + Conv(f(x))  --all channels inside f go-->  x + constant

N1: the layers that read nothing but the group's channels (the ends) are Conv of one group or Gemm, and what
    each gives is only added to a value of the same shape that is no constant.
N2: nothing else that is left reads them: this is tried, not argued (``remove.is_branch``).
N3: what stands in the place of an end is its bias, (1, channels, 1 ...); ``reconstruct`` moves it to the mean
    of what is missing.

Source: Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016: leaving
out single blocks of a residual network costs little.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import (
    add_initializer,
    constant,
    float_attribute,
    int_attribute,
    is_onnx,
    shape_of,
    sole_reader,
)
from edgekit.passes.remove_unused import RemoveUnused
from edgekit.pruning.trace import Axis

Constants = Mapping[str, tuple[Axis, ...]]
CONSTANT = "_in_place"
"""End of the name of what stands in the place of a branch."""


def ends(model: ir.Model, constants: Constants, channels: frozenset[int]) -> tuple[int, ...]:
    """Indices of the nodes that read nothing but ``channels`` (N1); () where one of them is no end."""
    found: list[int] = []
    for index, node in enumerate(model.graph):
        numbers = _read_by(node, constants)
        if numbers is None or not numbers.all() or not channels.issuperset(map(int, numbers)):
            continue
        if _addition(node) is None:
            return ()
        found.append(index)
    return tuple(found)


def detach(model: ir.Model, indices: tuple[int, ...]) -> ir.Model:
    """N3, in place; what nobody needs any more is gone."""
    nodes = list(model.graph)
    for index in indices:
        node = nodes[index]
        addition = _addition(node)
        if addition is None:
            raise TypeError(f"{node.name} is no end of a branch")
        weight, bias = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
        rank = len(node.outputs[0].shape or ())
        rows = (
            weight.shape[0 if is_onnx(node, "Conv") or int_attribute(node, "transB", 0) else 1]
            if weight is not None
            else 0
        )
        array = np.zeros(rows, np.float32) if bias is None else np.asarray(bias).reshape(-1)
        value = add_initializer(
            model.graph, f"{node.name}{CONSTANT}", array.reshape(1, -1, *(1 for _ in range(rank - 2)))
        )
        place = next(i for i, each in enumerate(addition.inputs) if each is node.outputs[0])
        addition.replace_input_with(place, value)
    return RemoveUnused().apply(model)


def in_place(node: ir.Node) -> ir.Value | None:
    """What stands in the place of a branch, where the node adds it."""
    if not is_onnx(node, "Add"):
        return None
    return next(
        (
            value
            for value in node.inputs
            if value is not None and CONSTANT in (value.name or "") and value.is_initializer()
        ),
        None,
    )


def is_empty_free(model: ir.Model) -> bool:
    """N2: whether no value and no constant of the model is an empty tensor."""
    values = (*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs))
    return not any(0 in (shape_of(value) or ()) for value in values)


def _read_by(node: ir.Node, constants: Constants) -> Axis:
    """Channels along the input axis of a layer's weight."""
    if not is_onnx(node, "Conv", "Gemm") or node.inputs[1] is None or int_attribute(node, "group", 1) != 1:
        return None
    axes = constants.get(node.inputs[1].name or "")
    if axes is None or len(axes) < 2:
        return None
    return axes[1 if is_onnx(node, "Conv") or int_attribute(node, "transB", 0) else 0]


def _addition(node: ir.Node) -> ir.Node | None:
    """The one Add behind a node, where it adds to a value of the same shape (N1)."""
    y = node.outputs[0]
    reader = sole_reader(y)
    if reader is None or not is_onnx(reader, "Add") or float_attribute(node, "beta", 1.0) != 1.0:
        return None
    other = next((value for value in reader.inputs if value is not None and value is not y), None)
    if other is None or constant(other) is not None or other.shape is None or y.shape is None:
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    plain = bias is None or sum(size > 1 for size in bias.shape) <= 1
    return reader if plain and list(other.shape) == list(y.shape) else None
