"""PairRows -> one row per artifact: what each step from the framework to it loses.

framework -> ONNX float -> the runtime's float (-> pruned) -> the candidate; and from ONNX float to it at once
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Cell, Column, Table, Tone

if TYPE_CHECKING:
    from edgekit.pipeline.result import PairRow

_STEPS = (
    ("export", "framework → ONNX float"),
    ("runtime", "ONNX float → runtime float"),
    ("pruning", "runtime float → pruned"),
    ("quantization", "runtime float → candidate"),
    ("whole", "ONNX float → candidate"),
)


def chain_table(pairs: Sequence[PairRow], *, detail: bool = True) -> Table:
    """Empty where there is one step at most: the matrix has it."""
    on_the_way = {pair.first for pair in pairs if pair.step in {"quantization", "pruning"}}
    ends = dict.fromkeys(
        pair.second for pair in pairs if pair.step in {"whole", "runtime"} and pair.second not in on_the_way
    )
    steps = [(step, title) for step, title in _STEPS if any(pair.step == step for pair in pairs)]
    if len(steps) < 2:
        return Table("", (), (), detail=detail)
    titles = dict(steps)
    if "pruning" in titles and "quantization" in titles:
        titles["quantization"] = "pruned → candidate"
    columns = (Column("artifact"), *(Column(title, right=True) for title in titles.values()))
    rows = tuple((Cell(end), *(_cell(_pair(pairs, end, step)) for step, _ in steps)) for end in ends)
    return Table("Where it is lost", columns, rows, detail=detail)


def _pair(pairs: Sequence[PairRow], end: str, step: str) -> PairRow | None:
    """The step on the way to ``end``: of a candidate, its runtime's float too; the export is everybody's."""
    if step == "export":
        return next((pair for pair in pairs if pair.step == step), None)
    ends = {end}
    for later in {"pruning": ("quantization",), "runtime": ("quantization", "pruning")}.get(step, ()):
        ends |= {pair.first for pair in pairs if pair.step == later and pair.second in ends}
    return next((pair for pair in pairs if pair.step == step and pair.second in ends), None)


def _cell(pair: PairRow | None) -> Cell:
    """The drop; below it how far the outputs are apart."""
    if pair is None:
        return Cell(number.ABSENT, "muted")
    apart = ", ".join(_apart(pair))
    if pair.accuracy is None:
        return Cell(apart or number.ABSENT)
    tone: Tone = "plain"
    return Cell(f"{number.signed(pair.accuracy.drop_pp)} {pair.accuracy.unit}", tone, apart)


def _apart(pair: PairRow) -> list[str]:
    """Of the first output: the matrix below has all."""
    if not pair.drift:
        return []
    first = pair.drift[0]
    words = ["exact" if math.isinf(first.sqnr_db) else f"{number.significant(first.sqnr_db)} dB"]
    if first.flips is not None:
        words.append(f"{first.flips} of {first.samples} labels")
    return words
