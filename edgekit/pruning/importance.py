"""Groups of channels x calibration data -> the order in which channels of each group go, least worth first.

    magnitude   sum of squares of all that a channel has in weights                    (needs no data)
    activation  sum over readers of  E[x_c^2] * |W_c|^2 / E[|W x|^2]
    taylor      mean over samples of (sum over readers of  <dL/dW_c, W_c>)^2           (module ``taylor``)
    obs         sum over readers of  trace(W_c (H^-1_cc)^-1 W_c^T) / trace(W H W^T),   H = cov(x) + ridge

x is what a reader (``layers``) is multiplied with, x_c the columns of channel c, W_c the same columns of its
weight. The last is the error that is left at the reader's output when c goes and the columns that stay are
re-solved for it (Optimal Brain Surgeon with blocks); the mean of x costs nothing, a bias takes it up.

I1: after each step the readers are updated as if the channel was gone, so that one of two channels that
    say the same is kept. Of many channels several go in one step.
I2: where no reader is known (K5 of ``layers``), magnitude decides, and it says so.
I3: moments of a few readers at a time are in memory, of a large model as much as ``room`` says; a reader goes
    when its groups are in order, and until then it lies in files (``ir.set_aside``). So there are many passes
    over the data, and each begins where the last one ended (``resume``).

Sources: Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", 1992;
Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023, equations 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit.ir.external_data import is_large, room
from edgekit.ir.graph import constant
from edgekit.ir.set_aside import set_aside, workspace
from edgekit.pruning import taylor
from edgekit.pruning.dependency import Dependencies, Group
from edgekit.pruning.layers import Floats, Layer, layers, patches, positions
from edgekit.pruning.resume import Resumed
from edgekit.pruning.stream import IN_STEP, OpenModel, Read, values
from edgekit.spec import Array, BatchStream, Progress, Silent

Method = Literal["obs", "activation", "taylor", "magnitude"]
RIDGE = 1e-3  # of the mean variance of a column: covariances of few samples have no inverse without
MEMORY_BYTES = 512 * 2**20  # I3; a chunk's seed draws what is looked at, so of small models it is one figure
ROWS = 256  # of a product at once: it stays in the processor's cache
STEPS = 64  # a group goes in at most so many steps (I1)


@dataclass(frozen=True, eq=False)
class Order:
    """Channels of one group, the first to go first.

    Attributes:
        group: whose.
        channels: all of its channels.
        errors: (channels,) what each costs when it goes in this order, as parts of its readers' outputs.
        readers: names of the layers that were asked; () = magnitude decided (I2).
    """

    group: Group
    channels: tuple[int, ...]
    errors: tuple[float, ...]
    readers: tuple[str, ...]


def order_channels(
    found: Dependencies,
    *,
    method: Method,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    labels: Array | None = None,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Order, ...]:
    """The order of every group that may lose channels.

    Args:
        found: of the float model.
        method: see the module.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data.
        count: samples to look at.
        labels: (count,) classes, for taylor; None = the model's own.
        seed: of the positions.
        progress: advanced by layers (taylor: samples) that were looked at; the caller has opened the stage.
    """
    groups = [group for group in found.groups if len(group.channels) > 1]
    if method == "magnitude":
        return tuple(_by_magnitude(found, group) for group in groups)
    readers = _readers(found, groups)
    if method == "taylor":
        return _by_gradients(
            found, groups, readers, batches=batches, count=count, labels=labels, seed=seed, progress=progress
        )
    known: dict[str, Reader] = {}
    orders: dict[int, Order] = {}
    waiting = {index: _of_group(found, group, readers) for index, group in enumerate(groups)}
    chosen = [layer for layer in layers(found.model) if layer.name in readers]
    # in batches of one size; positions are drawn batch by batch, and those of small models are to stay
    resumed = partial(Resumed.beside(found.model).values, size=IN_STEP) if is_large(found.model) else values
    for chunk in _chunks(chosen, memory_bytes=room(found.model, most=MEMORY_BYTES)):
        moments = second_moments(
            found.model,
            chunk,
            open_model=open_model,
            batches=batches,
            count=count,
            seed=seed,
            read=resumed,
        )
        known.update(
            {layer.name: Reader.of(layer, *moments.pop(layer.name)).aside(found.model) for layer in chunk}
        )
        for index, names in list(waiting.items()):
            if all(name in known for name in names):
                orders[index] = _one_order(found, groups[index], [known[name] for name in names], method)
                del waiting[index]
        needed = {name for names in waiting.values() for name in names}
        known = {name: reader for name, reader in known.items() if name in needed}  # I3
        (progress or Silent()).advance(len(chunk))
    for index in waiting:  # no layer reads anything
        orders[index] = _by_magnitude(found, groups[index])
    return tuple(orders[index] for index in range(len(groups)))


@dataclass(eq=False)
class Reader:
    """A layer of one group while channels go: its weight and the inverse of its covariance.

    Attributes:
        weight: (rows, columns).
        inverse: (columns, columns) of covariance and ridge.
        power: (columns,) E[x^2].
        energy: trace(W H W^T): what errors are parts of.
    """

    layer: Layer
    weight: Floats
    inverse: Floats
    power: Floats
    energy: float

    @classmethod
    def of(cls, layer: Layer, square: Floats, mean: Floats) -> Reader:
        """From E[x x^T], which is used up, and E[x]."""
        power = np.diag(square).copy()
        square -= np.outer(mean, mean)
        size = len(square)
        ridge = RIDGE * max(float(np.trace(square)) / size, 1e-12)
        square.flat[:: size + 1] += ridge
        weight = layer.weight[0]
        energy = float(np.einsum("rc,cd,rd->", weight, square, weight, optimize=True))
        return cls(layer, weight, np.asarray(np.linalg.inv(square), np.float64), power, max(energy, 1e-30))

    def aside(self, model: ir.Model) -> Reader:
        """Where it waits for the other readers of its groups (I3)."""
        return replace(
            self,
            weight=np.asarray(set_aside(self.weight, of=model), np.float64),
            inverse=np.asarray(set_aside(self.inverse, of=model), np.float64),
        )

    def copy(self, model: ir.Model) -> Reader:
        """To drop channels of, for one of its groups."""
        return replace(
            self,
            weight=np.asarray(workspace(self.weight, of=model), np.float64),
            inverse=np.asarray(workspace(self.inverse, of=model), np.float64),
        )

    def columns(self, numbers: Sequence[int]) -> list[int]:
        """Columns of the channels at ``numbers`` of the input's axis."""
        taps = self.layer.taps
        return [number * taps + tap for number in numbers for tap in range(taps)]

    def error(self, columns: list[int]) -> float:
        """What is lost when they go."""
        part = self.weight[:, columns]
        solved = np.linalg.solve(self.inverse[np.ix_(columns, columns)], part.T)
        return float(np.einsum("rc,cr->", part, solved)) / self.energy

    def errors(self, columns: Sequence[list[int]]) -> list[float]:
        """Of each."""
        if len({len(each) for each in columns}) > 1:
            return [self.error(each) for each in columns]
        at = np.array(columns)  # (channels, taps)
        part = self.weight[:, at]  # (rows, channels, taps)
        blocks = self.inverse[at[:, :, None], at[:, None, :]]
        solved = np.linalg.solve(blocks, part.transpose(1, 2, 0))  # (channels, taps, rows)
        return list(np.einsum("rkt,ktr->k", part, solved) / self.energy)

    def contribution(self, columns: list[int]) -> float:
        """Without a re-solution: E[x^2] |W|^2."""
        return float(((self.weight[:, columns] ** 2).sum(axis=0) * self.power[columns]).sum()) / self.energy

    def drop(self, columns: list[int]) -> None:
        """Update as if they were gone (I1)."""
        across = self.inverse[:, columns]  # (columns, gone)
        gain = np.asarray(np.linalg.solve(self.inverse[np.ix_(columns, columns)], across.T), np.float64)
        _less(self.weight, self.weight[:, columns], gain)
        _less(self.inverse, across, gain)
        self.weight[:, columns] = 0
        self.inverse[columns, :] = 0  # rows of what is gone take no more part
        self.inverse[:, columns] = 0
        self.inverse[columns, columns] = 1


