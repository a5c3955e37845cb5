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
    assert (report.passed, report.max_abs, report.relative_to_range, report.cases) == (True, 0.0, 0.0, 3)


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
    assert report.worst_output == "z"
    assert report.relative_to_range == pytest.approx(0.005)
    assert report.max_abs == pytest.approx(0.01)
    assert report.passed


def test_the_tolerance_is_the_border() -> None:
    off = runner(y=lambda x: np.asarray(np.clip(x, 0, 1) * np.float32(1.01)))
    exact = runner(y=lambda x: np.clip(x, 0, 1))
    figure = check(exact, off, tolerance=1.0, seed=SEED).relative_to_range
    assert check(exact, off, tolerance=figure, seed=SEED).passed
    assert not check(exact, off, tolerance=figure * 0.99, seed=SEED).passed


def test_constant_output_is_measured_by_its_magnitude() -> None:
    report = check(
        runner(y=lambda x: np.full_like(x, 50)),
        runner(y=lambda x: np.full_like(x, 51)),
        tolerance=1,
        seed=SEED,
    )
    assert report.relative_to_range == pytest.approx(0.02)


def test_zero_output_is_measured_as_it_is() -> None:
    report = check(
        runner(y=np.zeros_like), runner(y=lambda x: np.full_like(x, 0.5)), tolerance=1e-4, seed=SEED
    )
    assert (report.relative_to_range, report.passed) == (0.5, False)


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
        assert math.isinf(report.relative_to_range)


def test_a_fault_that_only_batches_show_is_seen() -> None:
    broken = runner(y=lambda x: np.broadcast_to(x[:1], x.shape).copy())
    assert not check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED).passed
    assert check(runner(y=np.copy), broken, tolerance=1e-4, seed=SEED, cases=1).passed  # batch 1 hides it


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
