"""Trend -> one inline SVG: samples from left to right with their intervals, and lines for levels.

One sample, or one interval, that is far off would make a flat line of all others: an axis ends one width of
the middle 90 % beyond them, and what lies outside is a triangle at its end. Colours come from the page.
"""

from __future__ import annotations

import math
from html import escape

from edgekit.report.page import Level, Trend, TrendSample
from edgekit.report.plot import Axis, axis, line, text, tick

_WIDTH, _HEIGHT = 560, 250  # viewBox; a phone shows its 20-unit text at 11 px, by the style sheet
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 28, 50
_RADIUS = 3.5
_LABEL_TURNS = 0.85  # part of the width from which a label stands left of its line's beginning


def render(trend: Trend) -> str:
    """The picture."""
    shown = [
        (place, each) for place, each in enumerate(trend.samples, start=1) if math.isfinite(each.value.value)
    ]
    y = _vertical(trend)
    x = Axis(0.3, len(trend.samples) + 0.7, _LEFT, _WIDTH - _RIGHT)  # samples are counted from 1
    words = f"{trend.y_title} by {trend.x_title}: {len(trend.samples)} samples"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words, quote=True)}">',
        *_grid(x, y, trend),
        *(_mark(level, x) for level in trend.levels if level.first),
        *(_whisker(place, each, x, y) for place, each in shown),
        *(_sample(place, each, x, y) for place, each in shown),
        *(_level(level, x, y) for level in trend.levels),
    ]
    return "".join([*parts, "</svg>"])


def _vertical(trend: Trend) -> Axis:
    """The axis that the samples share."""
    samples = [each.value for each in trend.samples if math.isfinite(each.value.value)]
    ordered = sorted(each.value for each in samples) or [0.0]
    cut = len(ordered) // 20
    low, high = ordered[cut], ordered[len(ordered) - 1 - cut]
    room = (high - low) or math.inf
    wanted = [*ordered, *(end for each in samples for end in (each.low, each.high))]
    shown = [each for each in wanted if low - room <= each <= high + room]
    levels = [level.value for level in trend.levels]
    return axis([(each,) for each in (*shown, *levels)], (), _HEIGHT - _BOTTOM, _TOP)


def outside(trend: Trend) -> bool:
    """Whether a sample is a triangle."""
    y = _vertical(trend)
    return any(not y.shows(each.value.value) for each in trend.samples if math.isfinite(each.value.value))


def _grid(x: Axis, y: Axis, trend: Trend) -> list[str]:
    parts = []
    for value in y.ticks():
        parts.append(line("grid", _LEFT, y.pixel(value), _WIDTH - _RIGHT, y.pixel(value)))
        parts.append(text(_LEFT - 7, y.pixel(value) + 5, tick(value), anchor="end"))
    numbers = [int(each) for each in x.ticks() if each == int(each) and 1 <= each <= len(trend.samples)]
    parts += [text(x.pixel(each), _HEIGHT - _BOTTOM + 18, str(each), anchor="middle") for each in numbers]
    below = _HEIGHT - 8
    first, last = trend.names
    parts += [text(_LEFT, below, first, anchor="start")] if first else []
    parts += [text(_WIDTH - _RIGHT, below, last, anchor="end")] if last else []
    parts.append(text((_LEFT + _WIDTH - _RIGHT) / 2, below, trend.x_title, anchor="middle"))
    parts.append(text(-(_TOP + _HEIGHT - _BOTTOM) / 2, 14, trend.y_title, anchor="middle", turned=True))
    return parts


def _mark(level: Level, x: Axis) -> str:
    at = x.pixel(level.first + 0.5)
    return line("limit", at, _TOP, at, _HEIGHT - _BOTTOM)


def _whisker(place: int, each: TrendSample, x: Axis, y: Axis) -> str:
    if not y.shows(each.value.value):
        return ""
    low, high = (min(max(end, y.low), y.high) for end in (each.value.low, each.value.high))
    return line(f"bar {each.tone}", x.pixel(place), y.pixel(low), x.pixel(place), y.pixel(high))


def _sample(place: int, each: TrendSample, x: Axis, y: Axis) -> str:
    across, up = x.pixel(place), y.pixel(each.value.value)
    if y.shows(each.value.value):
        shape = f'<circle cx="{across:.1f}" cy="{up:.1f}" r="{_RADIUS}"/>'
    else:
        above = each.value.value > y.high
        tip, base = (_TOP - 4, _TOP + 4) if above else (_HEIGHT - _BOTTOM + 4, _HEIGHT - _BOTTOM - 4)
        shape = f'<polygon points="{across:.1f},{tip} {across - 5:.1f},{base} {across + 5:.1f},{base}"/>'
    return f'<g class="sample {each.tone}"><title>{escape(each.words)}</title>{shape}</g>'


def _level(level: Level, x: Axis, y: Axis) -> str:
    begin, end, up = x.pixel(level.first + 0.55), x.pixel(level.last + 1.45), y.pixel(level.value)
    drawn = line(f"level {level.tone}", begin, up, end, up)
    if not level.label:
        return drawn
    # above the picture, where no sample is covered
    turned = begin > _LEFT + _LABEL_TURNS * (_WIDTH - _LEFT - _RIGHT)
    at, anchor = (begin - 4, "end") if turned else (begin, "start")
    label = text(at, _TOP - 8, level.label, anchor=anchor)
    return drawn + label.replace('class="axis"', 'class="axis label"')
