"""What the rules of operators write into: for each axis of each value, the channels along it.

    None                        nothing along this axis is ever removed
    (size,) channel numbers     what each index belongs to (``ties``)

T1: an axis of size 1 carries no channels.
T2: constants get their channels from the first operator that says something about an axis; what later ones
    say is tied to it. An axis that nobody speaks of stays.
T3: a list of sizes that has to change is a ``Rewrite``: the number there becomes the number of channels of
    ``counted`` that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, shape_of
from edgekit.pruning.ties import STAYS, Numbers, Ties
from edgekit.spec import Array

Axis = Numbers | None
_OPEN: Literal["open"] = "open"  # an axis of a constant that no operator has spoken of yet (T2)


@dataclass(frozen=True, eq=False)
class Rewrite:
    """One integer of a node that says how many channels there are (T3).

    Attributes:
        node: index in the order of the graph.
        place: name of an attribute, or (input, element) of a constant input; the node gets its own copy.
        counted: the channels that it counts, each as one unit.
    """

    node: int
    place: str | tuple[int, int]
    counted: Numbers


class Trace:
    """Channels by value and axis, while a graph is walked in order."""

    def __init__(self, graph: ir.Graph, *, embedding_widths: bool = False) -> None:
        self.ties = Ties()
        self.embedding_widths = embedding_widths  # S8
        self.rewrites: list[Rewrite] = []
        self.owners: list[tuple[str, Numbers]] = []
        self.node = 0
        self._values: dict[str, tuple[Axis, ...]] = {
            value.name or "": (None,) * len(value.shape or ()) for value in graph.inputs
        }
        self._constants: dict[str, list[Axis | Literal["open"]]] = {}

    # ---- reading

    def axes(self, value: ir.Value) -> tuple[Axis, ...]:
        """Channels along each axis of an activation; of a constant what is known so far."""
        if is_constant(value):
            return tuple(None if isinstance(axis, str) else axis for axis in self._constant(value))
        return self._values[value.name or ""]

    def knows(self, value: ir.Value | None) -> bool:
        """Whether the rank of the value is known."""
        return value is not None and (is_constant(value) or value.name in self._values)

    def sizes(self, value: ir.Value) -> tuple[int | None, ...]:
        """Sizes of the axes; None where one is dynamic."""
        array = constant(value)
        if array is not None:
            return tuple(array.shape)
        return shape_of(value) or (None,) * len(self.axes(value))

    # ---- writing

    def give(self, value: ir.Value, axes: Sequence[Axis]) -> None:
        """The channels along the axes of an output."""
        self._values[value.name or ""] = tuple(axes)

    def own(self, value: ir.Value, axis: int, *, units: Numbers | None = None) -> Axis:
        """Channels along an axis that a layer's weight decides the size of.

        Args:
            value: the constant.
            axis: of it.
            units: index -> unit, where several indices go together; by default each goes alone.
        """
        known = self._constant(value)
        axis %= len(known)
        found = known[axis]
        if isinstance(found, str):
            size = self.sizes(value)[axis] or 0
            if size <= 1:  # T1
                known[axis] = None
                return None
            found = self.ties.fresh(size)
            known[axis] = found
        if found is not None and units is not None:
            first = np.unique(units, return_index=True)[1]
            self.ties.tie(found, found[first][units], "it is tied to a channel that stays")
        if found is not None:
            self.owners.append((value.name or "", found))
        return found

    def meet(self, value: ir.Value, axis: int, numbers: Axis, reason: str) -> None:
        """Index i of the axis goes together with ``numbers[i]``; with None all of it stays for ``reason``."""
        if not is_constant(value):
            self.tie(self.axes(value)[axis], numbers, reason)
            return
        known = self._constant(value)
        found = known[axis % len(known)]
        if isinstance(found, str):
            known[axis % len(known)] = numbers
        else:
            self.tie(found, numbers, reason)

    def tie(self, a: Axis, b: Axis, reason: str) -> None:
        """Two axes of one size go together; one that has no partner is pinned for ``reason``."""
        if a is None or b is None or len(a) != len(b):
            self.pin(a, reason)
            self.pin(b, reason)
        else:
            self.ties.tie(a, b, reason)

    def pin(self, numbers: Axis, reason: str) -> None:
        """All channels along an axis stay."""
        if numbers is not None:
            self.ties.pin(numbers, reason)

    def pin_all(self, value: ir.Value, reason: str) -> None:
        """Every axis of a value stays as it is."""
        if not self.knows(value):
            return
        if is_constant(value):
            for axis in range(len(self._constant(value))):
                self.meet(value, axis, None, reason)
            return
        for numbers in self.axes(value):
            self.pin(numbers, reason)

    def count(self, place: str | tuple[int, int], counted: Axis, *, node: int | None = None) -> None:
        """T3: an integer of the node in hand (or of ``node``) counts channels."""
        if counted is not None:
            self.rewrites.append(Rewrite(self.node if node is None else node, place, counted))

    def _constant(self, value: ir.Value) -> list[Axis | Literal["open"]]:
        name = value.name or ""
        if name not in self._constants:
            self._constants[name] = [_OPEN if size > 1 else None for size in _array(value).shape]
        return self._constants[name]

    # ---- the end

    def constants(self) -> dict[str, tuple[Axis, ...]]:
        """Channels along the axes of every constant that was spoken of."""
        return {
            name: tuple(None if isinstance(axis, str) else axis for axis in axes)
            for name, axes in self._constants.items()
        }

    def values(self) -> dict[str, tuple[Axis, ...]]:
        """Channels along the axes of every activation."""
        return dict(self._values)


def is_constant(value: ir.Value) -> bool:
    """Whether the value is an initializer that nobody can override: its channels can be cut out."""
    return constant(value) is not None and value.is_initializer()


def stays(count: int) -> Numbers:
    """``count`` indices of which none is removed."""
    return np.full(count, STAYS, np.int64)


def _array(value: ir.Value) -> Array:
    found = constant(value)
    if found is None:
        raise TypeError(f"{value.name} is no constant")
    return found
