"""A float model asked again for what it was asked before."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from edgekit.pipeline.remembered import Remembered
from edgekit.spec import Array, Feeds, Session, TensorSpec

X, Y = TensorSpec("x", "float32", (None, 2)), TensorSpec("y", "float32", (None, 2))
ONE, TWO = np.array([[1, 2]], np.float32), np.array([[3, 4]], np.float32)


class Doubling:
    def __init__(self) -> None:
        self.runs = self.closed = 0

    def run(self, feeds: Feeds) -> dict[str, Array]:
        self.runs += 1
        return {"y": feeds["x"] * 2}

    def close(self) -> None:
        self.closed += 1


def remembered(session: Doubling, **more: Any) -> Remembered:
    return Remembered(lambda: cast("Session", session), inputs=(X,), outputs=(Y,), **more)


def test_the_same_feeds_are_run_once() -> None:
    session = Doubling()
    with remembered(session) as runner:
        for _ in range(3):
            np.testing.assert_array_equal(runner.run({"x": ONE})["y"], [[2, 4]])
        np.testing.assert_array_equal(runner.run({"x": TWO})["y"], [[6, 8]])
    assert (session.runs, session.closed) == (2, 1)


def test_what_a_caller_does_to_its_copy_changes_nothing() -> None:
    runner = remembered(Doubling())
    runner.run({"x": ONE})["y"][:] = 0
    np.testing.assert_array_equal(runner.run({"x": ONE})["y"], [[2, 4]])


def test_the_same_bytes_in_another_shape_or_type_are_other_feeds() -> None:
    session = Doubling()
    runner = remembered(session)
    runner.run({"x": ONE})
    assert runner.run({"x": ONE.reshape(2, 1)})["y"].shape == (2, 1)
    assert runner.run({"x": ONE.view(np.int32)})["y"].dtype == np.int32
    assert session.runs == 3


def test_beyond_its_room_it_runs_again() -> None:
    session = Doubling()
    runner = remembered(session, kept_bytes=ONE.nbytes)
    for feeds in (ONE, TWO, ONE, TWO):
        np.testing.assert_array_equal(runner.run({"x": feeds})["y"], feeds * 2)
    assert session.runs == 3


def test_nothing_is_opened_before_it_is_needed() -> None:
    session = Doubling()
    runner = remembered(session)
    runner.close()
    assert (session.runs, session.closed) == (0, 0)
