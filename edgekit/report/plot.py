"""Panel -> one inline SVG: numbered markers with error bars, limits as dashed lines.

    pixel = margin + (value - low) / (high - low) * length

Ticks are multiples of 1, 2 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels", Graphics
Gems, 1990). Colours come from the page's style sheet, so that light and dark need one picture. A marker that
would cover another steps aside, and a thin line leads to its place. A limit that is so far away that the
candidates would shrink to a dot is left out of the picture; the caption says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from edgekit.report.page import Limit, Panel, Point, Value

_WIDTH, _HEIGHT = 400, 310  # viewBox: at a phone's 330 px the 13-unit text is still 10 px high
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 12, 46
_RADIUS = 8.5
_WANTED_TICKS = 6
_PADDING = 0.09  # part of an axis left free at each end, so that no marker is cut
_STRETCH = 2.5  # times the range of the data that a limit may make an axis
_SHAPES = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class Axis:
    """Values ``low`` to ``high`` -> pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def pixel(self, value: float) -> float:
        """Where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether a value is in the picture."""
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        raw = (self.high - self.low) / _WANTED_TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= raw * 0.999)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def render(panel: Panel, *, y_title: str, y_limits: Sequence[Limit], name: str) -> str:
    """The picture; ``name`` makes its parts' identifiers unique in the page."""
    points = [p for p in panel.points if math.isfinite(p.x.value) and math.isfinite(p.y.value)]
    x = axis([_ends(p.x) for p in points], panel.limits, _LEFT, _WIDTH - _RIGHT)
    y = axis([_ends(p.y) for p in points], y_limits, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}-title {name}-text">',
        f'<title id="{name}-title">{escape(f"{y_title} over {panel.x_title}")}</title>',
        f'<desc id="{name}-text">{escape("; ".join(f"{p.number}: {p.words}" for p in points))}</desc>',
        *_grid(x, y, panel.suffix),
        *_vertical(panel.limits, x),
        *(_horizontal(limit, y, beside=panel.limits, x=x) for limit in y_limits if y.shows(limit.value)),
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, panel.x_title, anchor="middle"),
        text(-(_TOP + _HEIGHT - _BOTTOM) / 2, 13, y_title, anchor="middle", turned=True),
        *(bar for point in points for bar in _bars(point, x, y)),
    ]
    taken: list[tuple[float, float]] = []
    for point in points:
        taken.append(_free_place(x.pixel(point.x.value), y.pixel(point.y.value), taken))
    placed = list(zip(points, taken, strict=True))
    parts += [_lead(x.pixel(p.x.value), y.pixel(p.y.value), at) for p, at in placed]
    parts += [_marker(point, *at) for point, at in placed]
    return "".join([*parts, "</svg>"])


def left_out(panel: Panel, y_limits: Sequence[Limit]) -> list[Limit]:
    """The limits that lie outside the picture."""
    x = axis([_ends(p.x) for p in panel.points], panel.limits, _LEFT, _WIDTH - _RIGHT)
    y = axis([_ends(p.y) for p in panel.points], y_limits, _HEIGHT - _BOTTOM, _TOP)
    return [limit for limit in panel.limits if not x.shows(limit.value)] + [
        limit for limit in y_limits if not y.shows(limit.value)
    ]


def _ends(figure: Value) -> tuple[float, ...]:
    return figure.value, figure.low, figure.high


