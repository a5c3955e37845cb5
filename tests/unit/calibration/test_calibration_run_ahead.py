"""run_ahead: order kept, two results ahead and no more, errors where their result would be."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgekit.calibration.run_ahead import run_ahead


def test_items_and_results_come_in_order() -> None:
    assert list(run_ahead(range(5), str)) == [(number, str(number)) for number in range(5)]
    assert list(run_ahead([], str)) == []


def test_two_items_are_read_ahead_and_no_more() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            read.append(number)
            yield number

    for item, _ in run_ahead(items(), str):
        assert read[-1] == min(item + 2, 4)


def test_the_next_two_results_are_computed_while_one_is_looked_at() -> None:
    """Red without the other threads: the wait for item 1 would never end."""
    begun = [threading.Event() for _ in range(4)]

    def compute(item: int) -> int:
        begun[item].set()
        return item

    for item, _ in run_ahead(range(4), compute):
        assert begun[min(item + 2, 3)].wait(timeout=60)


def test_an_error_comes_in_place_of_its_result() -> None:
    seen: list[int] = []

    def compute(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    running = run_ahead(range(5), compute)
    seen.extend(next(running)[0] for _ in range(2))
    with pytest.raises(ValueError, match="item 2"):
        next(running)
    assert seen == [0, 1]


def test_leaving_early_waits_for_what_runs() -> None:
    done: list[int] = []
    running = run_ahead(range(5), done.append)
    next(running)
    running.close()
    assert sorted(done) == [0, 1, 2]
