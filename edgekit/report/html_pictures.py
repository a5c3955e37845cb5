"""Scatter, Bars, Gallery -> HTML: what people look at before they read the table.

Bars are boxes whose ends are percentages of their track, so that the text beside them stays as large as all
other text, however narrow the window is. Colours never stand alone: each bar has its figure in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from edgekit.report import plot, plot_trend, roofline_plot
from edgekit.report.page import Bar, Bars, Gallery, Roofline, Scatter, Tile, Trend


def scatter(block: Scatter, *, name: str) -> str:
    """The panels side by side, and what is to be known about them."""
    panels = "".join(
        plot.render(panel, y_title=block.y_title, y_limits=block.limits, name=f"{name}-{place}")
        for place, panel in enumerate(block.panels)
    )
    outside = dict.fromkeys(
        limit.label for panel in block.panels for limit in plot.left_out(panel, block.limits)
    )
    lines = [*block.caption, *((f"Outside the picture: {', '.join(outside)}.",) if outside else ())]
    caption = "".join(f"<p>{escape(line)}</p>" for line in lines)
    names = "".join(f"<li>{escape(each)}</li>" for each in block.names)
    caption = f"<figcaption><ol>{names}</ol>{caption}</figcaption>"
    return f'<figure><div class="panels">{panels}</div>{caption}</figure>'


def roofline(block: Roofline, *, name: str) -> str:
    """The picture, and what is to be known about it."""
    caption = "".join(f"<p>{escape(line)}</p>" for line in block.caption)
    return f"<figure>{roofline_plot.render(block, name=name)}<figcaption>{caption}</figcaption></figure>"


def bars(block: Bars) -> str:
    """One item for each bar; the axis is the same for all."""
    items = "".join(f"<li>{''.join(_bar(each, block))}</li>" for each in block.bars)
    limits = ", ".join(limit.label for limit in block.limits)
    words = " ".join(filter(None, (block.caption, f"Dashed: {limits}." if limits else "")))
    caption = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return f'<figure class="chart">{caption}<ul class="bars">{items}</ul></figure>'


def _bar(each: Bar, block: Bars) -> Iterator[str]:
    note = f"<small>{escape(each.note)}</small>" if each.note else ""
    yield f'<span class="name">{escape(each.label)}{note}</span>'
    yield f'<span class="figure">{escape(each.text)}</span>'
    yield '<span class="track" aria-hidden="true">'
    if each.value is not None:
        yield _box(f"fill {each.tone}", block.origin, each.value.value, block)
        if each.value.low != each.value.high:
            yield _box("whisker", each.value.low, each.value.high, block)
    if each.second is not None:
        yield _box("second", block.origin, each.second, block)
    for limit in (block.origin, *(each.value for each in block.limits)):
        kind = "origin" if limit == block.origin else "limit"
        yield f'<i class="{kind}" style="left:{_part(limit, block):.2f}%"></i>'
    yield "</span>"


def _box(kind: str, start: float, end: float, block: Bars) -> str:
    first, last = sorted((_part(start, block), _part(end, block)))
    return f'<i class="{kind}" style="left:{first:.2f}%;width:{last - first:.2f}%"></i>'


def _part(value: float, block: Bars) -> float:
    """Percent of the track, within it."""
    if block.left == block.right:
        return 0.0
    return min(100.0, max(0.0, 100 * (value - block.left) / (block.right - block.left)))


def trend(block: Trend) -> str:
    """The picture over the width of the page, and what is to be known about it."""
    off = "Triangle: outside the picture." if plot_trend.outside(block) else ""
    words = " ".join(filter(None, (block.caption, off)))
    caption = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return f'<figure class="trend">{plot_trend.render(block)}{caption}</figure>'


def gallery(block: Gallery) -> str:
    """Pictures in a grid; they are small, and shown with the pixels that they have."""
    tiles = "".join(_tile(each) for each in block.tiles)
    caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
    return f'<figure class="chart">{caption}<div class="tiles">{tiles}</div></figure>'


def _tile(each: Tile) -> str:
    picture = f'<img src="{escape(each.picture)}" alt="{escape(each.title)}">' if each.picture else ""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in each.items)
    return f'<div class="tile {each.tone}">{picture}<p>{escape(each.title)}</p><dl>{pairs}</dl></div>'
