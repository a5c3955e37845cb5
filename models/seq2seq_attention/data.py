"""Seeded dates as people write them -> characters (batch, 24) and, as labels, the ten characters of ISO 8601.

    "3 March 2021"  ->  "2021-03-03"

Every fifth day of a hundred years is kept for evaluation: the model never saw those days in any form.
"""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

LENGTH = 24  # the longest form, "Wednesday, 27 Sept 1995", has 23 characters
CHARACTERS = (
    "\0 ,./-" + string.digits + string.ascii_letters
)  # a character's number is its place; 0 is padding
SYMBOLS = string.digits + "-"  # of the answer
FIRST, LAST = dt.date(1950, 1, 1).toordinal(), dt.date(2049, 12, 31).toordinal()
HELD_OUT = 5
CALIBRATION = 256
EVALUATION = 1000
BATCH = 100
TRAINING_SEED, CALIBRATION_SEED, EVALUATION_SEED = 0, 1, 2

Int64 = npt.NDArray[np.int64]
# written out here, because strftime depends on the machine's language
# fmt: off
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)
# fmt: on
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def written(day: dt.date, form: int) -> str:
    """``day`` in one of eight forms; where only figures are written, the day comes before the month."""
    month, weekday = MONTHS[day.month - 1], DAYS[day.weekday()]
    forms = (
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{weekday[:3]} {day.day} {month[:3]} {day.year}",
        f"{weekday}, {day.day} {month[:4]} {day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"{day.day:02}/{day.month:02}/{day.year}",
        f"{day.year} {month} {day.day}",
    )
    return forms[form]


FORMS = 8


def encoded(text: str) -> list[int]:
    """Numbers of the characters, padded to LENGTH."""
    return [CHARACTERS.index(character) for character in text.ljust(LENGTH, "\0")]


def dates(count: int, *, seed: int, held_out: bool) -> tuple[Int64, Int64]:
    """Characters (count, 24) and answers (count, 10) of days that are, or are not, held out."""
    rng = np.random.default_rng(seed)
    days = np.arange(FIRST, LAST + 1)
    days = rng.choice(days[(days % HELD_OUT == 0) == held_out], count)
    forms = rng.integers(0, FORMS, count)
    pairs = [(dt.date.fromordinal(int(day)), int(form)) for day, form in zip(days, forms, strict=True)]
    characters = [encoded(written(day, form)) for day, form in pairs]
    answers = [[SYMBOLS.index(symbol) for symbol in day.isoformat()] for day, _ in pairs]
    return np.array(characters, np.int64), np.array(answers, np.int64)


def calibration() -> Iterator[dict[str, Int64]]:
    """Days that training may have seen."""
    characters, _ = dates(CALIBRATION, seed=CALIBRATION_SEED, held_out=False)
    for start in range(0, CALIBRATION, BATCH):
        yield {"characters": characters[start : start + BATCH]}


def evaluation() -> Iterator[dict[str, Int64]]:
    """Days that were held out."""
    characters, answers = dates(EVALUATION, seed=EVALUATION_SEED, held_out=True)
    for start in range(0, EVALUATION, BATCH):
        yield {"characters": characters[start : start + BATCH], "labels": answers[start : start + BATCH]}