def _less(matrix: Floats, left: Floats, right: Floats) -> None:
    """``matrix`` -= ``left`` @ ``right``, a few rows at a time: without a second matrix."""
    for start in range(0, len(matrix), ROWS):
        rows = slice(start, start + ROWS)
        matrix[rows] -= left[rows] @ right


def second_moments(
    model: ir.Model,
    chosen: Sequence[Layer],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
    read: Read = values,
) -> dict[str, tuple[Floats, Floats]]:
    """(E[x x^T], E[x]) of the patches of each layer of one group, by name; ``read``: how values are read."""
    sums: dict[str, tuple[Floats, Floats, int]] = {}
    sources = [layer.source for layer in chosen]
    stream = read(model, sources, open_model=open_model, batches=batches, count=count)
    for number, found in enumerate(stream):
        rng = np.random.default_rng([seed, number])
        for layer in chosen:
            value = found[layer.source]
            x = patches(layer, value, at=positions(layer, value.shape, count=count, rng=rng))[0]
            columns = x.shape[1]
            if layer.name not in sums:
                sums[layer.name] = (np.zeros((columns, columns)), np.zeros(columns), 0)
            square, mean, seen = sums[layer.name]
            square += x.T @ x
            mean += x.sum(axis=0, dtype=np.float64)
            sums[layer.name] = (square, mean, seen + len(x))
    return {name: (_over(square, seen), mean / seen) for name, (square, mean, seen) in sums.items()}


