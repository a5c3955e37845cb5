"""`diff`: two releases (bundles, release reports, artifacts) -> per target what changed. Nothing is run.

D1 worse: even the lower end of the interval is above what is allowed
D2 better: the whole interval is on the good side of "no change"
D3 same: within what is allowed, and not better; a figure without an interval that has not changed
D4 undecided: the interval straddles what is allowed; or the accuracy of one side is not known
D5 not comparable: not known on one side, or (latency) measured on another machine; it has no vote
D6 precision and plan are neither better nor worse: "changed"

A target: worse if one figure is; else undecided if one is; else better if one is; else same. One that only
one side has is "added" or "removed"; removed is undecided. Exit code: accuracy worse 3, another figure worse
4, undecided 7, else 0. Two different models are no pair (BaselineError).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import BaselineError, ExitCode
from edgekit.pipeline import snapshot as snapshots
from edgekit.pipeline.baseline import changes_of
from edgekit.pipeline.result import ChangeRow, DiffResult, DiffRow, SideRow
from edgekit.pipeline.snapshot import Figures, Snapshot
from edgekit.validation.regression import Change, NotComparable, growth

Verdict = Literal["better", "worse", "same", "undecided", "not_comparable", "changed"]
Status = Literal["better", "worse", "same", "undecided"]
_MOST_TIMES = 100  # as many rounds: beyond, the difference is an accident of the medians
_DIGITS = 16  # of a digest: enough to tell plans apart
_COVERAGE_STEP = 0.005  # half a per cent of the MACs: less is one small operator more or less


@dataclass(frozen=True)
class Allowed:
    """What may get worse, and by how much.

    Attributes:
        drop_pp: of the metric.
        latency: new as a multiple of old.
        size: likewise, of files and of memory.
    """

    drop_pp: float = 1.0
    latency: float = 1.1  # two runs at different times differ by more than two that are interleaved
    size: float = 1.1


def diff(old: Path, new: Path, *, allowed: Allowed) -> DiffResult:
    """Hold ``new`` against ``old``.

    Raises:
        BaselineError: one of them cannot be read, has another schema, or they are of different models.
        VerificationError: a bundle that is damaged.
    """
    before, after = snapshots.load(old), snapshots.load(new)
    if before.model and after.model and before.model != after.model:
        raise BaselineError(
            f"{old} is of model {before.model!r}, and {new} of {after.model!r}",
            why="what one model does says nothing about another",
            remedy="compare two releases of one model",
        )
    names = dict.fromkeys([*before.artifacts, *after.artifacts])
    rows = tuple(_row(name, before, after, allowed=allowed) for name in names)
    verdict, code = _outcome(rows)
    return DiffResult(
        old=_side(before),
        new=_side(after),
        verdict=verdict,
        exit_code=code,
        targets=rows,
        findings=tuple(_findings(before, after)),
    )


def _side(found: Snapshot) -> SideRow:
    return SideRow(found.source, found.kind, found.model, found.version)


def _findings(old: Snapshot, new: Snapshot) -> list[str]:
    said = []
    if old.data and new.data and old.data != new.data:
        said.append("the two were judged on different evaluation data: accuracy cannot be compared")
    if old.machine and new.machine and old.machine != new.machine:
        said.append("the two were measured on different machines: latency and memory cannot be compared")
    return said


def _row(name: str, before: Snapshot, after: Snapshot, *, allowed: Allowed) -> DiffRow:
    old, new = before.artifacts.get(name), after.artifacts.get(name)
    if old is None:
        return DiffRow(name, "added")
    if new is None:
        return DiffRow(name, "removed")
    same_data = not (before.data and after.data) or before.data == after.data
    same_machine = bool(before.machine) and before.machine == after.machine
    found = changes_of(old, new, same_machine=same_machine)
    accuracy: Change | NotComparable = found.accuracy
    if not same_data and old.main != new.main:
        accuracy = NotComparable("the two were judged on different evaluation data")
    memory = growth(old.memory_bytes, new.memory_bytes)
    if not same_machine:
        memory = NotComparable("the two were measured on different machines, or it is not known on which")
    changes = (
        _word("precision", old.name, new.name),
        _word("plan", old.plan[:_DIGITS], new.plan[:_DIGITS]),
        _accuracy(old, new, accuracy, limit=allowed.drop_pp),
        _ratio("latency", _ms(old), _ms(new), found.latency, limit=allowed.latency),
        _ratio("size", _bytes(old.size_bytes), _bytes(new.size_bytes), found.size, limit=allowed.size),
        _ratio("memory", _bytes(old.memory_bytes), _bytes(new.memory_bytes), memory, limit=allowed.size),
        _coverage(old.coverage, new.coverage),
    )
    return DiffRow(name, _status(changes), changes)


def _word(figure: str, old: str, new: str) -> ChangeRow:
    return ChangeRow(figure, old or "float", new or "float", "", "same" if old == new else "changed")


def _accuracy(old: Figures, new: Figures, change: Change | NotComparable, *, limit: float) -> ChangeRow:
    was, now = _score(old), _score(new)
    if isinstance(change, NotComparable):
        return ChangeRow("accuracy", was, now, "", "undecided", change.why)
    gain, low, high = (0.0 - value for value in (change.value, change.high, change.low))  # 0.0 -: no "-0"
    words = f"{gain:+.3g} {change.unit} [{low:+.3g}, {high:+.3g}]"
    return ChangeRow("accuracy", was, now, words, _judged(change, limit=limit, none=0.0), change.method)


def _score(row: Figures) -> str:
    return f"{row.scored.value:.4g} ({row.scored.metric})" if row.scored else ""


def _ratio(figure: str, old: str, new: str, change: Change | NotComparable, *, limit: float) -> ChangeRow:
    if isinstance(change, NotComparable):
        return ChangeRow(figure, old, new, "", "not_comparable", change.why)
    exact = change.low == change.high
    words = f"{change.value:.4g} times" + ("" if exact else f" [{change.low:.4g}, {change.high:.4g}]")
    method = change.method
    if figure == "latency" and not exact:
        speed = _speed(change)
        words += f": {speed}"
        method += _what_decides(change) if speed == "undecided" else ""
    return ChangeRow(figure, old, new, words, _judged(change, limit=limit, none=1.0), method)


def _what_decides(change: Change) -> str:
    """How much longer both would have to be measured; intervals shrink with the root of the rounds."""
    size = abs(math.log(change.value))
    reach = math.log(change.value / change.low) if change.value > 1 else math.log(change.high / change.value)
    times = (reach / size) ** 2 if size else math.inf
    how = (
        f"{math.ceil(times)} times the rounds would decide, "
        f"if it is the {math.expm1(size):.2%} that it looks like"
        if times <= _MOST_TIMES
        else "they look equal, which no number of rounds decides"
    )
    return f"; {how}: `edgekit bench NEW --baseline OLD` measures both in turn"


def _speed(change: Change) -> str:
    """As `bench` calls it; "worse" has what is allowed in it, this has not."""
    return "slower" if change.low > 1 else "faster" if change.high < 1 else "undecided"


def _judged(change: Change, *, limit: float, none: float) -> Verdict:
    """D1 to D4; ``none`` is what the figure of no change is."""
    if change.low > limit:
        return "worse"
    if change.high < none:
        return "better"
    return "same" if change.high <= limit else "undecided"


def _coverage(old: float | None, new: float | None) -> ChangeRow:
    if old is None or new is None:
        return ChangeRow("coverage", _share(old), _share(new), "", "not_comparable", "not known of both")
    change = new - old
    verdict: Verdict = "same"
    if abs(change) > _COVERAGE_STEP:
        verdict = "better" if change > 0 else "worse"
    return ChangeRow("coverage", _share(old), _share(new), f"{100 * change:+.3g} pp", verdict, "exact")


def _status(changes: tuple[ChangeRow, ...]) -> Status:
    verdicts = {each.verdict for each in changes}
    order: tuple[Status, ...] = ("worse", "undecided", "better")
    return next((word for word in order if word in verdicts), "same")


def _outcome(rows: tuple[DiffRow, ...]) -> tuple[Status, ExitCode]:
    worse = {each.figure for row in rows for each in row.changes if each.verdict == "worse"}
    if "accuracy" in worse:
        return "worse", ExitCode.ACCURACY_GATE
    if worse:
        return "worse", ExitCode.LATENCY_OR_SIZE_GATE
    statuses = {row.status for row in rows}
    if not rows or statuses & {"undecided", "removed"}:
        return "undecided", ExitCode.INCONCLUSIVE
    return ("better" if "better" in statuses else "same"), ExitCode.OK


def _ms(row: Figures) -> str:
    return f"p50 {row.latency_ms[0]:.3g} ms" if row.latency_ms else ""


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{value} bytes"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4g} %"
