"""Rows in blocks: all of them, in order, on several cores, and the BLAS on one thread meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # no stubs

from edgekit.pruning import row_blocks
from edgekit.pruning.row_blocks import by_rows

SHAPE = (10, 5)


def _blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture(params=[1, 3])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(row_blocks, "AT_ONCE", 20)  # four rows, four rows, two
    monkeypatch.setattr(row_blocks, "threads", lambda: request.param)
    return int(request.param)


def test_every_row_once_and_results_in_order(cores: int) -> None:
    del cores
    seen = np.zeros(SHAPE)

    def work(rows: slice) -> int:
        seen[rows] += 1
        return int(rows.start)

    assert by_rows(work, SHAPE) == [0, 4, 8]
    assert (seen == 1).all()


def test_blocks_run_at_the_same_time_and_the_blas_has_one_thread(cores: int) -> None:
    """Sabotage: one after the other, the barrier breaks; without the limit the BLAS has all cores."""
    before = _blas_threads()
    together = threading.Barrier(3) if cores > 1 else threading.Barrier(1)

    def work(rows: slice) -> set[int]:
        del rows
        together.wait(timeout=20)
        found = _blas_threads()
        together.wait(timeout=20)
        return found

    found = by_rows(work, SHAPE)
    assert found == [{1} if cores > 1 else before] * 3
    assert _blas_threads() == before


def test_an_error_in_a_block_is_the_callers_and_the_blas_has_its_threads_again(cores: int) -> None:
    del cores
    before = _blas_threads()

    def work(rows: slice) -> Any:
        raise ValueError(rows.start)

    with pytest.raises(ValueError, match="0"):
        by_rows(work, SHAPE)
    assert _blas_threads() == before
