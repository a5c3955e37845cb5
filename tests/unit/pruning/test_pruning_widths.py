"""Widths out of a table: the cheapest that save enough; and what a group may shrink to."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgekit.pruning.dependency import Group, dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.widths import GRID, Cell, choose, most, removed, uniform, widths_of
from tests.unit.litert.litert_models import Model, as_ir


def _group(size: int, name: str = "g") -> Group:
    return Group(name, tuple(range(1, size + 1)), ((name, 0),))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(64, (48, 32, 16)), (32, (24, 16, 8)), (16, (8,)), (8, (4,)), (3, ()), (40, (32, 24, 16)), (12, (8,))],
)
def test_widths_are_blocks(size: int, expected: tuple[int, ...]) -> None:
    assert widths_of(_group(size), step=8) == expected


def test_one_part_for_all_is_rounded_to_blocks_and_never_passed() -> None:
    """W5."""
    orders = [Order(_group(size, f"g{size}"), (), (), ()) for size in (4, 16, 40)]
    assert uniform(orders, 0.6, step=8) == {"g4": 3, "g16": 8, "g40": 24}  # 35 of 60; 16 would pass 36
    assert uniform(orders, 0.75, step=8) == {"g4": 3, "g16": 16, "g40": 24}  # 43 of 60
    assert uniform(orders, 0.1, step=8) == {"g4": 1, "g16": 1, "g40": 4}  # parts below a block are exact
    assert uniform(orders, 0.01, step=8) == {"g4": 1, "g16": 1, "g40": 1}


def test_blocks_go_up_where_their_channels_are_worth_most() -> None:
    """W5: 42 of 60 leave eight channels for one of the two; sabotage: the other one's errors are larger."""
    for dear in ("a", "b"):
        orders = [
            Order(_group(30, name), (), tuple([5.0 if name == dear else 1.0] * 30), ()) for name in ("a", "b")
        ]
        found = uniform(orders, 0.7, step=8)
        assert found == {dear: 24, "b" if dear == "a" else "a": 16}


def _cells(seed: int) -> list[Cell]:
    rng = np.random.default_rng(seed)
    return [
        Cell(f"g{group}", width, float(rng.uniform(-0.02, 0.15)), float(rng.uniform(0, 0.2)))
        for group in range(5)
        for width in (8, 16)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_the_cheapest_of_all(seed: int) -> None:
    """Against every combination; savings are rounded down to the grid (W3: 0.05 % each)."""
    cells = _cells(seed)
    by_group = [[None, *(cell for cell in cells if cell.group == f"g{group}")] for group in range(5)]
    best = min(
        (
            sum(cell.error for cell in chosen if cell)
            for chosen in product(*by_group)
            if sum(int(cell.saving * 2000) for cell in chosen if cell and cell.saving > 0) >= 400
            and all(cell is None or cell.saving > 0 for cell in chosen)
        ),
        default=None,
    )
    found = choose(cells, saving=0.2)
    if best is None:
        assert found is None
        return
    assert found is not None
    cost = sum(cell.error for cell in cells if found.get(cell.group) == cell.width)
    assert cost == pytest.approx(best)


def test_what_saves_nothing_is_never_chosen() -> None:
    cells = [Cell("slow", 8, -0.1, 0.0), Cell("fast", 8, 0.3, 0.5)]
    assert choose(cells, saving=0.2) == {"fast": 8}
    assert choose(cells, saving=0.4) is None


def test_what_breaks_the_outputs_is_never_chosen() -> None:
    """Its error is infinite; must not fire for a large one."""
    cells = [Cell("broken", 8, 0.5, float("inf")), Cell("dear", 8, 0.3, 1e9)]
    assert choose(cells, saving=0.2) == {"dear": 8}
    assert choose(cells, saving=0.4) is None


@pytest.mark.parametrize("seed", range(20))
def test_all_that_can_be_saved_can_be_chosen_and_no_more(seed: int) -> None:
    cells = _cells(seed)
    assert choose(cells, saving=most(cells)) is not None
    assert choose(cells, saving=most(cells) + 1 / GRID) is None
    assert most([]) == 0


def test_a_cell_that_is_timed_again_saves_the_mean_of_all_looks() -> None:
    """W6; the error was measured once and stays."""
    cell = Cell("g", 8, 0.3, 0.5).looked_at_again(0.1)
    assert cell.saving == pytest.approx(0.2)
    assert (cell.error, cell.looks) == (0.5, 2)
    cell = cell.looked_at_again(-0.7)
    assert cell.saving == pytest.approx(-0.1)
    assert cell.looks == 3
    assert choose([cell], saving=0.01) is None


def test_a_channel_without_which_an_axis_is_empty_stays() -> None:
    """Two groups meet on one axis of one channel each: not both may go."""
    m = Model()
    first = m.add("Conv", m.input("x", (1, 3, 4, 4)), m.weight(4, 3, 1, 1))
    part = m.add("Slice", first, m.ints(0), m.ints(2), m.ints(1))
    both = m.add("Concat", m.add("Conv", part, m.weight(3, 2, 1, 1)), first, axis=1)
    found = dependencies(
        as_ir(m.build(m.add("GlobalAveragePool", m.add("Conv", both, m.weight(2, 7, 1, 1)))))
    )
    orders = [Order(group, group.channels, (), ()) for group in found.groups]
    gone = removed(found, orders, {group.name: 0 for group in found.groups})
    assert found.emptied(gone) is None
    assert found.emptied(found.parts) is not None
