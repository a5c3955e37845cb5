"""`make test` begins with what is long: modules with slow tests, then those with many tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import pytest_collection_modifyitems

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Item:
    """What the hook looks at."""

    name: str
    path: Path
    slow: bool = False

    def get_closest_marker(self, name: str) -> object:
        return pytest.mark.slow if self.slow and name == "slow" else None


def ordered(*items: Item) -> list[str]:
    found: list[Any] = [*items]
    pytest_collection_modifyitems(cast("list[pytest.Item]", found))
    return [each.name for each in found]


def test_slow_modules_come_first_then_large_ones() -> None:
    small, large, slow = (Path(f"test_{name}.py") for name in ("small", "large", "slow"))
    items = (
        Item("small 1", small),
        Item("large 1", large),
        Item("large 2", large),
        Item("quick test of slow", slow),
        Item("slow test of slow", slow, slow=True),
    )
    wanted = ["quick test of slow", "slow test of slow", "large 1", "large 2", "small 1"]
    assert ordered(*items) == wanted
    assert ordered(*items[:4]) == ["large 1", "large 2", "small 1", "quick test of slow"]  # without the mark


def test_the_scheduler_keeps_that_order() -> None:
    """xdist would sort by the number of tests alone, and the longest modules have few."""
    (line,) = (each for each in (ROOT / "Makefile").read_text("utf-8").splitlines() if "-m pytest" in each)
    assert "--dist loadscope --no-loadscope-reorder" in line