def axis(figures: Iterable[tuple[float, ...]], limits: Sequence[Limit], start: float, end: float) -> Axis:
    """An axis that shows all figures, and the limits that are not too far away."""
    finite = [value for ends in figures for value in ends if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    span = (high - low) or abs(high) or 1.0
    for limit in limits:
        wider = max(high, limit.value) - min(low, limit.value)
        if wider <= _STRETCH * span:
            low, high = min(low, limit.value), max(high, limit.value)
    span = (high - low) or abs(high) or 1.0
    return Axis(low - _PADDING * span, high + _PADDING * span, start, end)


def _grid(x: Axis, y: Axis, suffix: str) -> list[str]:
    parts = []
    for value in x.ticks():
        parts.append(line("grid", x.pixel(value), _TOP, x.pixel(value), _HEIGHT - _BOTTOM))
        parts.append(text(x.pixel(value), _HEIGHT - _BOTTOM + 16, tick(value) + suffix, anchor="middle"))
    for value in y.ticks():
        parts.append(line("grid", _LEFT, y.pixel(value), _WIDTH - _RIGHT, y.pixel(value)))
        parts.append(text(_LEFT - 6, y.pixel(value) + 4, tick(value), anchor="end"))
    return parts


def tick(value: float) -> str:
    """A value at an axis."""
    return f"{value:g}" if abs(value) > 1e-12 else "0"  # 0 may come out of a product as 1e-17


def _vertical(limits: Sequence[Limit], x: Axis) -> list[str]:
    """Lines from top to bottom; labels stand along them, away from the next line, where drops are rare."""
    parts = []
    shown = sorted((limit for limit in limits if x.shows(limit.value)), key=lambda limit: limit.value)
    for index, limit in enumerate(shown):
        at = x.pixel(limit.value)
        left = index < len(shown) - 1 or (len(shown) == 1 and at > (_LEFT + _WIDTH - _RIGHT) / 2)
        parts.append(line("limit", at, _TOP, at, _HEIGHT - _BOTTOM))
        beside = at + (-5 if left else 13)
        parts.append(text(-_TOP - 4, beside, limit.label, anchor="end", turned=True))
    return parts


def _horizontal(limit: Limit, y: Axis, *, beside: Sequence[Limit], x: Axis) -> str:
    """A line from side to side; its label stands where no vertical line has its own."""
    at = y.pixel(limit.value)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    right = any(x.shows(each.value) and x.pixel(each.value) < middle for each in beside)
    place, anchor = (_WIDTH - _RIGHT - 5, "end") if right else (_LEFT + 5, "start")
    label = text(place, at + (13 if at < _TOP + 18 else -5), limit.label, anchor=anchor)
    return line("limit", _LEFT, at, _WIDTH - _RIGHT, at) + label


def _bars(point: Point, x: Axis, y: Axis) -> list[str]:
    tone = f"bar {point.tone}" + (" beaten" if point.beaten else "")
    across, up = x.pixel(point.x.value), y.pixel(point.y.value)
    return [
        line(tone, x.pixel(point.x.low), up, x.pixel(point.x.high), up),
        line(tone, across, y.pixel(point.y.low), across, y.pixel(point.y.high)),
    ]


def _lead(x: float, y: float, at: tuple[float, float]) -> str:
    """From a point to its marker, where that stands aside; below all markers."""
    if at == (x, y):
        return ""
    return line("lead", x, y, *at) + f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'


def _marker(point: Point, cx: float, cy: float) -> str:
    kinds = [point.tone, *(name for name in ("is_float", "ships", "beaten") if getattr(point, name))]
    ring = f'<circle class="ring" cx="{cx:.1f}" cy="{cy:.1f}" r="{_RADIUS + 4}"/>' if point.ships else ""
    shape = _SHAPES[point.shape % len(_SHAPES)]
    small = ' class="two"' if point.number > 9 else ""  # two digits
    return (
        f'<g class="marker {" ".join(kinds)}"><title>{escape(f"{point.number}: {point.words}")}</title>'
        f"{ring}{_shape(shape, cx, cy, kind='ground')}{_shape(shape, cx, cy, kind='body')}"
        f'<text{small} x="{cx:.1f}" y="{cy + 3.6:.1f}" text-anchor="middle">{point.number}</text></g>'
    )


def _free_place(x: float, y: float, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The place nearest to the point, itself first, where no other marker is."""
    apart = 2 * _RADIUS + 5  # rings included
    for away in range(8):
        for turn in range(8 if away else 1):
            angle = math.pi / 4 * turn - math.pi / 2  # upwards first
            at = (x + away * apart * math.cos(angle), y + away * apart * math.sin(angle))
            inside = _LEFT + _RADIUS < at[0] < _WIDTH - _RIGHT - _RADIUS
            inside = inside and _TOP + _RADIUS < at[1] < _HEIGHT - _BOTTOM - _RADIUS
            if (inside or not away) and all(math.dist(at, other) >= apart - 0.01 for other in taken):
                return at
    return x, y


def _shape(shape: str, x: float, y: float, *, kind: str) -> str:
    """Shapes of about one area; "ground" covers what is below, so that a pale body stays pale."""
    r = _RADIUS
    match shape:
        case "circle":
            return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
        case "square":
            half = 0.89 * r
            corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
        case "diamond":
            corners = [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)]
        case _:
            corners = [(0, -1.6 * r), (1.5 * r, 0.95 * r), (-1.5 * r, 0.95 * r)]
    places = " ".join(f"{x + across:.1f},{y + up:.1f}" for across, up in corners)
    return f'<polygon class="{kind}" points="{places}"/>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A line of the classes ``kind``."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, *, anchor: str, turned: bool = False) -> str:
    """Words of the picture: "start", "middle" or "end" of them is at the place."""
    turn = ' transform="rotate(-90)"' if turned else ""
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'
