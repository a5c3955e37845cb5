"""One change of one operator's meaning, and the edits that make up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import walk
from edgekit.spec import Array


class CannotLiftError(Exception):
    """An operator means something that later opsets cannot say."""

    def __init__(self, node: ir.Node, why: str) -> None:
        super().__init__(f"{node.op_type} {node.name or node.outputs[0].name!r} {why}")


class Names:
    """Hands out value names that the model does not have yet."""

    def __init__(self, model: ir.Model) -> None:
        self._taken = {name for graph in model.graphs() for name in graph.initializers}
        self._taken |= {value.name or "" for graph in model.graphs() for value in graph.inputs}
        self._taken |= {value.name or "" for node in walk(model) for value in node.outputs}

    def take(self, name: str) -> str:
        """``name``, or the first free ``name_1``, ``name_2`` ..."""
        new, count = name, 0
        while new in self._taken:
            count += 1
            new = f"{name}_{count}"
        self._taken.add(new)
        return new


@dataclass(frozen=True)
class Change:
    """What happened to ``operators`` in opset ``version``.

    Attributes:
        operators: names of the operators.
        version: the first opset with the new meaning.
        apply: rewrites one node of the old meaning into the new one.
    """

    operators: tuple[str, ...]
    version: int
    apply: Callable[[ir.Node, Names], None]


def add_before(node: ir.Node, made: ir.Node, names: Names, role: str) -> ir.Value:
    """Put ``made`` in front of ``node``, with names after it; gives its first output."""
    made.name = made.outputs[0].name = names.take(f"{node.outputs[0].name}_{role}")
    node.prepend(made)
    return made.outputs[0]


def constant_before(node: ir.Node, array: Array, names: Names, role: str) -> ir.Value:
    """A Constant in front of ``node``."""
    tensor = ir.tensor(np.asarray(array))
    made = ir.node("Constant", [], attributes={"value": tensor})
    value = add_before(node, made, names, role)
    value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(np.shape(array))
    value.const_value = tensor
    return value


def set_input(node: ir.Node, index: int, value: ir.Value | None) -> None:
    """Input ``index`` of ``node`` becomes ``value``; inputs before it that are not there are absent."""
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def take_attribute(node: ir.Node, name: str) -> ir.Attr | None:
    """Remove an attribute and give it."""
    attribute = node.attributes.get(name)
    if attribute is not None:
        del node.attributes[name]
    return attribute
