"""Significant digits, sizes, intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report import number


@dataclass(frozen=True)
class Case:
    value: float | None
    text: str

    def __str__(self) -> str:
        return self.text


SIGNIFICANT = [
    Case(0.000031, "3.1e-5"),
    Case(0.0000312345, "3.12e-5"),
    Case(0.00012345, "0.000123"),
    Case(0.95, "0.950"),
    Case(1.0, "1.00"),
    Case(123.4, "123"),
    Case(999.7, "1,000"),
    Case(12345.6, "12,346"),
    Case(-0.5, "-0.500"),
    Case(0.0, "0"),
    Case(None, "-"),
    Case(math.nan, "not a number"),
    Case(math.inf, "infinite"),
    Case(-math.inf, "-infinite"),
]
SIZES = [
    Case(0, "0 B"),
    Case(999, "999 B"),
    Case(1000, "1.00 kB"),
    Case(61733, "61.7 kB"),
    Case(999_600, "1.00 MB"),
    Case(4_560_000_000, "4.56 GB"),
    Case(None, "-"),
]


@pytest.mark.parametrize("case", SIGNIFICANT, ids=str)
def test_three_significant_digits(case: Case) -> None:
    assert number.significant(case.value) == case.text


@pytest.mark.parametrize("case", SIZES, ids=str)
def test_sizes(case: Case) -> None:
    assert number.size(None if case.value is None else int(case.value)) == case.text


@given(st.floats(min_value=1e-30, max_value=1e30))
def test_a_small_number_never_reads_as_zero(value: float) -> None:
    text = number.significant(value)
    assert text != "0"
    # half of the third digit: 0.5 % of the value at most
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.00501)


def test_a_sign_stands_before_a_loss_and_a_gain_alike() -> None:
    assert number.signed(0.111) == "+0.111"
    assert number.signed(-0.111) == "-0.111"
    assert number.signed(0) == "0"
    assert number.interval(0.11, -0.2, 0.4, unit=" pp", plus=True) == "+0.110 pp [-0.200, +0.400]"


def test_percent_and_given_numbers() -> None:
    assert number.percent(0.9955) == "99.55 %"
    assert number.percent(None) == "-"
    assert [number.given(x) for x in (0.001, 400.0, 1e-5)] == ["0.001", "400", "1e-5"]
