"""Float model x pruned model x calibration data -> the pruned model with its weights solved anew.

    min over W, b of  mean |W x' + b - y|^2 + ridge * |W - W0|^2

x': what the layer reads in the pruned model, earlier layers solved already. y: what the float model's layer
gave, of the channels that are left. Layers in the order of the graph, each from sums of products that are
gathered batch by batch (normal equations); no gradients, no labels.

C1: the ridge pulls towards the weight that is there, and is the best of RIDGES on every fourth batch, which
    the solution does not see then; with all batches it is solved again. Where nothing is better than the
    weight with its bias moved, only the bias is.
C2: a layer whose output is only added to something that is computed before it also makes good what that has
    lost: y is what the float model has behind the addition, less that.
C3: a layer in front of which nothing has changed stays as it is, but for C2.
C4: a layer without a bias gets one (Conv, Gemm); a MatMul keeps none, its W alone is solved.
C5: moments of one layer are in memory at a time; values behind which weights are final are where the next
    reading starts (``resume``).
C6: what stands in the place of a branch that is gone (``branches``) becomes the mean of what is missing.
C7: to rank widths (``quick``) a layer of more than WIDE columns is solved with one ridge: each of them costs
    the cube of its columns.
C8: a normalization of which channels are gone has a scale and a bias that fit what is left (``scales``): two
    numbers a channel, so that no batches are held back to judge them.

Sources: He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, sections 3.2 and
3.3.2 (C2); Hubara et al., "Accurate Post Training Quantization With Small Calibration Sets", 2021.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import constant, is_onnx, sole_reader
from edgekit.pruning.branches import in_place
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.layers import Layer, answers, layers, patches, positions
from edgekit.pruning.least_squares import (
    Seen,
    aside,
    bias_moved,
    seen_of,
    solution,
    together,
    with_bias,
    write_rows,
)
from edgekit.pruning.resume import Resumed
from edgekit.pruning.scales import fit_scale, is_normalization
from edgekit.pruning.stream import IN_STEP, OpenModel, Read, values
from edgekit.pruning.ties import Numbers
from edgekit.spec import Array, BatchStream, Progress, Silent

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean second moment of a column
WIDE, QUICK_RIDGE = 2048, 1e-2  # C7
CHECKED = 4  # every fourth batch judges the ridge


@dataclass(frozen=True)
class Repair:
    """What solving one layer anew gave, on the batches that judged it.

    Attributes:
        layer: name of the node.
        before: mean squared error at its output as a part of the float output's variance; weights as cut out.
        bias_only: with the bias moved.
        after: of the solution that was taken.
        ridge: 0 where only the bias was moved.
    """

    layer: str
    before: float
    bias_only: float
    after: float
    ridge: float


def reconstruct(
    found: Dependencies,
    pruned: ir.Model,
    removed: Collection[int],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
    only: Collection[str] | None = None,
    read: tuple[Read, Read] | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> tuple[ir.Model, tuple[Repair, ...]]:
    """The repaired model, a new one, and what each layer gained.

    Args:
        found: of the float model.
        pruned: ``remove(found, removed)``.
        removed: channels that are gone.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data.
        count: samples to look at.
        seed: of the positions.
        only: names of the layers to solve; None = all that see a change.
        read: how values of the float model and of the pruned one are read, in batches of ``step_of`` samples;
            None = by ``Resumed`` (C5).
        quick: C7.
        progress: advanced by layers; the caller has opened the stage.
    """
    gone = frozenset(removed)
    if not gone:
        return pruned, ()
    result = pruned.clone()
    repairs: list[Repair] = []
    solvable = {layer.name for layer in layers(result) if layer.is_solvable}
    normalized = {node.name or "" for node in found.model.graph if _loses(found, node, gone)}
    names = [
        node.name or ""
        for node in result.graph
        if in_place(node) is not None
        or node.name in normalized
        or (node.name in solvable and (only is None or node.name in only))
    ]
    changed, touched = behind(found, gone)
    read = read or (Resumed.beside(found.model).values, Resumed.beside(found.model).values)
    for name in names:
        if name not in solvable:
            node = next(node for node in result.graph if node.name == name)
            seen = _beside(
                found,
                result,
                node,
                gone,
                open_model=open_model,
                batches=batches,
                count=count,
                read=read,
            )
            if name in normalized:
                fit = fit_scale(result, node, seen)
                repairs.append(Repair(name, fit.before, fit.bias_only, fit.after, 0.0))
            else:
                _mean_in_place(node, seen)
            continue
        layer = next(each for each in layers(result) if each.name == name)
        added = _addition(layer, result)
        if layer.name in changed or (added and added[1] in touched):
            ridges = (QUICK_RIDGE,) if quick and layer.shape[2] > WIDE else RIDGES
            sums = sums_of_layer(
                found,
                result,
                layer,
                gone,
                open_model=open_model,
                batches=batches,
                count=count,
                seed=seed,
                read=read,
            )
            repairs.append(_solve(result, layer, sums, ridges))
            del sums  # C5
        (progress or Silent()).advance()
    return result, tuple(repairs)


def _beside(
    found: Dependencies,
    model: ir.Model,
    node: ir.Node,
    gone: frozenset[int],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    read: tuple[Read, Read],
) -> Iterator[tuple[Array, Array]]:
    """C6, C8: what ``node`` reads of the activations, and what it should give, batch by batch."""
    value, wanted = in_place(node), node.outputs[0].name or ""
    source = next(each.name or "" for each in node.inputs if each is not None and each is not value)
    kept, step = _kept(found, wanted, gone), step_of(count)
    original = read[0](found.model, [wanted], open_model=open_model, batches=batches, count=count, size=step)
    current = read[1](model, [source], open_model=open_model, batches=batches, count=count, size=step)
    for reference, now in zip(original, current, strict=True):
        yield now[source], _cut(reference[wanted], kept)


def _mean_in_place(node: ir.Node, seen: Iterable[tuple[Array, Array]]) -> None:
    """C6."""
    value, total, count = in_place(node), np.zeros(()), 0
    for other, wanted in seen:
        missing = np.asarray(wanted, np.float64) - np.asarray(other, np.float64)
        axes = tuple(axis for axis in range(missing.ndim) if axis != 1)
        total = total + missing.sum(axis=axes)
        count += missing.size // missing.shape[1]
    if value is not None and value.shape is not None and count:
        array = (total / count).astype(np.float32).reshape([int(str(size)) for size in value.shape])
        value.const_value = ir.tensor(array, name=value.name)


def _loses(found: Dependencies, node: ir.Node, gone: frozenset[int]) -> bool:
    """C8."""
    value = node.inputs[0] if is_normalization(node) else None
    return value is not None and carries(found.values.get(value.name or "", ())[-1:], gone)


def behind(
    found: Dependencies, gone: frozenset[int], solved: Collection[str] = ()
) -> tuple[set[str], set[str]]:
    """(nodes, values), by name, that differ: channels are gone (C3), or ``solved`` nodes have new weights."""
    touched: set[str] = set()
    names: set[str] = set()
    for node in found.model.graph:
        inputs = [value.name or "" for value in node.inputs if value is not None]
        loses = any(
            carries((*found.values.get(name, ()), *_inner(found, node, name)), gone) for name in inputs
        )
        if loses or node.name in solved or any(name in touched for name in inputs):
            names.add(node.name or "")
            touched |= {value.name or "" for value in node.outputs}
    return names, touched


def carries(axes: Iterable[Numbers | None], channels: frozenset[int]) -> bool:
    """Whether one of ``channels`` lies along one of the axes of a value."""
    return any(numbers is not None and not channels.isdisjoint(map(int, numbers)) for numbers in axes)


def _inner(found: Dependencies, node: ir.Node, name: str) -> tuple[Numbers | None, ...]:
    """Axes of a constant that a recurrent node reads: losing units changes it."""
    return found.constants.get(name, ()) if is_onnx(node, "RNN", "GRU", "LSTM") else ()


def _addition(layer: Layer, model: ir.Model) -> tuple[str, str] | None:
    """C2: (the sum, what is added to the layer's output), where that is computed before the layer."""
    reader = sole_reader(layer.node.outputs[0])
    if reader is None or not is_onnx(reader, "Add") or len(reader.inputs) != 2:
        return None
    other = next((value for value in reader.inputs if value is not layer.node.outputs[0]), None)
    producer = other.producer() if other is not None else None
    if other is None or producer is None or constant(other) is not None:
        return None
    order = {id(node): index for index, node in enumerate(model.graph)}
    if order.get(id(producer), layer.index) >= layer.index or other.shape is None:
        return None
    same = list(other.shape) == list(layer.node.outputs[0].shape or ())
    return (reader.outputs[0].name or "", other.name or "") if same else None


def sums_of_layer(
    found: Dependencies,
    model: ir.Model,
    layer: Layer,
    gone: frozenset[int],
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int,
    read: tuple[Read, Read] = (values, values),
) -> tuple[Seen, Seen]:
    """Sums of (the batches that are fitted, those that judge): what ``layer`` reads, and what it should give.

    ``gone``: channels that ``model`` has no more; none where only its weights differ from the float model's.
    ``read``: how values of the float model and of ``model`` are read.
    """
    added = _addition(layer, model)
    wanted = added[0] if added else layer.output
    kept = _kept(found, wanted, gone)
    parts: dict[bool, Seen] = {}
    step = step_of(count)
    original = read[0](found.model, [wanted], open_model=open_model, batches=batches, count=count, size=step)
    current = read[1](
        model,
        [layer.source, *(added[1:] if added else ())],
        open_model=open_model,
        batches=batches,
        count=count,
        size=step,
    )
    for number, (reference, now) in enumerate(zip(original, current, strict=True)):
        target = _cut(reference[wanted], kept)
        if added:
            target = np.asarray(target, np.float32) - np.asarray(now[added[1]], np.float32)
        value = now[layer.source]
        rng = np.random.default_rng([seed, number])
        at = positions(layer, value.shape, count=count, rng=rng)
        x, y = patches(layer, value, at=at), answers(layer, target, at=at)
        judges = number % CHECKED == CHECKED - 1
        parts[judges] = together(parts[judges], seen_of(x, y)) if judges in parts else seen_of(x, y)
    parts = {judges: aside(seen, of=model) for judges, seen in parts.items()}
    return parts[False], parts.get(True, parts[False])


def step_of(count: int) -> int:
    """Samples of a batch: of few samples some judge too (C1)."""
    return min(IN_STEP, -(-count // CHECKED))


def _kept(found: Dependencies, name: str, gone: frozenset[int]) -> list[Array | None]:
    """Along each axis of the float model's value, what is left; None = all."""
    return [
        None if numbers is None else ~np.isin(numbers, list(gone)) for numbers in found.values.get(name, ())
    ]


def _cut(value: Array, kept: list[Array | None]) -> Array:
    for axis, mask in enumerate(kept):
        if mask is not None:
            value = np.compress(np.asarray(mask, bool), value, axis=axis)
    return value


def _solve(model: ir.Model, layer: Layer, sums: tuple[Seen, Seen], ridges: Sequence[float]) -> Repair:
    """C1: choose the ridge, solve with all, write into ``model``."""
    fitted, judging = sums
    old = with_bias(layer)
    moved = bias_moved(old, fitted) if layer.takes_bias else old
    errors = {ridge: judging.error(solution(fitted, moved, ridge, layer)) for ridge in ridges}
    before, bias_only = judging.error(old), judging.error(moved)
    best = min(errors, key=lambda ridge: errors[ridge])
    both = together(fitted, judging) if judging is not fitted else fitted
    if errors[best] < bias_only:
        chosen, after, ridge = solution(both, moved, best, layer), errors[best], best
    else:
        chosen = bias_moved(old, both) if layer.takes_bias else old
        after, ridge = bias_only, 0.0
    write_rows(model, layer, chosen)
    return Repair(layer.name, before, bias_only, after, ridge)
