"""What a reader compares candidates by is in the result: limits, the front, flips of what ships."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.dataset import Dataset
from edgekit.pipeline.latency import LIMIT
from edgekit.pipeline.release.complete_rows import complete
from edgekit.pipeline.result import TargetRow, ValidatedRow
from edgekit.pipeline.validate import _with_flips
from edgekit.validation.budget import Budget
from tests.unit.report.rich_results import golden

TRUTH = np.array([0, 1, 2, 0])
FLOAT = np.array([0, 1, 2, 1])
CHANGED = np.array([0, 1, 1, 1])
DATA = Dataset("d", "", "", 4, 0, list, TRUTH, raw=lambda: ({"x": np.eye(8)} for _ in range(4)))


def target() -> TargetRow:
    """One float variant and one candidate, which ships."""
    found: TargetRow = golden("release_passing").targets[0]
    assert [each.shipped for each in found.candidates] == [False, True]
    return found


def completed(row: TargetRow, budget: Budget, **options: Any) -> TargetRow:
    judged = [
        SimpleNamespace(row=each, proof=SimpleNamespace(labels=labels))
        for each, labels in zip(row.candidates, (FLOAT, CHANGED), strict=True)
    ]
    ships = next((each for each in judged if each.row.shipped), None)
    outcome: Any = SimpleNamespace(judged=judged, choice=SimpleNamespace(judged=ships))
    given: dict[str, Any] = {"reference": FLOAT, "classes": (), "pictures": True} | options
    (found,) = complete([row], {row.target: outcome}, budgets={row.target: budget}, data=DATA, **given)
    return found


def test_flips_are_of_what_ships_with_pictures() -> None:
    found = completed(target(), Budget())
    assert found.candidates[0].flips is None
    flips = found.candidates[1].flips
    assert flips is not None
    assert (flips.samples, flips.count, flips.lost) == (4, 1, 1)
    assert [(each.sample, bool(each.picture)) for each in flips.shown] == [(2, True)]


def test_where_nothing_ships_flips_are_of_what_was_tried() -> None:
    row = target()
    nothing = replace(row, candidates=tuple(replace(each, shipped=False) for each in row.candidates))
    found = completed(nothing, Budget())
    assert [each.flips is None for each in found.candidates] == [True, False]  # float itself was not tried


@pytest.mark.parametrize("options", [{"pictures": False}, {"reference": None}], ids=str)
def test_what_is_not_wanted_or_not_known_is_left_out(options: dict[str, Any]) -> None:
    flips = completed(target(), Budget(), **options).candidates[1].flips
    assert flips is None or [each.picture for each in flips.shown] == [""]


def test_limits_are_those_of_the_budget_under_its_own_names() -> None:
    assert completed(target(), Budget()).limits == {}
    budget = Budget(max_drop_pp=0.5, max_size_bytes=1000, never_slower=True)
    assert completed(target(), budget).limits == {
        "max_drop_pp": 0.5,
        "max_size_bytes": 1000.0,
        "never_slower": LIMIT,
    }


def test_validate_hands_down_flips_of_each_artifact_that_has_classes() -> None:
    row: ValidatedRow = golden("validate").artifacts[0]
    found: Any = SimpleNamespace(labels=(FLOAT, CHANGED, None))
    first, second = _with_flips((row, row), found, DATA)
    assert first.flips is not None
    assert first.flips.count == 1
    assert second.flips is None
    without: Any = SimpleNamespace(labels=(None, CHANGED))
    assert _with_flips((row,), without, DATA) == (row,)
