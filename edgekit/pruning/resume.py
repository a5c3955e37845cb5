"""Values of a model, batch by batch, computed from values that were read before instead of from its inputs.

    values(model, [a])  ...  resume(model, [b])  =  the part of the graph between a and b

Solving a model layer by layer reads a value behind each layer; from the inputs that is half the whole model
for each. Here what was read is held, and the graph is cut there: all layers together cost one pass.

W1: what is held has to be final: weights in front of it must not change any more. Layers that are solved in
    the order of the graph see to that.
W2: at most HELD_BYTES; what was used longest ago goes first, and is computed again from what lies before it.
    Beside a large model they lie in files (``ir.set_aside``).
W3: values that are wanted and held are not computed.
W4: of a large model, what was computed and nodes behind read too is held as well: a shortcut, where layers
    are wanted for their inputs alone. Without it every reading runs all branches again that were added to
    the shortcut before, and a runtime holds their weights and all that was read. Of a small model that
    stays: what is read from elsewhere is fused otherwise, and its last digits would be others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgekit.ir.external_data import is_large
from edgekit.ir.graph import replace_value
from edgekit.ir.set_aside import Aside
from edgekit.pruning.stream import OpenModel, cut_to, threads, whole_batches
from edgekit.spec import Array, BatchStream, RunOptions

HELD_BYTES = 2**30


@dataclass(eq=False)
class Resumed:
    """One model (its weights may change behind what was read) on one pass of data, in batches of one size.

    Attributes:
        limit_bytes: W2.
        shortcuts: W4.
        held: batches of each value.
    """

    limit_bytes: int = HELD_BYTES
    shortcuts: bool = False
    held: dict[str, list[Array]] = field(default_factory=dict)  # the one used last is at the end

    @classmethod
    def beside(cls, model: ir.Model) -> Resumed:
        """For ``model`` and what is made of it (W4)."""
        return cls(shortcuts=is_large(model))

    def values(
        self,
        model: ir.Model,
        names: Sequence[str],
        *,
        open_model: OpenModel,
        batches: BatchStream,
        count: int,
        size: int,
    ) -> Iterator[dict[str, Array]]:
        """As ``stream.values``; what is read is held."""
        wanted = list(dict.fromkeys(names))
        inputs = {value.name for value in model.graph.inputs}
        new = [name for name in wanted if name not in self.held and name not in inputs]
        rest = _from_held(model, self.held)
        cut = cut_to(rest, new)
        if new and self.shortcuts:
            new = list(dict.fromkeys([*new, *_read_behind(model, cut)]))
            cut = cut_to(rest, new)
        cut.graph.inputs[:] = [value for value in cut.graph.inputs if value.uses()]
        given = {value.name or "" for value in cut.graph.inputs} if new else set()
        used = [name for name in self.held if name in given or name in wanted]
        for name in used:
            self.held[name] = self.held.pop(name)
        known = {name: self.held[name] for name in used}
        found = {name: Aside(of=model) for name in new}
        if not new:
            for number, feeds in enumerate(whole_batches(model, batches, count=count, size=size)):
                yield {**feeds, **{name: parts[number] for name, parts in known.items()}}
            return
        with open_model(cut, RunOptions(threads=threads())) as session:
            for number, feeds in enumerate(whole_batches(model, batches, count=count, size=size)):
                old = {name: parts[number] for name, parts in known.items()}
                made = session.run({name: {**feeds, **old}[name] for name in given})
                for name in new:
                    found[name].add(made[name])
                yield {**feeds, **old, **made}
        self._hold({name: parts.arrays() for name, parts in found.items()})

    def _hold(self, found: dict[str, list[Array]]) -> None:
        """W2."""
        self.held.update(found)
        while len(self.held) > 1 and _bytes(self.held) > self.limit_bytes:
            del self.held[next(iter(self.held))]


def _bytes(held: dict[str, list[Array]]) -> int:
    return sum(part.nbytes for parts in held.values() for part in parts)


def _read_behind(model: ir.Model, cut: ir.Model) -> list[str]:
    """Values that ``cut`` computes and nodes of ``model`` outside of it read (W4)."""
    computed = {value.name for node in cut.graph for value in node.outputs}
    inside = {node for node in model.graph if any(value.name in computed for value in node.outputs)}
    return [
        value.name or ""
        for node in model.graph
        for value in node.outputs
        if value.name in computed
        and value.shape is not None
        and isinstance(value.type, ir.TensorType)
        and value.dtype != ir.DataType.STRING
        and any(reader not in inside for reader, _ in value.uses())
    ]


def _from_held(model: ir.Model, held: dict[str, list[Array]]) -> ir.Model:
    """A clone in which values that are held are inputs; those that nothing needs are none."""
    clone = model.clone()
    for value in [value for node in clone.graph for value in node.outputs if value.name in held]:
        name = value.name
        value.name = f"{name}/computed"
        new = ir.Value(name=name, shape=value.shape, type=value.type)
        replace_value(value, new)
        clone.graph.inputs.append(new)
    return clone
