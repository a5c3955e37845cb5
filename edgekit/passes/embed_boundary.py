"""What the embed passes share: a new input in front of an old one, a new output behind an old one.

    x -> model           becomes   x -> (new nodes) -> x_inside -> model
    model -> y           becomes   model -> y_inside -> (new nodes) -> y

Names of inputs and outputs are the app's and stay; what had the name inside is called ``<name>_inside``, and
its range from calibration is found under that name. Nodes are called ``embed/...``: they stay float.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, free_name
from edgekit.spec import Array, Dim

PREFIX = "embed/"


def inside(name: str) -> str:
    """What the value of the model itself is called once something is embedded at its input or output."""
    return f"{name}_inside"


def input_named(graph: ir.Graph, name: str) -> ir.Value:
    """The input ``name``."""
    return next(value for value in graph.inputs if value.name == name)


def output_named(graph: ir.Graph, name: str) -> ir.Value:
    """The output ``name``."""
    return next(value for value in graph.outputs if value.name == name)


def shape_from(dims: Sequence[Dim]) -> ir.Shape:
    """Sizes and names of sizes as an IR shape."""
    return ir.Shape(list(dims))


class Front:
    """New nodes in front of one input, from the outside in."""

    def __init__(self, graph: ir.Graph, name: str, *, dtype: ir.DataType, shape: ir.Shape) -> None:
        self._graph, self._name = graph, name
        self._old = input_named(graph, name)
        self._first = next(iter(graph))
        self.value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
        graph.inputs[list(graph.inputs).index(self._old)] = self.value
        self._old.name = free_name(graph, inside(name))

    def add(
        self,
        operator: str,
        *constants: Array,
        attributes: dict[str, object] | None = None,
        as_type: ir.DataType,
    ) -> None:
        """One more node: ``operator`` of what there is and of ``constants``."""
        held = [
            add_initializer(self._graph, f"{PREFIX}{self._name}_{operator.lower()}", c) for c in constants
        ]
        node = ir.node(
            operator,
            [self.value, *held],
            attributes=attributes or {},
            name=f"{PREFIX}{self._name}/{operator.lower()}",
        )
        self.value = node.outputs[0]
        self.value.name = free_name(self._graph, f"{self._name}_{operator.lower()}")
        self.value.type = ir.TensorType(as_type)
        self._graph.insert_before(self._first, node)

    def close(self) -> None:
        """What read the old input reads the last node."""
        self.value.name, self.value.shape = self._old.name, self._old.shape
        old, self._old.name = self._old, None
        old.replace_all_uses_with(self.value, replace_graph_outputs=True)


class Back:
    """New nodes behind outputs. ``give`` ends each: the value takes the output's name and place."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph

    def take(self, name: str) -> ir.Value:
        """The value that is the output ``name`` now, under its name inside."""
        value = output_named(self._graph, name)
        value.name = free_name(self._graph, inside(name))
        return value

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        *,
        what: str,
        dtype: ir.DataType,
        shape: Sequence[Dim] | None = None,
        attributes: dict[str, object] | None = None,
    ) -> ir.Value:
        """A node at the end of the graph; ``what`` names it."""
        node = ir.node(operator, inputs, attributes=attributes or {}, name=f"{PREFIX}{what}")
        value = node.outputs[0]
        value.name = free_name(self._graph, f"{PREFIX}{what}")
        value.type = ir.TensorType(dtype)
        value.shape = None if shape is None else shape_from(shape)
        self._graph.append(node)
        return value

    def constant(self, what: str, array: Array) -> ir.Value:
        """A constant; ``what`` names it."""
        return add_initializer(self._graph, f"{PREFIX}{what}", np.asarray(array))

    def give(self, name: str, old: ir.Value, new: ir.Value) -> None:
        """``new`` is the output ``name`` in place of ``old``."""
        for index, output in enumerate(self._graph.outputs):
            if output is old:
                self._graph.outputs[index] = new
        new.name = name
