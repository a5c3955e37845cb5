"""Units -> one working layout for each, so that the whole graph has the fewest transposes.

    cost = (transposes, elements moved, reshapes, permuted model inputs and outputs), compared in this order

A value costs a transpose for each distinct layout in which its readers want it other than the one in which it
is made; a model input or output may be channels-last for free (``IoBinding.permutation`` undoes it).
Constants cost nothing: they are written as they are wanted.

Search: sweeps in which each unit takes the label that is best for its neighbours, forwards and backwards, and
moves that give one label to a whole connected group of units that can work in several (what a sweep cannot do
across a residual connection). It never takes a step that costs more, and it is deterministic.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from edgekit.backends.litert.layout_rules import Ports, ports, pulled, seeds
from edgekit.backends.litert.layouts import Layout, identity, same_storage
from edgekit.backends.litert.operands import Operand, Unit
from edgekit.backends.litert.tensors import Shape
from edgekit.backends.litert.units import Program

Cost = tuple[int, int, int, int]
LARGEST_CANDIDATE_SET = (
    8  # labels per unit; neighbours offer more than this only in graphs full of transposes
)
SWEEPS = 6  # forward and backward; the demo and reference models settle within three


@dataclass(frozen=True, eq=False)
class LayoutPlan:
    """What was decided.

    Attributes:
        units: ports of each unit of the program, in order.
        inputs: layout of each model input.
        outputs: layout of each model output.
        transposes: values that must be transposed, for the report.
    """

    units: tuple[Ports, ...]
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]
    transposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """Unit ``unit`` reads a value at its input ``port``."""

    unit: int
    port: int


class _Search:
    """Candidates, the current assignment, and what it costs."""

    def __init__(self, units: list[Unit], *, fixed: frozenset[int] = frozenset()) -> None:
        self.units = units
        self.fixed = fixed  # units that keep the ONNX order
        self.shapes: dict[str, Shape] = {}
        self.made: dict[str, tuple[int, int]] = {}
        self.reads: dict[str, list[_Read]] = defaultdict(list)
        self._known: dict[tuple[int, Layout], Ports | None] = {}
        for index, unit in enumerate(units):
            for port, out in enumerate(unit.outputs):
                self.made[out.key] = (index, port)
                self.shapes[out.key] = out.shape
        for index, unit in enumerate(units):
            for port, operand in enumerate(unit.inputs):
                if operand is not None and operand.runtime and operand.key in self.made:
                    self.reads[operand.key].append(_Read(index, port))
        self.candidates = self._candidates()
        self.label = [options[0] for options in self.candidates]

    def ports(self, index: int, label: Layout) -> Ports | None:
        key = (index, label)
        if key not in self._known:
            self._known[key] = ports(self.units[index], label)
        return self._known[key]

    def at(self, index: int, label: Layout | None = None) -> Ports:
        found = self.ports(index, self.label[index] if label is None else label)
        assert found is not None  # noqa: S101  (labels are chosen among those that have ports)
        return found

    def _candidates(self) -> list[list[Layout]]:
        """Labels in which each unit can work: the usual ones and those that its neighbours offer."""
        found: list[list[Layout]] = []
        for index, unit in enumerate(self.units):
            labels = seeds(unit)[:1] if index in self.fixed else seeds(unit)
            found.append([label for label in labels if self.ports(index, label) is not None])
        for _ in range(2):
            for index in (i for i in range(len(self.units)) if i not in self.fixed):
                for label in self._offered(index, found):
                    if len(found[index]) < LARGEST_CANDIDATE_SET and label not in found[index]:
                        found[index].append(label)
        for index, unit in enumerate(self.units):
            if not found[index]:
                found[index] = [identity(unit.inputs[0].rank if unit.inputs and unit.inputs[0] else 0)]
                self._known[index, found[index][0]] = Ports(
                    tuple(identity(x.rank) if x is not None and x.runtime else None for x in unit.inputs),
                    tuple(identity(out.rank) for out in unit.outputs),
                )
        return found

    def _offered(self, index: int, found: list[list[Layout]]) -> Iterable[Layout]:
        unit = self.units[index]
        for port, operand in enumerate(unit.inputs):
            if operand is None or operand.key not in self.made:
                continue
            source, output = self.made[operand.key]
            for label in found[source]:
                made = self.ports(source, label)
                if made is not None and self._gives(index, made.outputs[output], port):
                    yield made.outputs[output]
        for out in unit.outputs[:1]:
            for read in self.reads[out.key]:
                for label in found[read.unit]:
                    wanted = self.ports(read.unit, label)
                    layout = wanted.inputs[read.port] if wanted is not None else None
                    mine = pulled(unit, layout) if layout is not None else None
                    if mine is not None and self.ports(index, mine) is not None:
                        yield mine

    def _gives(self, index: int, label: Layout, port: int) -> bool:
        found = self.ports(index, label) if len(label.perm) == len(self._example(index).perm) else None
        return found is not None and found.inputs[port] == label

    def _example(self, index: int) -> Layout:
        return seeds(self.units[index])[0]

    # Cost ----------------------------------------------------------------------------------------------

    def value_cost(self, key: str, override: Mapping[int, Layout] | None = None) -> Cost:
        """What one value costs under the current labels, or with some of them replaced."""
        override = override or {}
        index, output = self.made[key]
        made = self.at(index, override.get(index)).outputs[output]
        wanted: list[Layout] = []
        for read in self.reads[key]:
            layout = self.at(read.unit, override.get(read.unit)).inputs[read.port]
            if layout is not None and layout != made and layout not in wanted:
                wanted.append(layout)
        shape = self.shapes[key]
        moved = [layout for layout in wanted if not same_storage(shape, made, layout)]
        elements = prod(dim if isinstance(dim, int) else 1 for dim in shape)
        return len(moved), elements * len(moved), len(wanted) - len(moved), 0

    def unit_cost(self, index: int, override: Mapping[int, Layout] | None = None) -> Cost:
        """What a label costs by itself: a permuted model input or output."""
        label = (override or {}).get(index, self.label[index])
        is_io = self.units[index].op in {"[input]", "[output]"}
        return 0, 0, 0, int(is_io and not label.is_identity)

    def touched(self, indices: Iterable[int]) -> set[str]:
        """Values that units read or make."""
        keys: set[str] = set()
        for index in indices:
            keys.update(out.key for out in self.units[index].outputs)
            keys.update(
                x.key for x in self.units[index].inputs if x is not None and x.key in self.made and x.runtime
            )
        return keys

    def cost(self, indices: Iterable[int], override: Mapping[int, Layout] | None = None) -> Cost:
        """Cost of all values and labels around some units."""
        indices = list(indices)
        parts = [self.value_cost(key, override) for key in self.touched(indices)]
        parts += [self.unit_cost(index, override) for index in indices]
        return _total(parts)

    # Moves ---------------------------------------------------------------------------------------------

    def sweep(self, *, forward: bool) -> bool:
        """Give each unit its best label; of equal ones, that of the neighbours visited before it."""
        changed = False
        order = range(len(self.units)) if forward else reversed(range(len(self.units)))
        for index in order:
            options = self.candidates[index]
            if len(options) == 1:
                continue
            ranked = [
                (self.cost([index], {index: label}), self._disagreement(index, label, forward=forward), rank)
                for rank, label in enumerate(options)
            ]
            best = options[min(ranked)[2]]
            if best != self.label[index]:
                self.label[index] = best
                changed = True
        return changed

    def _disagreement(self, index: int, label: Layout, *, forward: bool) -> int:
        """How many neighbours on the visited side would see another layout."""
        here = self.at(index, label)
        count = 0
        if forward:
            for port, operand in enumerate(self.units[index].inputs):
                layout = here.inputs[port]
                if operand is not None and operand.key in self.made and layout is not None:
                    source, output = self.made[operand.key]
                    count += self.at(source).outputs[output] != layout
            return count
        for port, out in enumerate(self.units[index].outputs):
            count += sum(self.at(r.unit).inputs[r.port] != here.outputs[port] for r in self.reads[out.key])
        return count

    def spread(self, start: int, label: Layout) -> dict[int, Layout]:
        """Carry a label from one unit to all that it reaches through units that can follow."""
        chosen = {start: label}
        queue = deque([start])
        while queue:
            index = queue.popleft()
            here = self.at(index, chosen[index])
            for port, out in enumerate(self.units[index].outputs):
                for read in self.reads[out.key]:
                    self._follow(chosen, queue, read.unit, ("in", read.port), here.outputs[port])
            for port, operand in enumerate(self.units[index].inputs):
                layout = here.inputs[port]
                if operand is not None and operand.key in self.made and layout is not None:
                    source, output = self.made[operand.key]
                    self._follow(chosen, queue, source, ("out", output), layout)
        return chosen

    def _follow(
        self, chosen: dict[int, Layout], queue: deque[int], index: int, side: tuple[str, int], layout: Layout
    ) -> None:
        if index in chosen or len(self.candidates[index]) == 1:
            return
        for option in self.candidates[index]:
            found = self.at(index, option)
            if (found.inputs if side[0] == "in" else found.outputs)[side[1]] == layout:
                chosen[index] = option
                queue.append(index)
                return

    def spread_all(self) -> bool:
        """Try every label of every group of flexible units; keep what costs less."""
        changed = False
        seen: set[int] = set()
        for index, options in enumerate(self.candidates):
            if len(options) == 1 or index in seen:
                continue
            for label in options:
                chosen = self.spread(index, label)
                seen.update(chosen)
                if self.cost(chosen, chosen) < self.cost(chosen):
                    for unit, better in chosen.items():
                        self.label[unit] = better
                    changed = True
        return changed


def _total(parts: Iterable[Cost]) -> Cost:
    a = b = c = d = 0
    for part in parts:
        a, b, c, d = a + part[0], b + part[1], c + part[2], d + part[3]
    return a, b, c, d


def decide(program: Program, *, free_io: bool = True) -> LayoutPlan:
    """The layout of every unit, model input and model output of ``program``.

    Args:
        program: the whole model.
        free_io: whether model inputs and outputs may be permuted; otherwise they keep the ONNX order.
    """
    units = [*map(_input, program.inputs), *program.units, *map(_output, _runtime(program.outputs))]
    io = frozenset(index for index, unit in enumerate(units) if unit.op in {"[input]", "[output]"})
    search = _Search(units, fixed=frozenset() if free_io else io)
    for _ in range(SWEEPS):
        before = list(search.label)
        moved = [search.sweep(forward=True), search.sweep(forward=False), search.spread_all()]
        # Of equal labels, the one direction may undo what the other prefers: each round would do it again.
        if not any(moved) or search.label == before:
            break
    first, last = len(program.inputs), len(program.inputs) + len(program.units)
    made = {key: search.at(index).outputs[port] for key, (index, port) in search.made.items()}
    outputs = iter(search.label[last:])
    return LayoutPlan(
        tuple(search.at(index) for index in range(first, last)),
        tuple(made[operand.key] for operand in program.inputs),
        tuple(next(outputs) if out.runtime else identity(out.rank) for out in program.outputs),
        tuple(key for key in search.made for _ in range(search.value_cost(key)[0])),
    )


def _runtime(operands: Iterable[Operand]) -> list[Operand]:
    return [operand for operand in operands if operand.runtime]


def _input(operand: Operand) -> Unit:
    return Unit("[input]", operand.key, {}, (), (operand,))


def _output(operand: Operand) -> Unit:
    return Unit("[output]", operand.key, {}, (operand,), ())
