"""FlipsRow, GroupRow -> what became of the labels: counts by pair, samples to look at, losses by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Bar, Bars, Block, Gallery, Limit, Line, Lines, Tile, Tone, Value

if TYPE_CHECKING:
    from edgekit.pipeline.result import FlipRow, FlipsRow, GroupRow

_SHOWN_PAIRS = 12  # a chart that fits a screen; the result holds more
_SHOWN_GROUPS = 20


def flips_blocks(flips: FlipsRow | None, *, whose: str = "") -> Iterator[Block]:
    """A sentence, the most frequent pairs, and the samples; nothing where there are no classes."""
    if flips is None:
        return
    of = f": {whose}" if whose else ""
    yield Lines(f"Flipped labels{of}", (Line(_sentence(flips), "plain"),), detail=True)
    if not flips.count:
        return
    pairs = flips.pairs[:_SHOWN_PAIRS]
    most = float(max((pair.count for pair in pairs), default=1))
    yield Bars(
        "",
        tuple(
            Bar(
                f"{pair.reference} → {pair.candidate}",
                f"{pair.count}",
                Value(pair.count, pair.count, pair.count),
            )
            for pair in pairs
        ),
        left=0.0,
        right=most,
        origin=0.0,
        caption="The float reference's class → the candidate's, the most frequent first.",
    )
    yield Gallery("", tuple(map(_tile, flips.shown)), caption="Some of them, those that were lost first.")


def _sentence(flips: FlipsRow) -> str:
    if not flips.count:
        return f"none of {flips.samples}"
    rest = flips.count - flips.lost - flips.gained
    return (
        f"{flips.count} of {flips.samples}: {flips.lost} that float has right and the candidate wrong, "
        f"{flips.gained} the other way, {rest} wrong in both"
    )


def _tile(each: FlipRow) -> Tile:
    tone: Tone = "plain"
    if each.reference == each.label:
        tone = "bad"
    elif each.candidate == each.label:
        tone = "good"
    items = (("is", each.label), ("float", each.reference), ("now", each.candidate))
    return Tile(each.picture, f"sample {each.sample}", items, tone)


def groups_chart(rows: Sequence[GroupRow], *, whose: str = "", limit: float | None = None) -> Bars:
    """The largest losses first, each with its interval."""
    shown = rows[:_SHOWN_GROUPS]
    ends = [0.0, *(end for row in shown for end in (row.drop_low_pp, row.drop_high_pp, row.drop_pp))]
    ends += [limit] if limit is not None else []
    unit = shown[0].unit if shown else "pp"
    return Bars(
        "Classes and slices" + (f": {whose}" if whose else ""),
        tuple(
            Bar(
                f"{row.kind} {row.group}",
                number.interval(row.drop_pp, row.drop_low_pp, row.drop_high_pp, unit=f" {unit}", plus=True),
                Value(row.drop_pp, row.drop_low_pp, row.drop_high_pp),
                tone="bad" if row.stands_out else "plain",
                note=f"{row.samples} samples",
            )
            for row in shown
        ),
        left=min(ends),
        right=max(ends),
        origin=0.0,
        limits=(Limit(limit, f"limit {limit:g} {unit}"),) if limit is not None else (),
        caption="Drop against float, right is worse; lines: intervals, corrected for the number of groups.",
    )
