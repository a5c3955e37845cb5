"""LayerRows -> Bars: what each layer does to the outputs, the most damaging first, with its cause.

    long bar   SQNR of the model's outputs where only this layer's own error is in (damage)
    thin bar   SQNR of the layer itself against float on the same inputs (own error)

Both axes are dB and run backwards: a longer bar is more noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edgekit.pipeline.result import LayerRow
from edgekit.report import number
from edgekit.report.page import Bar, Bars, Value

_SHOWN = 30  # what a reader scrolls through; the table has all
_STEP_DB = 10.0  # the axis ends at multiples of it


def layers_chart(layers: Sequence[LayerRow]) -> Bars:
    """The first of ``layers`` as they are ranked; without bars where nothing was measured."""
    shown = [layer for layer in layers[:_SHOWN] if _decibels(layer)]
    found = [value for layer in shown for value in _decibels(layer)]
    quiet = _STEP_DB * math.ceil(max(found, default=0.0) / _STEP_DB + 0.1)
    loud = _STEP_DB * math.floor(min(found, default=0.0) / _STEP_DB)
    rest = f" {len(layers) - len(shown)} more are in the table." if len(layers) > len(shown) else ""
    return Bars(
        "Damage by layer",
        tuple(map(_bar, shown)),
        left=quiet,
        right=loud,
        origin=quiet,
        caption=f"Bar: noise at the model's outputs from this layer alone; line below: its own error. From "
        f"{quiet:g} dB (left) to {loud:g} dB SQNR (right): longer is worse.{rest}",
    )


def _decibels(layer: LayerRow) -> list[float]:
    """What can be drawn: an exact layer has no noise, and infinite dB."""
    values = (layer.damage_sqnr_db, layer.own_sqnr_db)
    return [value for value in values if value is not None and math.isfinite(value)]


def _bar(layer: LayerRow) -> Bar:
    damage = layer.damage_sqnr_db
    drawn = None if damage is None or not math.isfinite(damage) else Value(damage, damage, damage)
    return Bar(
        label=layer.name,
        text=", ".join(_figures(layer)),
        value=drawn,
        tone="bad" if layer.causes else "plain" if layer.integer else "muted",
        second=layer.own_sqnr_db if math.isfinite(layer.own_sqnr_db) else None,
        note=", ".join((layer.op_type, *layer.causes)),
    )


def _figures(layer: LayerRow) -> Iterator[str]:
    if layer.damage_sqnr_db is not None:
        yield f"{number.significant(layer.damage_sqnr_db)} dB"
    if layer.drop_pp is not None:
        yield f"{number.signed(layer.drop_pp)} pp"
    elif layer.flips is not None:
        yield f"{number.percent(layer.flips)} flip"
    if layer.damage_sqnr_db is None:
        yield f"own {number.significant(layer.own_sqnr_db)} dB"
