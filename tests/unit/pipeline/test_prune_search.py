"""The search for widths on machines that are made up: how often it ends with what is fast enough in truth.

GROUPS groups of two widths save parts of the latency and cost errors, both seeded. Each look at a cell and
each time of the whole has noise, and the whole gains a factor of what its cells save in truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.dataset import Dataset
from edgekit.pipeline.prune import width_search
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.prune.width_search import AGAIN, TRIES, WidthSearch
from edgekit.pruning import widths
from edgekit.pruning.dependency import Dependencies, Group
from edgekit.pruning.importance import Order
from edgekit.pruning.widths import Cell
from edgekit.spec import Progress, Silent

GROUPS, CHANNELS, WIDTHS = 22, 4, (2, 1)
WANTED = 1.5
SEARCHES = 60
STAGE = range(4)  # groups


@dataclass(frozen=True)
class Noise:
    """What a machine does to measurements; parts of the latency.

    Attributes:
        factor: of what its cells save the whole gains.
        cell: standard deviation of one look at a cell.
        disturbed: added to one look of ten: another program was there.
        whole: relative standard deviation of one time of the whole.
        share: of the latency that depends on the groups at all.
        stage: what the whole saves beyond its cells where all groups of STAGE are at their smallest.
    """

    factor: float
    cell: float
    disturbed: float = 0.0
    whole: float = 0.01
    share: float = 1.0
    stage: float = 0.0


class Machine:
    """In place of a Speedometer; the groups are numbered, and ``cells`` are (group, width)."""

    def __init__(self, noise: Noise, seed: int) -> None:
        self.noise, self.rng = noise, np.random.default_rng(seed)
        parts = noise.share * self.rng.dirichlet(np.full(GROUPS, 3.0))
        costs = np.exp(self.rng.standard_normal(GROUPS))
        self.cells = [(group, width) for group in range(GROUPS) for width in WIDTHS]
        self.saves = {(g, w): float(parts[g]) * (1 - w / CHANNELS) for g, w in self.cells}
        self.errors = {(g, w): float(costs[g]) * (1 - w / CHANNELS) ** 2 for g, w in self.cells}
        self.looks: dict[tuple[int, int], int] = {}
        self.batches: list[str] = []
        self.times = 0

    def look(self, cell: tuple[int, int]) -> float:
        """A noisy saving."""
        self.looks[cell] = self.looks.get(cell, 0) + 1
        disturbed = self.noise.disturbed * (self.rng.random() < 0.1)
        return self.saves[cell] + self.noise.cell * float(self.rng.standard_normal()) + disturbed

    def speed(self, gone: tuple[int, ...]) -> float:
        """How many times faster in truth."""
        cells = _cells(gone)
        together = self.noise.stage * (set(cells) >= {(group, WIDTHS[-1]) for group in STAGE})
        return 1 / (1 - self.noise.factor * sum(self.saves[cell] for cell in cells) - together)

    def savings(
        self, models: Mapping[str, ir.Model], progress: Progress, *, stage: str = ""
    ) -> dict[str, tuple[float, ...]]:
        del progress
        self.batches.append(stage)
        return {name: (self._saving(_cells(model.meta["gone"])),) for name, model in models.items()}

    def _saving(self, cells: list[tuple[int, int]]) -> float:
        """A cell alone is looked at; of more than one, how fast the whole is."""
        if len(cells) == 1:
            return self.look(cells[0])
        gone = tuple(1 + g * CHANNELS + i for g, width in cells for i in range(CHANNELS - width))
        return 1 - 1 / self.speed(gone) + self.noise.cell * float(self.rng.standard_normal())

    def times_faster(self, model: ir.Model, progress: Progress) -> float:
        del progress
        self.times += 1
        return self.speed(model.meta["gone"]) * float(np.exp(self.noise.whole * self.rng.standard_normal()))


def _cells(gone: tuple[int, ...]) -> list[tuple[int, int]]:
    """(group, width) of the groups that have lost channels."""
    groups, lost = np.unique((np.array(gone) - 1) // CHANNELS, return_counts=True)
    return [(int(group), CHANNELS - int(many)) for group, many in zip(groups, lost, strict=True)]


def _search(machine: Machine) -> WidthSearch:
    groups = [
        Group(f"g{g}", tuple(range(1 + g * CHANNELS, 1 + (g + 1) * CHANNELS)), ((f"g{g}", 0),))
        for g in range(GROUPS)
    ]
    model = ir.Model(ir.Graph((), (), nodes=()), ir_version=10)
    found = Dependencies(model, {each.name: (np.array(each.channels),) for each in groups}, {}, (), ())
    orders = tuple(Order(each, each.channels, (), ()) for each in groups)
    speed = cast("Speedometer", machine)
    search = WidthSearch(found, orders, speed, cast("Dataset", None), 0, False, Silent())
    savings = {cell: machine.look(cell) for cell in machine.cells}
    search.table = tuple(
        Cell(f"g{g}", w, saving, machine.errors[g, w] if saving > 0 else float("inf"))
        for (g, w), saving in savings.items()
    )
    return search


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(found: Dependencies, gone: tuple[int, ...]) -> ir.Model:
        del found
        model = ir.Model(ir.Graph((), (), nodes=()), ir_version=10)
        model.meta["gone"] = gone
        return model

    monkeypatch.setattr(width_search, "remove", remove)


@dataclass(frozen=True)
class Outcome:
    """Of SEARCHES searches.

    Attributes:
        kept: part that ended with widths that are fast enough in truth.
        times: of the whole, on average.
        looks: second ones at a cell, on average.
        error: of what was found, on average.
        near: part that ended at most a tenth faster than asked for.
    """

    kept: float
    times: float
    looks: float
    error: float
    near: float


def _outcome(noise: Noise) -> Outcome:
    kept, near, times, looks, errors = 0, 0, [], [], []
    for seed in range(SEARCHES):
        machine = Machine(noise, seed)
        gone = _search(machine).fast_enough(WANTED)
        times.append(machine.times)
        looks.append(sum(machine.looks.values()) - len(machine.cells))
        if gone is not None:
            kept += machine.speed(gone) >= WANTED
            near += machine.speed(gone) <= 1.1 * WANTED
            errors.append(sum(machine.errors[cell] for cell in _cells(gone)))
    time, look, error = (float(np.mean(each)) for each in (times, looks, errors))
    return Outcome(kept / SEARCHES, time, look, error, near / SEARCHES)


TABLES = [
    pytest.param(Noise(factor=0.6, cell=0.0), None, id="all savings are too large"),
    pytest.param(Noise(factor=0.6, cell=0.02), 0.8, id="and noisy"),
    pytest.param(Noise(factor=0.6, cell=0.02, share=0.9), 0.3, id="and hardly enough"),
    pytest.param(Noise(factor=0.8, cell=0.01, disturbed=0.1), 0.92, id="some looks are disturbed"),
]


@pytest.mark.parametrize(("noise", "before"), TABLES)
def test_the_search_ends_with_what_is_fast_enough_in_truth(
    monkeypatch: pytest.MonkeyPatch, noise: Noise, before: float | None
) -> None:
    """S3, S4: 95 of 100 searches; all of these 60 did.

    Sabotage: a search without them, that ends where the goal passes what the table can give. None: where
    only a factor is wrong (no noise in the table), S1 alone has been enough.
    """
    found = _outcome(noise)
    assert found.kept >= 0.95
    assert found.times <= TRIES - 0.5

    def once(
        self: WidthSearch, goal: float, tried: list[dict[str, int]], *, high: float
    ) -> tuple[float, dict[str, int]]:
        del tried, high
        return goal, widths.choose(self.table, saving=goal) or {}

    monkeypatch.setattr(WidthSearch, "_untried", once)
    monkeypatch.setattr(WidthSearch, "_smallest", lambda self: {})
    assert before is None or _outcome(noise).kept <= before


def _as_it_is(plan: dict[str, int], *given: object, **named: object) -> dict[str, int]:
    del given, named
    return plan


def test_cells_that_were_timed_again_cost_less_and_save_times_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S3; the same bars without it are missed, both of them (4.4 times and 5.1). S5 is left out."""
    monkeypatch.setattr(width_search, "give_back", _as_it_is)
    noise = Noise(factor=0.8, cell=0.01, disturbed=0.1)

    def held(found: Outcome) -> tuple[bool, bool]:
        return found.times <= 4.1, found.error <= 4.8

    found = _outcome(noise)
    assert held(found) == (True, True)
    assert found.looks <= 0.55 * GROUPS * len(WIDTHS)
    monkeypatch.setattr(WidthSearch, "_look_again", lambda self, cells: None)
    assert held(_outcome(noise)) == (False, False)


