"""Scatter -> one inline SVG: numbered points with error bars, and the lines where float is.

    pixel = margin + (value - low) / (high - low) * length

Ticks are multiples of 1, 2 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels", Graphics
Gems, 1990). Colours come from the page's style sheet, so that light and dark need one picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from edgekit.report import number
from edgekit.report.page import Point, Scatter

_WIDTH, _HEIGHT = 560, 340  # viewBox: at a phone's 360 px the 13-unit text is still 8 px high
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 46
_RADIUS = 9
_WANTED_TICKS = 7
_PADDING = 0.08  # part of an axis left free at each end, so that no marker is cut


@dataclass(frozen=True)
class _Axis:
    """Values ``low`` to ``high`` -> pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def pixel(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        raw = (self.high - self.low) / _WANTED_TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= raw * 0.999)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def render(scatter: Scatter) -> str:
    """The picture; points are numbered in their order, from 1."""
    x = _axis([scatter.x_reference], scatter.points, "x", _LEFT, _WIDTH - _RIGHT)
    y = _axis([scatter.y_reference], scatter.points, "y", _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(scatter.title, quote=True)}">',
        *_grid(x, y),
        _line(
            "reference", x.pixel(scatter.x_reference), _TOP, x.pixel(scatter.x_reference), _HEIGHT - _BOTTOM
        ),
        _line(
            "reference", _LEFT, y.pixel(scatter.y_reference), _WIDTH - _RIGHT, y.pixel(scatter.y_reference)
        ),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, scatter.x_title, anchor="middle"),
        _text(-(_TOP + _HEIGHT - _BOTTOM) / 2, 12, scatter.y_title, anchor="middle", turned=True),
    ]
    for index, point in enumerate(scatter.points, start=1):
        parts += _bars(point, x, y)
        parts.append(_marker(index, point, x, y))
    return "".join([*parts, "</svg>"])


def _axis(fixed: list[float], points: tuple[Point, ...], name: str, start: float, end: float) -> _Axis:
    values = fixed + [getattr(point, name + suffix) for point in points for suffix in ("", "_low", "_high")]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    return _Axis(low - _PADDING * span, high + _PADDING * span, start, end)


def _grid(x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for value in x.ticks():
        parts.append(_line("grid", x.pixel(value), _TOP, x.pixel(value), _HEIGHT - _BOTTOM))
        parts.append(_text(x.pixel(value), _HEIGHT - _BOTTOM + 16, f"{_tick(value)}×", anchor="middle"))
    for value in y.ticks():
        parts.append(_line("grid", _LEFT, y.pixel(value), _WIDTH - _RIGHT, y.pixel(value)))
        parts.append(_text(_LEFT - 6, y.pixel(value) + 4, _tick(value), anchor="end"))
    return parts


def _tick(value: float) -> str:
    return f"{value:g}" if abs(value) > 1e-12 else "0"  # 0 may come out of a product as 1e-17


def _bars(point: Point, x: _Axis, y: _Axis) -> list[str]:
    if not math.isfinite(point.x) or not math.isfinite(point.y):
        return []
    tone = f"bar {point.tone}"
    return [
        _line(tone, x.pixel(point.x_low), y.pixel(point.y), x.pixel(point.x_high), y.pixel(point.y)),
        _line(tone, x.pixel(point.x), y.pixel(point.y_low), x.pixel(point.x), y.pixel(point.y_high)),
    ]


def _marker(index: int, point: Point, x: _Axis, y: _Axis) -> str:
    if not math.isfinite(point.x) or not math.isfinite(point.y):
        return ""
    cx, cy = x.pixel(point.x), y.pixel(point.y)
    words = (
        f"{point.label}: latency {number.interval(point.x, point.x_low, point.x_high, unit='×')}, "
        f"drop {number.interval(point.y, point.y_low, point.y_high, unit=' pp', plus=True)}"
    )
    return (
        f'<g class="marker {point.tone}"><title>{escape(words)}</title>'
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{_RADIUS}"/>'
        f'<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle">{index}</text></g>'
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, *, anchor: str, turned: bool = False) -> str:
    turn = ' transform="rotate(-90)"' if turned else ""
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
