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
        folded: HTML shows the title alone until it is opened.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    detail: bool = False
    brief: int = 0
    folded: bool = False


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
        folded: HTML shows the title alone until it is opened.
    """

    title: str
    items: tuple[Line, ...]
    detail: bool = False
    brief: int = 0
    short: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A figure with its interval; the ends are the figure itself where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in a panel.

    Attributes:
        number: in the picture and in the table below it.
        words: what a pointer that rests on it reads.
        shape: which kind of marker; the caption says what for.
        is_float: drawn hollow.
        ships: drawn with a ring.
        beaten: drawn pale.
    """

    number: int
    words: str
    tone: Tone
    x: Value
    y: Value
    shape: int = 0
    is_float: bool = False
    ships: bool = False
    beaten: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A line in a plot: a gate, or where float is."""

    value: float
    label: str


@dataclass(frozen=True)
class Panel:
    """One plot; all of a scatter share the vertical axis."""

    x_title: str
    points: tuple[Point, ...]
    limits: tuple[Limit, ...] = ()
    suffix: str = ""


@dataclass(frozen=True)
class Scatter:
    """Accuracy drop over several figures, a point for each candidate; the table has the same in words.

    Only HTML draws it: terminals and markdown have the tables of each target.

    Attributes:
        names: of the numbers, from 1.
    """

    title: str
    y_title: str
    panels: tuple[Panel, ...]
    limits: tuple[Limit, ...]
    table: Table
    names: tuple[str, ...] = ()
    caption: tuple[str, ...] = ()
    detail: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart.

    Attributes:
        text: the figure in words.
        value: from the chart's ``left`` to here; its ends are a whisker. None = nothing was measured.
        second: end of a thinner bar below.
        note: what else is to be said, below the name.
    """

    label: str
    text: str
    value: Value | None
    tone: Tone = "plain"
    second: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars on one axis; only HTML draws them, because a table with the same figures stands beside it.

    Attributes:
        left: value at the left end of the axis; larger than ``right`` where the axis runs backwards.
        right: value at the right end.
        origin: where bars begin.
        limits: values with a line of their own.
    """

    title: str
    bars: tuple[Bar, ...]
    left: float
    right: float
    origin: float
    limits: tuple[Limit, ...] = ()
    caption: str = ""
    detail: bool = True


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line over some samples of a trend, by their places from 0; ``label`` at its beginning."""

    first: int
    last: int
    value: float
    label: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class TrendSample:
    """One sample of a trend, in words and as a figure; ``tone`` warns of one that is not to be relied on."""

    words: str
    value: Value
    tone: Tone = "plain"


@dataclass(frozen=True)
class Trend:
    """Figures in the order in which they were taken; only HTML draws it, because a table has them too.

    Attributes:
        levels: lines that say what the samples amount to; where one begins after another, a mark.
        names: ends of the horizontal axis in words, where the numbers of the samples are not enough.
    """

    title: str
    x_title: str
    y_title: str
    samples: tuple[TrendSample, ...]
    levels: tuple[Level, ...] = ()
    names: tuple[str, str] = ("", "")
    caption: str = ""
    detail: bool = True


@dataclass(frozen=True, slots=True)
class Tile:
    """A sample: its picture ("" = none; a data URI), and names with values below it."""

    picture: str
    title: str
    items: tuple[tuple[str, str], ...]
    tone: Tone = "plain"


@dataclass(frozen=True)
class Gallery:
    """Samples side by side; only HTML shows them."""

    title: str
    tiles: tuple[Tile, ...]
    caption: str = ""
    detail: bool = True


@dataclass(frozen=True, slots=True)
class RoofPoint:
    """One kernel under the roof.

    Attributes:
        intensity: operations per byte.
        gops: billions of operations per second.
        share: of the time: the area of its dot.
        words: what a pointer that rests on it reads.
    """

    intensity: float
    gops: float
    share: float
    words: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class RoofLine:
    """A peak in GOP/s, or a bandwidth in GB/s."""

    value: float
    label: str


@dataclass(frozen=True)
class Roofline:
    """Rates over intensities, logarithmic; only HTML draws it: the table has the same in words."""

    title: str
    points: tuple[RoofPoint, ...]
    peaks: tuple[RoofLine, ...]
    slopes: tuple[RoofLine, ...]
    caption: tuple[str, ...] = ()
    detail: bool = True


@dataclass(frozen=True)
class Heading:
    """The start of a part of a report."""

    title: str
    detail: bool = True


Block = Table | Facts | Lines | Scatter | Bars | Trend | Gallery | Roofline | Heading


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


def is_empty(block: Block) -> bool:
    """Whether a block has nothing to show."""
    match block:
        case Table(rows=content) | Lines(items=content) | Facts(items=content):
            return not content
        case Bars(bars=content) | Gallery(tiles=content):
            return not content
        case Roofline(points=points):
            return not points
        case Trend(samples=samples):
            return not samples
        case Scatter(panels=panels):
            return not panels
        case Heading():
            return False
