"""Inside the block the collector walks rarely, and still walks; outside it is what it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from edgekit.frontends.collect_rarely import OBJECTS, collect_rarely


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class Knot:
    def __init__(self) -> None:
        self.self = self


def test_the_threshold_comes_back_after_an_error() -> None:
    def fail() -> None:
        with collect_rarely():
            assert gc.get_threshold()[0] == OBJECTS
            raise ValueError("inside")

    before = gc.get_threshold()
    with pytest.raises(ValueError, match="inside"):
        fail()
    assert gc.get_threshold() == before


@pytest.mark.parametrize(("first", "inside"), [(0, 0), (10, OBJECTS), (2 * OBJECTS, 2 * OBJECTS)])
def test_off_stays_off_and_higher_stays_higher(first: int, inside: int) -> None:
    gc.set_threshold(first, 7, 8)
    with collect_rarely():
        assert gc.get_threshold() == (inside, 7, 8)
    assert gc.get_threshold() == (first, 7, 8)


def test_knots_are_still_collected_inside() -> None:
    with collect_rarely():
        knot = weakref.ref(Knot())
        kept = [[] for _ in range(2 * OBJECTS)]  # type: list[list[int]]
        assert knot() is None
        assert len(kept) == 2 * OBJECTS