def _over(total: Floats, count: int) -> Floats:
    """The mean, in the same memory."""
    total /= count
    return total


def _readers(found: Dependencies, groups: Sequence[Group]) -> dict[str, Layer]:
    """Layers of one group that read a channel of any group, by name."""
    channels = {number for group in groups for number in group.channels}
    result = {}
    for layer in layers(found.model):
        numbers = found.constants.get(layer.weight_name, (None,) * 9)[layer.axis]
        if layer.shape[0] == 1 and numbers is not None and channels & set(map(int, numbers)):
            result[layer.name] = layer
    return result


def _of_group(found: Dependencies, group: Group, readers: Mapping[str, Layer]) -> list[str]:
    places = set(group.places)
    return [name for name, layer in readers.items() if (layer.weight_name, layer.axis) in places]


def _chunks(chosen: Sequence[Layer], *, memory_bytes: int) -> Iterator[list[Layer]]:
    """I3."""
    held: list[Layer] = []
    for layer in chosen:
        if held and sum(each.moment_bytes for each in held) + layer.moment_bytes > memory_bytes:
            yield held
            held = []
        held.append(layer)
    if held:
        yield held


def _one_order(found: Dependencies, group: Group, readers: list[Reader], method: Method) -> Order:
    if not readers:
        return _by_magnitude(found, group)
    columns = [_columns_of(found, group, reader) for reader in readers]
    left, gone, errors = list(group.channels), [], []
    own = [reader.copy(found.model) for reader in readers]
    while left:
        if method == "activation":
            costs = [sum(r.contribution(c[n]) for r, c in zip(own, columns, strict=True)) for n in left]
        else:
            lost = [r.errors([c[n] for n in left]) for r, c in zip(own, columns, strict=True)]
            costs = [sum(parts) for parts in zip(*lost, strict=True)]
        many = len(left) if method == "activation" else max(1, len(group.channels) // STEPS)
        for place in np.argsort(costs, kind="stable")[:many]:
            gone.append(left[place])
            errors.append(float(costs[place]))
        fresh = set(gone[-many:])
        left = [number for number in left if number not in fresh]
        if method == "obs" and left:
            for reader, each in zip(own, columns, strict=True):
                reader.drop([column for number in gone[-many:] for column in each[number]])
    return Order(group, tuple(gone), tuple(errors), tuple(r.layer.name for r in readers))


def _by_gradients(
    found: Dependencies,
    groups: Sequence[Group],
    readers: Mapping[str, Layer],
    *,
    batches: BatchStream,
    count: int,
    labels: Array | None,
    seed: int,
    progress: Progress | None,
) -> tuple[Order, ...]:
    """All at once: gradients are of the whole model (no I1)."""
    worth = taylor.worth(
        found,
        list(readers.values()),
        batches=batches,
        count=count,
        labels=labels,
        seed=seed,
        progress=progress,
    )
    orders = []
    for group in groups:
        names = _of_group(found, group, readers)
        if not names:
            orders.append(_by_magnitude(found, group))
            continue
        ranked = sorted(group.channels, key=lambda channel: worth.get(channel, 0.0))
        costs = tuple(worth.get(channel, 0.0) for channel in ranked)
        orders.append(Order(group, tuple(ranked), costs, tuple(names)))
    return tuple(orders)


def _columns_of(found: Dependencies, group: Group, reader: Reader) -> dict[int, list[int]]:
    """Channel -> its columns in the reader's weight."""
    return {
        number: reader.columns(part.indices)
        for number in group.channels
        for part in found.parts[number]
        if (part.initializer, part.axis) == (reader.layer.weight_name, reader.layer.axis)
    }


def _by_magnitude(found: Dependencies, group: Group) -> Order:
    sizes = []
    for number in group.channels:
        total = 0.0
        for part in found.parts[number]:
            array = constant(found.model.graph.initializers[part.initializer])
            if array is not None:
                total += float((np.take(array, part.indices, axis=part.axis).astype(np.float64) ** 2).sum())
        sizes.append(total)
    order = np.argsort(sizes, kind="stable")
    return Order(group, tuple(group.channels[i] for i in order), tuple(float(sizes[i]) for i in order), ())
