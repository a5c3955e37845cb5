"""Widths that are faster than asked for -> wider ones, which are still fast enough and cost less.

The table says what a group saves alone, and savings do not add up: of a stage whose blocks are all gone the
layouts and buffers between them go as well, and nothing in the table knows of it. What is far too fast cost
accuracy for nothing. Near it, the table is measured anew: each group of the plan wider, all others as chosen.

G1: of the wider forms that together take no more time than there is to spare, those that cost least are
    taken. The whole is measured, and where it is too slow less is given back (at most LESS times).
G2: again, with what is left to spare, at most AGAIN times, until the speed is nearly what was asked for.
G3: on several targets a form takes the time that the slowest of them takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from edgekit.pruning import widths as widths_
from edgekit.pruning.widths import Cell

LESS, AGAIN = 3, 3  # G1, G2

Plan = dict[str, int]  # widths of the groups that shrink, by name
Savings = Mapping[str, tuple[float, ...]]  # of the latency on each target, by the name of a form


@dataclass(frozen=True)
class Measures:
    """What the search can measure.

    Attributes:
        savings: of several plans by name, in turn with each other.
        faster: how many times the whole is, noted in the path; a plan that is too slow is noted as such.
    """

    savings: Callable[[Mapping[str, Plan]], Savings]
    faster: Callable[[Plan], float]


def give_back(
    plan: Plan, faster: float, table: Collection[Cell], measures: Measures, *, least: float, enough: float
) -> Plan:
    """The plan, or a wider one that is at least ``least`` times faster.

    Args:
        plan: fast enough.
        faster: how many times it was.
        table: the errors of groups at their widths; infinite where it was not asked.
        measures: of the machine.
        least: times faster that the whole has to stay.
        enough: where it is no faster than this, nothing more is given back.
    """
    errors = {(cell.group, cell.width): cell.error for cell in table}
    for _ in range(AGAIN):
        if faster <= enough:
            break
        cells = _near(plan, errors, measures)
        wider, speed = _wider(plan, cells, measures, spare=1 / least - 1 / faster, least=least)
        if wider == plan:
            break
        plan, faster = wider, speed
    return plan


def _near(plan: Plan, errors: Mapping[tuple[str, int], float], measures: Measures) -> list[Cell]:
    """The table near ``plan``: a cell saves what its width saves against the whole group."""
    whole = "as chosen"
    forms: dict[str, Plan] = {whole: plan}
    for name, width in plan.items():
        without = {group: kept for group, kept in plan.items() if group != name}
        forms[f"{name}:all"] = without
        for wider in _between(name, width, errors):
            forms[f"{name}:{wider}"] = {**without, name: wider}
    saved = {form: min(each) for form, each in measures.savings(forms).items()}  # G3
    cells = []
    for name, width in plan.items():
        rest = saved[f"{name}:all"]
        cells.append(Cell(name, width, saved[whole] - rest, errors[name, width]))
        cells += [
            Cell(name, wider, saved[f"{name}:{wider}"] - rest, errors[name, wider])
            for wider in _between(name, width, errors)
        ]
    return cells


def _between(name: str, width: int, errors: Mapping[tuple[str, int], float]) -> list[int]:
    """Widths of the table above ``width`` that cost less than it."""
    cost = errors[name, width]
    return [
        wider for (group, wider), error in errors.items() if group == name and wider > width and error < cost
    ]


def _wider(
    plan: Plan, cells: Sequence[Cell], measures: Measures, *, spare: float, least: float
) -> tuple[Plan, float]:
    """G1: (the plan as it is, 0) where nothing can be given back."""
    now = sum(cell.saving for cell in cells if plan[cell.group] == cell.width and cell.saving > 0)
    tried = [plan]
    for _ in range(LESS):
        goal = max(now - spare, 0.0)
        found = widths_.choose(cells, saving=goal)
        if found is None or found in tried:
            break
        tried.append(found)
        speed = measures.faster(found)
        if speed >= least:
            return found, speed
        spare /= 2
    return plan, 0.0
