"""The ONNX graph of a Keras model while it is written: tensors in two layouts, weights with their owners.

What ``keras_apart`` hands to the row of each layer. A3 and A1 are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import add_initializer
from edgekit.spec import Array


@dataclass(frozen=True)
class Origin:
    """Where an initializer comes from.

    Attributes:
        layer: the layer object.
        name: of its weight, as the layer's attribute: kernel, bias, gamma.
        back: initializer, number of groups of its convolution -> the layer's array.
    """

    layer: Any
    name: str
    back: Callable[[Array, int], Array]


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor of the Keras graph.

    Attributes:
        value: in the ONNX graph.
        shape: as Keras has it, channels last; None where open.
        first: whether ``value`` has its channels behind the batch.
    """

    value: ir.Value
    shape: tuple[int | None, ...]
    first: bool = False

    @property
    def rank(self) -> int:
        """Number of axes, the batch among them."""
        return len(self.shape)


@dataclass(eq=False)
class Writer:
    """The ONNX graph while it is written."""

    graph: ir.Graph
    known: dict[str, Origin | None] = field(default_factory=dict)
    layers: dict[int, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    turned: dict[tuple[str, bool], Held] = field(default_factory=dict)
    named: dict[str, int] = field(default_factory=dict)

    def name_of(self, layer: Any) -> str:
        """Unique in the graph: names of nested models in front of it."""
        return "/".join((*self.prefix, str(layer.name)))

    def node(self, operator: str, inputs: list[ir.Value | None], *, name: str, **attributes: Any) -> ir.Value:
        """One node and its output."""
        self.named[name] = self.named.get(name, 0) + 1
        own = name if self.named[name] == 1 else f"{name}~{self.named[name]}"
        node = ir.node(operator, inputs, attributes=attributes or None, name=own)
        node.outputs[0].name = f"{own}:0"
        self.graph.append(node)
        return node.outputs[0]

    def constant(self, name: str, array: Array, origin: Origin | None) -> ir.Value:
        """A layer's weight."""
        value = add_initializer(self.graph, name, np.ascontiguousarray(array, np.float32))
        self.known[value.name or name] = origin
        return value

    def numbers(self, name: str, array: Array) -> ir.Value:
        """A constant that is nobody's: axes, sizes, bounds."""
        return add_initializer(self.graph, name, np.asarray(array))

    def weight(
        self, layer: Any, name: str, there: Callable[[Array], Array], back: Callable[[Array, int], Array]
    ) -> ir.Value:
        """Weight ``name`` of the layer in ONNX's order, and the way back."""
        array = np.array(getattr(layer, name).numpy())
        return self.constant(f"{self.name_of(layer)}/{name}", there(array), Origin(layer, name, back))

    def as_first(self, held: Held) -> Held:
        """Channels behind the batch."""
        return self._as(held, first=True)

    def as_last(self, held: Held) -> Held:
        """As Keras has it."""
        return self._as(held, first=False)

    def _as(self, held: Held, *, first: bool) -> Held:
        """A3."""
        if held.first == first or held.rank < 3:
            return replace(held, first=first)
        key = (held.value.name or "", first)
        if key not in self.turned:
            spatial = range(1, held.rank - 1)
            order = (0, held.rank - 1, *spatial) if first else (0, *(axis + 1 for axis in spatial), 1)
            value = self.node("Transpose", [held.value], name=f"{key[0]}/turned", perm=list(order))
            self.turned[key] = replace(held, value=value, first=first)
        return self.turned[key]


Row = Callable[[Any, list[Held], Writer], Held]
"""Layer, what it reads -> what it gives."""


def refused(layer: Any, why: str) -> InputError:
    """A1."""
    return InputError(
        f"{type(layer).__name__} {layer.name!r} cannot be pruned as a Keras layer",
        why=why,
        remedy="export the model and prune the file: `edgekit export SOURCE -o model.onnx`, "
        "`edgekit prune model.onnx ...`",
        more="docs/pruning.md",
    )
