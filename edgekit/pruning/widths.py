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
W6: a cell that is timed again saves the mean of all looks.

Source: the table is NetAdapt's (Yang et al., ECCV 2018); choosing by it at once, HALP's (Shen et al., 2022).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

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
        looks: how often it was timed; ``saving`` is the mean.
    """

    group: str
    width: int
    saving: float
    error: float
    looks: int = 1

    def looked_at_again(self, saving: float) -> Cell:
        """W6: ``saving`` is what the next look says."""
        looks = self.looks + 1
        return replace(self, saving=self.saving + (saving - self.saving) / looks, looks=looks)


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
    """W3: group -> width of the groups that shrink; None where all together save too little.

    A cell that saves nothing, or whose error is not finite, is never chosen.
    """
    goal = int(np.ceil(round(max(saving, 0.0) * GRID, 6)))  # 6 digits: ``most`` is asked for as it is
    places = np.arange(goal + 1)
    # least[s]: error of the groups so far that together save at least s steps
    least = np.where(places == 0, 0.0, np.inf)
    taken: list[tuple[list[Cell], npt.NDArray[np.intp]]] = []  # of each group and place the cell, or -1
    for group in _by_group(cells).values():
        with_group, taken_at = least.copy(), np.full(goal + 1, -1)
        for number, cell in enumerate(group):
            error = least[np.maximum(places - _steps(cell), 0)] + cell.error
            better = error < with_group
            with_group[better], taken_at[better] = error[better], number
        taken.append((group, taken_at))
        least = with_group
    if not np.isfinite(least[goal]):
        return None
    chosen: dict[str, int] = {}
    place = goal
    for group, taken_at in reversed(taken):
        if taken_at[place] >= 0:
            cell = group[taken_at[place]]
            chosen[cell.group] = cell.width
            place = max(place - _steps(cell), 0)
    return chosen


def most(cells: Collection[Cell]) -> float:
    """The largest saving that ``choose`` has widths for."""
    return sum(max(map(_steps, group)) for group in _by_group(cells).values()) / GRID


def _by_group(cells: Collection[Cell]) -> dict[str, list[Cell]]:
    """Those that may be chosen."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.saving > 0 and np.isfinite(cell.error):
            found.setdefault(cell.group, []).append(cell)
    return found


def _steps(cell: Cell) -> int:
    return int(cell.saving * GRID)


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
