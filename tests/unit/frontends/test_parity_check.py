"""parity.check against runners made of NumPy: what passes, and each way to go red."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import ExportError
from edgekit.frontends.parity import check
from edgekit.frontends.request import FunctionRunner
from edgekit.spec import TensorSpec

Floats = npt.NDArray[np.float32]

SEED = 7
X = TensorSpec("x", "float32", ("batch", 4))


def runner(**functions: Callable[[Any], Any]) -> FunctionRunner:
    outputs = tuple(TensorSpec(name, "float32", ("batch", 4)) for name in functions)
    return FunctionRunner((X,), outputs, lambda arrays: {n: f(arrays[0]) for n, f in functions.items()})


def test_equal_runners_differ_by_nothing() -> None:
    report = check(runner(y=np.tanh), runner(y=np.tanh), tolerance=1e-4, seed=SEED)
    assert (report.passed, report.cases, report.from_data) == (True, 3, 0)
    assert (report.worst.max_abs, report.worst.relative, report.worst.ulps) == (0.0, 0.0, 0.0)
    assert report.worst.label_agreement == 1.0


def test_difference_is_relative_to_the_range_of_the_worst_output() -> None:
    # y spans 2000 and is off by 1; z spans 2 and is off by 0.01: z is worse, by 0.005 against 0.0005.
    def wide(x: Floats) -> Any:
        return np.where(np.arange(4) == 0, -1000.0, 1000.0) + 0 * x

    def narrow(x: Floats) -> Any:
        return np.where(np.arange(4) == 0, -1.0, 1.0) + 0 * x

    report = check(
        runner(y=wide, z=narrow),
        runner(y=lambda x: wide(x) + 1.0, z=lambda x: narrow(x) + 0.01),
        tolerance=1e-2,
        seed=SEED,
    )
    assert report.worst.name == "z"
    assert report.worst.relative == pytest.approx(0.005)
    assert report.worst.max_abs == pytest.approx(0.01)
    assert [each.name for each in report.outputs] == ["y", "z"]
    assert report.passed


def test_the_tolerance_is_the_border() -> None:
    off = runner(y=lambda x: np.asarray(np.clip(x, 0, 1) * np.float32(1.01)))
    exact = runner(y=lambda x: np.clip(x, 0, 1))
    figure = check(exact, off, tolerance=1.0, seed=SEED).worst.relative
    assert check(exact, off, tolerance=figure, seed=SEED).passed
    assert not check(exact, off, tolerance=figure * 0.99, seed=SEED).passed


def test_constant_output_is_measured_by_its_magnitude() -> None:
    report = check(
        runner(y=lambda x: np.full_like(x, 50)),
        runner(y=lambda x: np.full_like(x, 51)),
        tolerance=1,
        seed=SEED,
    )
    assert report.worst.relative == pytest.approx(0.02)


def test_zero_output_is_measured_as_it_is() -> None:
    report = check(
        runner(y=np.zeros_like), runner(y=lambda x: np.full_like(x, 0.5)), tolerance=1e-4, seed=SEED
    )
    assert (report.worst.relative, report.passed) == (0.5, False)


@dataclass(frozen=True)
class Odd:
    id: str
    reference: float
    candidate: float
    passed: bool


@pytest.mark.parametrize(
    "case",
    [
        Odd("nan-in-candidate", 1.0, math.nan, passed=False),
        Odd("nan-in-reference", math.nan, 1.0, passed=False),
        Odd("infinity-in-candidate", 1.0, math.inf, passed=False),
        Odd("infinities-of-two-signs", math.inf, -math.inf, passed=False),
        Odd("same-nan", math.nan, math.nan, passed=True),
        Odd("same-infinity", -math.inf, -math.inf, passed=True),
    ],
    ids=lambda case: case.id,
)
def test_nan_and_infinity_are_equal_only_to_themselves(case: Odd) -> None:
    def first(value: float) -> Callable[[Any], Any]:
        return lambda x: np.where(np.arange(4) == 0, np.float32(value), x)

    report = check(
        runner(y=first(case.reference)), runner(y=first(case.candidate)), tolerance=1e-4, seed=SEED
    )
    assert report.passed is case.passed
    if not case.passed:
        assert math.isinf(report.worst.relative)


def test_a_fault_that_only_batches_show_is_seen() -> None:
    broken = runner(y=lambda x: np.broadcast_to(x[:1], x.shape).copy())
    assert not check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED).passed
    assert check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED, cases=1).passed  # batch 1 hides it


def test_the_difference_is_said_in_units_in_the_last_place() -> None:
    eight = runner(y=lambda x: np.full_like(x, 8))
    off = runner(y=lambda x: np.full_like(x, 8) + 3 * np.spacing(np.float32(8)))
    assert check(eight, off, tolerance=1e-4, seed=SEED).worst.ulps == pytest.approx(3.0)


def test_a_clear_class_that_changes_fails_inside_the_tolerance() -> None:
    def scores(first: float) -> Callable[[Any], Any]:
        return lambda x: np.tile(np.array([first, 1.0, -1.0, 0.0], np.float32), (len(x), 1))

    # Both scores move by 0.06 of a range of 2.1: less than 0.04, and the margin of 0.1 turns around.
    want = scores(1.1)
    flipped = check(
        runner(y=want),
        runner(y=lambda x: want(x) + np.array([-0.06, 0.06, 0, 0], np.float32)),
        tolerance=0.04,
        seed=SEED,
    )
    assert flipped.worst.relative < 0.04
    assert flipped.worst.label_agreement == 0.0
    assert not flipped.passed
    tie = check(runner(y=scores(1.001)), runner(y=scores(0.999)), tolerance=0.04, seed=SEED)
    assert (tie.worst.label_agreement, tie.passed) == (0.0, True)  # a tie of the model's own


def test_real_data_shows_what_random_inputs_do_not() -> None:
    broken = runner(y=lambda x: np.where(x > 100, 0, x))
    data = [{"x": np.full((2, 4), 200, np.float32)}]
    assert check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED).passed
    report = check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED, data=data)
    assert (report.passed, report.cases, report.from_data) == (False, 4, 1)


@pytest.mark.parametrize(
    ("off", "share", "passed"),
    [(1, 1.0, True), (2, 0.02, True), (2, 0.2, False), (6, 0.02, False)],
    ids=["one step everywhere", "two steps, rarely", "two steps, often", "six steps, rarely"],
)
def test_quantized_outputs_are_judged_in_steps(off: int, share: float, passed: bool) -> None:
    spec = TensorSpec("x", "float32", ("batch", 500))
    moved = off * 0.25 * (np.random.default_rng(SEED).random(500) < share)
    want, have = (
        FunctionRunner((spec,), (TensorSpec("y", "float32", ("batch", 500)),), function)
        for function in (
            lambda arrays: {"y": np.round(arrays[0]) * 0.25},
            lambda arrays: {"y": np.round(arrays[0]) * 0.25 + moved.astype(np.float32)},
        )
    )
    report = check(want, have, tolerance=1e-4, seed=SEED, output_steps={"y": 0.25})
    assert report.passed is passed
    assert report.worst.steps_95 is not None


def test_an_output_without_a_step_is_judged_by_its_range() -> None:
    def ramp(x: Floats) -> Any:
        return np.tile(np.array([0, 255, 100, 3], np.float32), (len(x), 1))

    near = runner(y=lambda x: ramp(x) + np.float32(0.9))
    far = runner(y=lambda x: ramp(x) + np.float32(1.2))
    assert check(runner(y=ramp), near, tolerance=1e-4, seed=SEED, output_steps={}).passed
    assert not check(runner(y=ramp), far, tolerance=1e-4, seed=SEED, output_steps={}).passed


def test_integer_outputs_are_compared() -> None:
    def sign(x: Floats) -> Any:
        return np.asarray(x > 0.5).astype(np.int64)

    assert check(runner(y=sign), runner(y=sign), tolerance=0.0, seed=SEED).passed
    assert not check(runner(y=sign), runner(y=lambda x: 1 - sign(x)), tolerance=1e-4, seed=SEED).passed


def test_other_output_names_are_refused() -> None:
    with pytest.raises(ExportError, match="reference has outputs y, its export z"):
        check(runner(y=np.copy), runner(z=np.copy), tolerance=1e-4, seed=SEED)


def test_other_output_shapes_are_refused() -> None:
    with pytest.raises(ExportError, match=r"output 'y' is \(1, 4\) in the reference and \(1, 2\)"):
        check(runner(y=np.copy), runner(y=lambda x: x[:, :2]), tolerance=1e-4, seed=SEED)


def test_same_seed_same_report() -> None:
    off = runner(y=lambda x: x * np.float32(1.001))
    assert check(runner(y=np.copy), off, tolerance=1, seed=3) == check(
        runner(y=np.copy), off, tolerance=1, seed=3
    )
