"""Canonical float graph -> its channels: what has to go together, and what stays for which reason.

    graph --rules of operators--> ties between axes --> Dependencies

A channel is a class of indices of constants (initializer, axis, index) that have to be removed together, so
that the graph stays one that computes. Channels that sit on the same axes are a group: any of them may go.
What no rule understands makes its channels stay; a graph is never guessed.

D1: rules are in ``rules_layers``, ``rules_shape`` and ``rules_reshape``, one table each.
D2: a node without a rule, whose rule does not understand it, that holds subgraphs, or whose inputs have no
    known rank: all that it touches stays, and its outputs carry no channels.
D3: graph inputs carry none; outputs keep theirs.
D4: a constant that several nodes read ties them. ``unshared`` gives each its own copy first, matrices of
    weights excepted: equal zero biases are one constant after canonicalization.
D5: a channel that lies in no constant is nobody's to remove, and stays.
D6: channels that a LayerNormalization is computed over (the embedding width of a transformer) stay, unless
    they are asked for: without them the others' mean and variance are other numbers, so even channels of
    zeros are missed. ``reconstruct`` fits scale and bias to what is left.

Source: the idea of a graph of dependencies between parameters is that of Fang et al., "DepGraph: Towards Any
Structural Pruning", CVPR 2023; here it is a labelling of axes instead, as in named dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, has_subgraphs, is_onnx, subgraphs
from edgekit.pruning import rules_layers, rules_shape
from edgekit.pruning.ties import STAYS, Numbers
from edgekit.pruning.trace import Axis, Rewrite, Trace

_RULES = {**rules_layers.RULES, **rules_shape.RULES}
NOT_UNDERSTOOD = "no rule of edgekit/pruning understands"


@dataclass(frozen=True)
class Part:
    """Indices along one axis of one initializer."""

    initializer: str
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that sit on the same axes; any of them may go, and at least one of every axis stays.

    Attributes:
        name: the initializer that has most of them to itself, of a layer that makes them.
        channels: their numbers, in the order of that initializer's axis.
        places: (initializer, axis) where each of them has a part.
    """

    name: str
    channels: tuple[int, ...]
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Kept:
    """Channels of one weight that stay, and why."""

    initializer: str
    count: int
    reason: str


