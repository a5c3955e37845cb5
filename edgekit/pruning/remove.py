"""Dependencies x channels -> the model without them.

    every constant:    indices of removed channels are cut out, along each axis
    every Rewrite:     the number becomes that of the channels left
    every activation:  its shape follows

R1: an axis that would be left without any channel is refused: an empty tensor is no layer. Unless all that is
    empty is a branch (``branches``): then the branch goes.
R2: a node whose constant input counts channels gets its own copy of it; others may read the same numbers.
R3: a Split without sizes gets them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import add_initializer, constant
from edgekit.ir.set_aside import set_aside
from edgekit.pruning import branches
from edgekit.pruning.dependency import Dependencies, Group
from edgekit.pruning.ties import Numbers
from edgekit.pruning.trace import Axis, Rewrite


def remove(found: Dependencies, channels: Iterable[int]) -> ir.Model:
    """A new model; that of ``found`` is untouched, and weights that lose nothing are shared.

    Args:
        found: of the model.
        channels: numbers of ``found.groups``.

    Raises:
        InputError: a channel that is not there, or an axis that would be empty (R1).
    """
    gone = frozenset(channels)
    empty = _check(found, gone)
    model = found.model.clone()
    for name, axes in found.constants.items():
        _cut(model, name, axes, gone)
    nodes = list(model.graph)
    by_input: dict[tuple[int, int], list[Rewrite]] = {}
    for rewrite in found.rewrites:
        if not _loses(rewrite.counted, gone) and isinstance(rewrite.place, str):
            continue
        if isinstance(rewrite.place, str):
            nodes[rewrite.node].attributes[rewrite.place] = ir.AttrInt64(
                rewrite.place, _left(rewrite.counted, gone)
            )
        else:
            by_input.setdefault((rewrite.node, rewrite.place[0]), []).append(rewrite)
    for (index, place), rewrites in by_input.items():
        if any(_loses(rewrite.counted, gone) for rewrite in rewrites):
            _recount(nodes[index], place, rewrites, gone)
    for node in nodes:
        for value in node.outputs:
            _reshape(value, found.values.get(value.name or "", ()), gone)
    if empty is None:
        return model
    cut = branches.ends(found.model, found.constants, gone)
    model = branches.detach(model, cut) if cut else model
    if not branches.is_empty_free(model):
        raise _nothing_left(empty)
    return model


def is_branch(found: Dependencies, group: Group) -> bool:
    """Whether all channels of the group may go."""
    if not branches.ends(found.model, found.constants, frozenset(group.channels)):
        return False
    try:
        remove(found, group.channels)
    except InputError:
        return False
    return True


def _nothing_left(empty: tuple[str, int]) -> InputError:
    return InputError(
        f"no channel would be left along axis {empty[1]} of {empty[0]}",
        why="a layer without channels computes nothing",
        remedy="keep at least one channel of each group",
    )


def _check(found: Dependencies, gone: frozenset[int]) -> tuple[str, int] | None:
    """Where an axis would be empty, if any would."""
    unknown = sorted(gone - found.parts.keys())
    if unknown:
        raise InputError(
            f"channel {unknown[0]} is not one that may go (there are {len(found.parts)})",
            why="its number is not in the groups of the model's dependencies",
            remedy="choose among `dependencies(model).groups`",
        )
    return found.emptied(gone)


def _left(numbers: Numbers, gone: frozenset[int]) -> int:
    return int(_stays(numbers, gone).sum())


def _loses(numbers: Numbers, gone: frozenset[int]) -> bool:
    return not bool(_stays(numbers, gone).all())


def _stays(numbers: Numbers, gone: frozenset[int]) -> npt.NDArray[np.bool_]:
    return ~np.isin(numbers, list(gone))


def _cut(model: ir.Model, name: str, axes: tuple[Axis, ...], gone: frozenset[int]) -> None:
    value = model.graph.initializers[name]
    array = constant(value)
    lost = {
        axis: _stays(numbers, gone)
        for axis, numbers in enumerate(axes)
        if numbers is not None and _loses(numbers, gone)
    }
    if array is None or not lost:
        return
    for axis, mask in lost.items():
        array = np.compress(mask, array, axis=axis)
    value.const_value = ir.tensor(set_aside(np.ascontiguousarray(array), of=model), name=name)
    value.shape = ir.Shape(array.shape)


def _recount(node: ir.Node, place: int, rewrites: list[Rewrite], gone: frozenset[int]) -> None:
    """R2, R3."""
    graph = node.graph
    assert graph is not None  # noqa: S101  it came from a graph
    source = node.inputs[place] if len(node.inputs) > place else None
    old = constant(source)
    new = np.zeros(len(rewrites), np.int64) if old is None else np.array(old, order="C")
    for rewrite in rewrites:
        if isinstance(rewrite.place, tuple):
            new.reshape(-1)[rewrite.place[1]] = _left(rewrite.counted, gone)
    if old is None:
        node.attributes.pop("num_outputs", None)
        node.resize_inputs(place + 1)
    value = add_initializer(graph, f"{node.name or node.op_type}_kept", new)
    node.replace_input_with(place, value)
    if source is not None and source.is_initializer() and not source.uses():
        del graph.initializers[source.name or ""]


def _reshape(value: ir.Value, axes: tuple[Axis, ...], gone: frozenset[int]) -> None:
    if value.shape is None or all(numbers is None for numbers in axes):
        return
    value.shape = ir.Shape(
        [
            dim if numbers is None else _left(numbers, gone)
            for dim, numbers in zip(value.shape, axes, strict=True)
        ]
    )