def test_what_is_too_fast_gets_channels_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5: four groups save more together than the table knows of, and not all of them is too slow.

    Sabotage: the plan is left as it is; then one search of five ends within a tenth of what was asked for,
    and costs two and a half times as much.
    """
    noise = Noise(factor=0.8, cell=0.01, stage=0.25, share=0.6)
    real = Machine.__init__

    def made(self: Machine, noise: Noise, seed: int) -> None:
        real(self, noise, seed)
        self.errors |= {cell: 10 * saves for cell, saves in self.saves.items() if cell[0] in STAGE}

    monkeypatch.setattr(Machine, "__init__", made)
    found = _outcome(noise)
    monkeypatch.setattr(width_search, "give_back", _as_it_is)
    before = _outcome(noise)
    assert before.near < 0.3
    assert found.near > 0.85
    assert found.error < 0.5 * before.error
    assert found.kept >= before.kept > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_what_is_chosen_was_looked_at_twice_and_the_rest_once(seed: int) -> None:
    """S3, W6."""
    machine = Machine(Noise(factor=0.8, cell=0.02), seed)
    search = _search(machine)
    gone = search.fast_enough(WANTED)
    assert gone is not None
    assert {machine.looks[cell] for cell in _cells(gone)} == {2}
    assert set(machine.looks.values()) == {1, 2}
    assert [cell.looks for cell in search.table] == [machine.looks[cell] for cell in machine.cells]
    assert set(machine.batches) == {"time the chosen widths once more"}
    assert len(machine.batches) <= AGAIN * machine.times
    assert len({row.kept for row in search.path}) > 1 or len(search.path) == 1


def test_what_saves_nothing_at_the_second_look_is_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3: at the first look it saved most, and it costs nothing; sabotage: no second look."""
    machine = Machine(Noise(factor=1.0, cell=0.0), 0)
    liar = machine.cells[0]
    machine.saves[liar], machine.errors[liar] = -0.4, 0.0
    search = _search(machine)
    believed = [Cell(c.group, c.width, 0.3, 0.0) if c is search.table[0] else c for c in search.table]
    search.table = tuple(believed)
    gone = search.fast_enough(WANTED)
    assert gone is not None
    assert liar not in _cells(gone)
    assert search.table[0].saving == pytest.approx(-0.05)
    assert all(row.measured > 1.2 for row in search.path)

    search.table = tuple(believed)
    search.path.clear()
    monkeypatch.setattr(WidthSearch, "_look_again", lambda self, cells: None)
    search.fast_enough(WANTED)
    assert search.path[0].measured < 1.2


def test_a_table_that_cannot_give_it_is_not_tried() -> None:
    """S4: then the smallest widths are timed and reported by ``job``; must not fire where it can."""
    machine = Machine(Noise(factor=1.0, cell=0.0, whole=0.0), 0)
    assert _search(machine).fast_enough(5.0) is None
    assert machine.times == 0
    assert _search(machine).fast_enough(WANTED) is not None


def test_no_widths_are_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """S4: also where the whole is never fast enough; the smallest widths come last."""
    tried: list[tuple[int, ...]] = []

    def speed(self: Machine, gone: tuple[int, ...]) -> float:
        del self
        tried.append(gone)
        return 1.45

    monkeypatch.setattr(Machine, "speed", speed)
    search = _search(Machine(Noise(factor=1.0, cell=0.0, whole=0.0, share=0.55), 1))
    assert search.fast_enough(WANTED) is None
    assert 1 < len(tried) <= TRIES
    assert len(set(tried)) == len(tried)
    assert tried[-1] == search.smallest()