@dataclass(frozen=True, eq=False)
class Dependencies:
    """The channels of a graph by number (from 1 on; 0 = stays).

    Attributes:
        model: the graph that was looked at (``unshared``).
        constants: initializer -> for each axis the channel of each index, or None.
        values: activation -> likewise.
        rewrites: integers that count channels.
        kept: channels of weights that stay.
    """

    model: ir.Model
    constants: Mapping[str, tuple[Axis, ...]]
    values: Mapping[str, tuple[Axis, ...]]
    rewrites: tuple[Rewrite, ...]
    kept: tuple[Kept, ...]

    @cached_property
    def parts(self) -> Mapping[int, tuple[Part, ...]]:
        """Channel -> all that goes with it."""
        found: dict[int, list[Part]] = {}
        for name, axis, numbers in self._along():
            order = np.argsort(numbers, kind="stable")
            present, first = np.unique(numbers[order], return_index=True)
            for number, indices in zip(present, np.split(order, first[1:]), strict=True):
                if number != STAYS:
                    found.setdefault(int(number), []).append(
                        Part(name, axis, tuple(int(index) for index in indices))
                    )
        return {number: tuple(found[number]) for number in sorted(found)}

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Groups in the order of their first channel."""
        by_places: dict[tuple[tuple[str, int, int], ...], list[int]] = {}
        for number, parts in self.parts.items():
            key = tuple((part.initializer, part.axis, len(part.indices)) for part in parts)
            by_places.setdefault(key, []).append(number)
        return tuple(
            Group(key[0][0], tuple(numbers), tuple((name, axis) for name, axis, _ in key))
            for key, numbers in by_places.items()
        )

    def parameters(self, removed: Iterable[int] = ()) -> int:
        """Floating-point parameters that are left when ``removed`` are gone."""
        gone = set(removed)
        total = 0
        for name, value in self.model.graph.initializers.items():
            if value.dtype is None or not value.dtype.is_floating_point():
                continue
            sizes = list(value.const_value.shape.numpy()) if value.const_value is not None else []
            for axis, numbers in enumerate(self.constants.get(name, ())):
                if numbers is not None:
                    sizes[axis] = sum(int(each) not in gone for each in numbers)
            total += prod(sizes)
        return total

    def emptied(self, removed: Iterable[int], *, but: frozenset[int] = frozenset()) -> tuple[str, int] | None:
        """(value, axis) along which no channel would be left; None where every axis keeps one.

        An axis that consists of channels of ``but`` alone may be empty.
        """
        gone = frozenset(removed)
        return next(
            (where for where, numbers in self._whole.items() if numbers <= gone and not numbers <= but), None
        )

    @cached_property
    def _whole(self) -> Mapping[tuple[str, int], frozenset[int]]:
        """Channels of each axis that consists of channels alone, one axis for each set."""
        found: dict[frozenset[int], tuple[str, int]] = {}
        for kind in (self.constants, self.values):
            for name, axes in kind.items():
                for axis, numbers in enumerate(axes):
                    if numbers is not None and len(numbers) and numbers.all():
                        found.setdefault(frozenset(int(each) for each in numbers), (name, axis))
        return {where: numbers for numbers, where in found.items()}

    def _along(self) -> Iterable[tuple[str, int, Numbers]]:
        for name, axes in self.constants.items():
            for axis, numbers in enumerate(axes):
                if numbers is not None and numbers.any():
                    yield name, axis, numbers


def dependencies(model: ir.Model, *, embedding_widths: bool = False) -> Dependencies:
    """The channels of a canonical float model with shapes; ``model`` is untouched.

    ``embedding_widths``: D6.
    """
    own = unshared(model)
    trace = Trace(own.graph, embedding_widths=embedding_widths)
    for index, node in enumerate(own.graph):
        trace.node = index
        rule = _RULES.get(node.op_type) if is_onnx(node, node.op_type) else None
        known = all(value is None or not value.name or trace.knows(value) for value in node.inputs)
        if rule is None or not known or has_subgraphs(node) or not rule(node, trace):
            _keep(node, trace)
    for value in own.graph.outputs:
        if trace.knows(value):
            trace.pin_all(value, f"{value.name} is an output of the model")
    return _numbered(own, trace)


def unshared(model: ir.Model) -> ir.Model:
    """A clone in which no two nodes read one vector (D4): each has its own."""
    clone = model.clone()
    for value in tuple(clone.graph.initializers.values()):
        array = constant(value)
        if array is None or sum(size > 1 for size in array.shape) != 1 or value.is_graph_output():
            continue
        for node, index in tuple(value.uses())[1:]:
            if node.graph is clone.graph:
                node.replace_input_with(index, add_initializer(clone.graph, value.name or "shared", array))
    return clone


def _keep(node: ir.Node, trace: Trace) -> None:
    """D2."""
    why = f"{NOT_UNDERSTOOD} {node.op_type} {node.name}".rstrip()
    for value in (*node.inputs, *_captured(node)):
        if value is not None:
            trace.pin_all(value, why)
    for output in node.outputs:
        if output.shape is not None:
            trace.give(output, (None,) * len(output.shape))


def _captured(node: ir.Node) -> list[ir.Value]:
    """What the node's subgraphs read, of the outer graph or their own."""
    inside = [each for graph in subgraphs(node) for each in graph]
    own = [value for each in inside for value in each.inputs if value is not None]
    returned = [value for graph in subgraphs(node) for value in graph.outputs]
    return [*own, *returned, *(value for each in inside for value in _captured(each))]


def _numbered(model: ir.Model, trace: Trace) -> Dependencies:
    """Classes that may go get numbers from 1 on; the others 0."""
    constants = trace.constants()
    lying = [numbers for axes in constants.values() for numbers in axes if numbers is not None]
    number_of: dict[int, int] = {STAYS: STAYS}
    for numbers in lying:  # D5: only what lies in constants gets a number
        for root in trace.ties.roots(numbers):
            if int(root) not in number_of and trace.ties.reason(int(root)) is None:
                number_of[int(root)] = len(number_of)

    def of(numbers: Axis) -> Axis:
        if numbers is None:
            return None
        return np.array([number_of.get(int(root), STAYS) for root in trace.ties.roots(numbers)], np.int64)

    return Dependencies(
        model=model,
        constants={name: tuple(of(axis) for axis in axes) for name, axes in constants.items()},
        values={name: tuple(of(axis) for axis in axes) for name, axes in trace.values().items()},
        rewrites=tuple(
            Rewrite(each.node, each.place, np.asarray(of(each.counted))) for each in trace.rewrites
        ),
        kept=_kept(trace),
    )


def _kept(trace: Trace) -> tuple[Kept, ...]:
    found: dict[tuple[str, str], int] = {}
    for name, numbers in trace.owners:
        for root in trace.ties.roots(numbers):
            reason = trace.ties.reason(int(root))
            if reason is not None:
                found[name, reason] = found.get((name, reason), 0) + 1
    return tuple(Kept(name, count, reason) for (name, reason), count in found.items())
