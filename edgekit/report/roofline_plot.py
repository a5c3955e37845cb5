"""Roofline -> one inline SVG: achieved rate over operations per byte, both logarithmic, under the roof.

    pixel = margin + (log10(value) - log10(low)) / (log10(high) - log10(low)) * length

Roof of a type: min(peak, bandwidth * intensity); the rising lines are drawn up to the highest peak that is
shown. Colours come from the page's style sheet. Source: S. Williams et al., "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from edgekit.report.page import Roofline, RoofPoint

_WIDTH, _HEIGHT = 400, 320  # as the other plots: at a phone's 330 px the 13-unit text is 10 px high
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 46
_LARGEST, _SMALLEST = 26.0, 4.0  # radius of all of the time, and of nearly none
_APART = 15  # between the base lines of two labels


class _Log:
    """Values ``low`` to ``high`` -> pixels ``start`` to ``end``; both ends are powers of ten."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.start, self.end = start, end

    def pixel(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def powers(self) -> list[int]:
        """Powers of ten with a line; every second one where there are many."""
        step = 1 if self.high - self.low <= 6 else 2  # seven labels fit a phone
        return list(range(self.low, self.high + 1, step))


def render(block: Roofline, *, name: str) -> str:
    """The picture; ``name`` makes its parts' identifiers unique in the page."""
    points = [p for p in block.points if p.intensity > 0 and p.gops > 0]
    if not points:
        return ""
    peaks = [line.value for line in block.peaks]
    top = max([*peaks, *(p.gops for p in points)])
    x = _Log([p.intensity for p in points], _LEFT, _WIDTH - _RIGHT)
    y = _Log([*(p.gops for p in points), top], _HEIGHT - _BOTTOM, _TOP)
    title = "GOP/s over operations per byte"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}-title {name}-text">',
        f'<title id="{name}-title">{title}</title>',
        f'<desc id="{name}-text">{escape("; ".join(p.words for p in points[:12]))}</desc>',
        *_grid(x, y),
        *_slopes(block, x, y, top),
        *_peaks(block, x, y),
        *(_dot(point, x, y) for point in points),  # the longest first: small ones stay on top
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "operations per byte", anchor="middle"),
        _text(-(_TOP + _HEIGHT - _BOTTOM) / 2, 13, "GOP/s", anchor="middle", turned=True),
        "</svg>",
    ]
    return "".join(parts)


def _grid(x: _Log, y: _Log) -> Iterator[str]:
    for power in x.powers():
        at = x.pixel(10.0**power)
        yield _line("grid", at, _TOP, at, _HEIGHT - _BOTTOM)
        last = at > _WIDTH - 2 * _RIGHT  # a label in the middle would be cut there
        place = _WIDTH - 2 if last else at
        yield _text(place, _HEIGHT - _BOTTOM + 16, _tick(power), anchor="end" if last else "middle")
    for power in y.powers():
        at = y.pixel(10.0**power)
        yield _line("grid", _LEFT, at, _WIDTH - _RIGHT, at)
        yield _text(_LEFT - 6, at + 4, _tick(power), anchor="end")


def _tick(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


def _peaks(block: Roofline, x: _Log, y: _Log) -> Iterator[str]:
    """Each type's peak from where the fastest memory feeds it; labels do not touch."""
    last = -math.inf
    fastest = max((line.value for line in block.slopes), default=0.0)
    for line in sorted(block.peaks, key=lambda each: -each.value):
        at = y.pixel(line.value)
        if not _TOP <= at <= _HEIGHT - _BOTTOM:
            continue
        begin = line.value / fastest if fastest else 10.0**x.low
        start = x.pixel(min(max(begin, 10.0**x.low), 10.0**x.high))
        yield _line("limit", start, at, _WIDTH - _RIGHT, at)
        place = max(at - 5, last + _APART)
        last = place
        yield _text(_WIDTH - _RIGHT - 3, place, line.label, anchor="end")


def _slopes(block: Roofline, x: _Log, y: _Log, top: float) -> Iterator[str]:
    """Bandwidth * intensity, inside the picture and up to the highest peak."""
    for line in block.slopes:
        low = max(10.0**x.low, 10.0**y.low / line.value)
        high = min(10.0**x.high, top / line.value)
        if high <= low:
            continue
        x1, y1, x2, y2 = (
            x.pixel(low),
            y.pixel(low * line.value),
            x.pixel(high),
            y.pixel(high * line.value),
        )
        yield _line("limit", x1, y1, x2, y2)
        angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
        # a third of the way up, above the line: the dots stand to its right
        at = (x1 + (x2 - x1) * 0.35, y1 + (y2 - y1) * 0.35)
        yield (
            f'<text class="axis" text-anchor="middle" transform="translate({at[0]:.1f} {at[1] - 5:.1f}) '
            f'rotate({angle:.1f})">{escape(line.label)}</text>'
        )


def _dot(point: RoofPoint, x: _Log, y: _Log) -> str:
    radius = max(_SMALLEST, _LARGEST * math.sqrt(min(1.0, point.share)))
    return (
        f'<g class="marker {point.tone} roof"><title>{escape(point.words)}</title><circle class="body" '
        f'cx="{x.pixel(point.intensity):.1f}" cy="{y.pixel(point.gops):.1f}" r="{radius:.1f}"/></g>'
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, *, anchor: str, turned: bool = False) -> str:
    turn = ' transform="rotate(-90)"' if turned else ""
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
