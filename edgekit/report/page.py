"""The blocks that every rendered result is made of: views fill them, renderers draw them.

    result --view--> Page(title, verdict, blocks) --text | markdown | html--> str

A view decides what is said and in which order; a renderer decides how it looks. Neither computes a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad", "warn", "muted"]
"""What a value means to the reader: renderers turn it into colour, never into words."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table, already in words; ``note`` qualifies it (an interval) and may stand below it."""

    text: str
    tone: Tone = "plain"
    note: str = ""

    @property
    def whole(self) -> str:
        """Value and note on one line."""
        return f"{self.text} {self.note}" if self.note else self.text


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title (with the unit) and whether numbers in it are aligned to the right.

    Attributes:
        cut: whether a narrow terminal may leave out the beginning of its values; reports hold all of them.
    """

    title: str
    right: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; the first column names the row.

    Attributes:
        detail: left out of the terminal, where the short form is wanted; reports hold everything.
        brief: how many of the first rows the short form shows; 0 for all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    detail: bool = False
    brief: int = 0


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    title: str
    items: tuple[tuple[str, str], ...]
    detail: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Lines:
    """Sentences below a title ("" for none).

    Attributes:
        brief: how many of the first ones the short form shows; 0 for all.
        short: for the short form only: it says what is left out there.
    """

    title: str
    items: tuple[Line, ...]
    detail: bool = False
    brief: int = 0
    short: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in the plot, with the intervals of both axes."""

    label: str
    tone: Tone
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


@dataclass(frozen=True)
class Scatter:
    """Accuracy drop over latency ratio, one point per candidate; lines mark where float is."""

    title: str
    x_title: str
    y_title: str
    x_reference: float
    y_reference: float
    points: tuple[Point, ...]
    caption: str = ""
    detail: bool = True


@dataclass(frozen=True)
class Heading:
    """The start of a part of a report."""

    title: str
    detail: bool = True


Block = Table | Facts | Lines | Scatter | Heading


@dataclass(frozen=True)
class Page:
    """A whole result.

    Attributes:
        verdict: the outcome in a few words; "" for a result that judges nothing.
    """

    title: str
    verdict: str
    tone: Tone
    blocks: tuple[Block, ...]
