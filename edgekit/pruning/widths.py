"""Groups x measured table -> how many channels each group keeps.

    minimize  sum of errors    subject to    sum of savings >= 1 - 1/speedup

A cell of the table says what one group at one width saves of the whole model's latency, measured on the
target with everything else as it was, and what it costs at the model's output. Savings and errors of groups
are taken to add up; what the whole gives is measured afterwards (``pipeline.prune``).

W1: widths are FRACTIONS of the group, rounded up to a multiple of ``step``: kernels work in blocks, and what
    lies between two blocks is computed as the larger one. A group of at most one block may be halved.
W2: with several targets a cell saves the mean of what it saves on each.
W3: the minimum is exact on a grid of GRID savings (a knapsack by dynamic programming).
W4: a group that is a branch (``branches``) may shrink to nothing.
W5: without a table every group keeps the same part, rounded down to a block (below one block it is exact),
    and then up where that is worth most, as long as the part of all channels is not passed.

Source: the table is NetAdapt's (Yang et al., ECCV 2018); choosing by it at once, HALP's (Shen et al., 2022).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.pruning.dependency import Dependencies, Group
from edgekit.pruning.importance import Order
from edgekit.pruning.remove import is_branch

FRACTIONS = (0.75, 0.5, 0.25)  # W1; each is a row of the table, and measured
GRID = 2000  # steps of 0.05 % of the latency, far below what can be measured


@dataclass(frozen=True)
class Cell:
    """One group at one width, everything else as it was.

    Attributes:
        group: its name.
        width: channels that are kept.
        saving: part of the whole latency; negative where it became slower.
        error: at the model's outputs, mean square as a part of their variance.
    """

    group: str
    width: int
    saving: float
    error: float


def widths_of(group: Group, *, step: int, branch: bool = False) -> tuple[int, ...]:
    """W1, W4: what a group may shrink to, the largest first."""
    size = len(group.channels)
    nothing = (0,) if branch else ()
    if size <= step:
        return ((size // 2,) if size >= 4 else ()) + nothing
    found = {-(-int(np.ceil(size * part)) // step) * step for part in FRACTIONS}
    return tuple(sorted((width for width in found if 0 < width < size), reverse=True)) + nothing


def uniform(orders: Sequence[Order], keep: float, *, step: int) -> dict[str, int]:
    """W5: about the same part of every group, together no more than that part of all channels."""
    widths: dict[str, int] = {}
    steps: list[tuple[float, str, int]] = []
    total = 0
    for order in orders:
        size = len(order.group.channels)
        total += size
        wanted = keep * size
        unit = step if size > step and wanted >= step else 1
        low = max(1, int(wanted // unit) * unit)
        high = min(size, max(low, -(-int(np.ceil(wanted)) // unit) * unit))
        widths[order.group.name] = low
        if high > low:
            lost = sum(order.errors[size - high : size - low]) / (high - low)
            steps.append((lost, order.group.name, high - low))
    left = int(keep * total + 1e-9) - sum(widths.values())
    for _, name, more in sorted(steps, key=lambda each: -each[0]):
        if more <= left:
            widths[name] += more
            left -= more
    return widths


def choose(cells: Collection[Cell], *, saving: float) -> dict[str, int] | None:
    """W3: group -> width of the groups that shrink; None where all together save too little."""
    by_group: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.saving > 0:
            by_group.setdefault(cell.group, []).append(cell)
    goal = int(np.ceil(max(saving, 0.0) * GRID))
    # best[s]: (error, chosen cells) that save at least s steps
    best: list[tuple[float, tuple[Cell, ...]] | None] = [(0.0, ()), *(None for _ in range(goal))]
    for group in by_group.values():
        new = list(best)
        for start, held in enumerate(best):
            if held is None:
                continue
            for cell in group:
                place = min(goal, start + int(cell.saving * GRID))
                other = new[place]
                if other is None or held[0] + cell.error < other[0]:
                    new[place] = (held[0] + cell.error, (*held[1], cell))
        best = new
    found = best[goal]
    return None if found is None else {cell.group: cell.width for cell in found[1]}


def removed(found: Dependencies, orders: Sequence[Order], widths: Mapping[str, int]) -> tuple[int, ...]:
    """The channels that go, each group in its order; one whose axis would be left empty stays."""
    gone: list[int] = []
    branches = {
        channel
        for order in orders
        if widths.get(order.group.name) == 0 and is_branch(found, order.group)
        for channel in order.group.channels
    }
    for order in orders:
        width = widths.get(order.group.name, len(order.group.channels))
        gone.extend(order.channels[: len(order.group.channels) - width])
    while (empty := found.emptied(gone, but=frozenset(branches))) is not None:
        axes = found.constants.get(empty[0]) or found.values[empty[0]]
        along = axes[empty[1]]
        last = next(channel for channel in reversed(gone) if along is not None and channel in along)
        gone.remove(last)
    return tuple(gone)
