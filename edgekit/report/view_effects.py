"""Verdicts of `edgekit bench` -> one line each: how large the difference is, and what would decide it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Block, Line, Lines, Tone
from edgekit.report.view_bench_parts import subject

if TYPE_CHECKING:
    from edgekit.pipeline.result import BenchRow, EffectRow

_TONES: dict[str, Tone] = {"faster": "good", "slower": "bad", "undecided": "warn"}
_HOPELESS = 1000  # launches: two that differ so little are not told apart by more of them


def blocks(rows: Sequence[BenchRow]) -> tuple[Block, ...]:
    """One line for each judged row; () without any."""
    lines = [
        Line(f"{subject(row, rows)}: {sentence(row)}", _TONES[row.verdict])
        for row in rows
        if row.effect is not None
    ]
    return (Lines("Against the baseline", tuple(lines)),) if lines else ()


def sentence(row: BenchRow) -> str:
    """Verdict, effect size, what it rests on, and of an undecided one what would decide."""
    effect, ratio = row.effect, row.ratio
    if effect is None:
        return row.verdict
    rests = f"{effect.launches} launch{'es' * (effect.launches != 1)} of {effect.rounds} rounds"
    if ratio is None:
        return f"{row.verdict}: {rests} are no interval"
    size = f"{number.interval(ratio.value, ratio.low, ratio.high)} times the baseline's time"
    in_spreads = abs(math.log(ratio.value)) / effect.spread if effect.spread else math.inf
    noise = f"two processes of one file differ by {effect.spread:.1%}"
    if in_spreads < 100:
        noise += f"; the difference is {number.significant(in_spreads, digits=2)} of that"
    if row.verdict != "undecided":
        return f"{row.verdict}, {size} ({rests}; {noise})"
    found = f"a difference of {number.significant(100 * effect.resolution, digits=2)} % would have been found"
    return f"undecided, {size} ({rests}; {noise}); {found}; {_more(row, effect)}"


def _more(row: BenchRow, effect: EffectRow) -> str:
    if row.ratio is None or effect.more_launches is None or effect.more_launches > _HOPELESS:
        return f"{_HOPELESS} more launches would not decide"
    count, rounds = effect.more_launches, effect.more_launches * effect.rounds
    minutes = (effect.more_s or 0.0) / 60
    time = f"{minutes:.1f} min" if minutes >= 2 else f"{60 * minutes:.0f} s"
    difference = number.significant(100 * abs(row.ratio.value - 1), digits=2)
    return (
        f"{count} more launch{'es' * (count != 1)} ({rounds} rounds, {time}) would decide, if it is the "
        f"{difference} % that it looks like: --budget {_budget(effect)}"
    )


def _budget(effect: EffectRow) -> str:
    """The whole of such a run, with a fifth to spare."""
    each_s = (effect.more_s or 0.0) / max(1, effect.more_launches or 1)
    whole_s = 1.2 * each_s * (effect.launches + (effect.more_launches or 0))
    return f"{math.ceil(whole_s / 60)}m" if whole_s > 90 else f"{math.ceil(whole_s)}s"
