"""Measured numbers + Budget -> Verdict: gates with a status, a reason and a remedy, and one exit code.

    G1  accuracy      interval entirely above the budget -> fail; entirely within -> pass; else inconclusive
    G2  size          bytes of all files <= budget
    G3  latency       p95 <= budget; not measured -> reported, a failure only if ``require_measured``
    G4  never_slower  "yes" -> pass, "no" -> fail, "undecided" -> inconclusive; not measured as in G3

G5 and G6 (memory, coverage) are in ``resources``, G7 to G9 (against a baseline) in ``baseline``, G10 (classes
and slices) in ``group_gate``; what waivers do is in ``waiver``.

An accuracy budget without a measured drop is inconclusive: what was not looked at did not pass. What
``on_inconclusive`` says applies to straddling and undecided gates only, not to what was never measured.
Exit code, the gravest first: coverage 5, accuracy 3, latency, size or memory 4, inconclusive 7, ok 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import ExitCode, RecipeError
from edgekit.validation.statistics import Drop, samples_needed

GateStatus = Literal["pass", "fail", "inconclusive", "not_measured", "waived"]
GATE_CODES: Mapping[str, ExitCode] = {
    "accuracy": ExitCode.ACCURACY_GATE,
    "groups": ExitCode.ACCURACY_GATE,
    "size": ExitCode.LATENCY_OR_SIZE_GATE,
    "latency": ExitCode.LATENCY_OR_SIZE_GATE,
    "never_slower": ExitCode.LATENCY_OR_SIZE_GATE,
    "memory": ExitCode.LATENCY_OR_SIZE_GATE,
    "coverage": ExitCode.TARGET_REFUSES,
    "baseline_accuracy": ExitCode.ACCURACY_GATE,
    "baseline_latency": ExitCode.LATENCY_OR_SIZE_GATE,
    "baseline_size": ExitCode.LATENCY_OR_SIZE_GATE,
}
"""Every gate, and the exit code of its failure."""
_GRAVEST_FIRST = (ExitCode.TARGET_REFUSES, ExitCode.ACCURACY_GATE, ExitCode.LATENCY_OR_SIZE_GATE)
# what a gate measures, where it is not called so
_MEASURANDS = {
    "never_slower": "latency",
    "baseline_accuracy": "accuracy against the baseline",
    "baseline_latency": "latency against the baseline",
    "baseline_size": "size against the baseline",
}
VerdictStatus = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Budget:
    """What an artifact must keep; None = no such limit.

    Attributes:
        max_drop_pp: largest loss, in percentage points (percent for mae and perplexity, dB for psnr).
        max_size_bytes: of all files of the artifact.
        max_latency_ms: of the p95 latency.
        never_slower: the artifact must not be slower than the best float variant.
        on_inconclusive: what an interval that straddles a limit means: exit code 7, a failed gate, or a pass.
        require_measured: a latency, memory or coverage gate that cannot be measured is a failure.
        max_memory_bytes: of the peak while it runs, less what was held before it was loaded.
        min_coverage: smallest share of MACs on the wanted device in the wanted precision, 0 to 1.
        baseline_max_drop_pp: largest loss against a baseline, where there is one.
        baseline_max_latency: largest latency as a multiple of a baseline's.
        baseline_max_size: largest size as a multiple of a baseline's.
        max_group_drop_pp: largest loss of any class or slice, in the metric's unit.

    Raises:
        RecipeError: a limit that is negative or not a number.
    """

    max_drop_pp: float | None = None
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    never_slower: bool = False
    on_inconclusive: Literal["error", "fail", "pass"] = "error"
    require_measured: bool = False
    max_memory_bytes: int | None = None
    min_coverage: float | None = None
    baseline_max_drop_pp: float = 1.0
    baseline_max_latency: float = 1.1
    baseline_max_size: float = 1.1
    max_group_drop_pp: float | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_drop_pp": self.max_drop_pp,
            "max_size_bytes": self.max_size_bytes,
            "max_latency_ms": self.max_latency_ms,
            "max_memory_bytes": self.max_memory_bytes,
            "min_coverage": self.min_coverage,
            "baseline_max_drop_pp": self.baseline_max_drop_pp,
            "baseline_max_latency": self.baseline_max_latency,
            "baseline_max_size": self.baseline_max_size,
            "max_group_drop_pp": self.max_group_drop_pp,
        }
        for name, limit in limits.items():
            if limit is not None and not (math.isfinite(limit) and limit >= 0):
                raise RecipeError(
                    f"budget {name} = {limit} is not a limit",
                    why="it must be a number that is not negative",
                    remedy=f"set {name} to a number, or leave it out",
                )
        if self.on_inconclusive not in ("error", "fail", "pass"):
            raise RecipeError(
                f"budget on_inconclusive = {self.on_inconclusive!r} is unknown",
                why="an interval that straddles the budget can be an error, a failure or a pass",
                remedy='set it to "error", "fail" or "pass"',
            )


@dataclass(frozen=True)
class Speed:
    """The candidate against the best float variant on the same target.

    Attributes:
        not_slower: judged by the interval's bounds.
        ratio: median latency of the candidate / that of float.
        low: lower end of the ratio's interval.
        high: upper end.
    """

    not_slower: Literal["yes", "no", "undecided"]
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Gate:
    """One limit and what was found.

    Attributes:
        name: a key of ``GATE_CODES``.
        status: outcome.
        measured: in words, with unit and interval; "" where nothing was measured.
        limit: in words.
        reason: why the status is what it is.
        remedy: what to do next; "" where nothing is to be done.
        value: the measured number (drop, bytes, ms, ratio), or None.
        samples_needed: about how many samples would decide a gate that is open; None where none would.
    """

    name: str
    status: GateStatus
    measured: str
    limit: str
    reason: str
    remedy: str = ""
    value: float | None = None
    samples_needed: int | None = None


@dataclass(frozen=True)
class Verdict:
    """All gates of one artifact.

    Attributes:
        status: "fail" where a gate failed, "inconclusive" where none failed but one is open.
        exit_code: of DESIGN.md.
        gates: in the order accuracy, size, latency, never_slower; only those that the budget asks for.
    """

    status: VerdictStatus
    exit_code: ExitCode
    gates: tuple[Gate, ...]


def softened(budget: Budget, reason: str) -> tuple[GateStatus, str]:
    """Status and reason of a gate whose interval straddles its limit."""
    if budget.on_inconclusive == "fail":
        return "fail", f'{reason}; on_inconclusive = "fail"'
    if budget.on_inconclusive == "pass":
        return "pass", f'{reason}; on_inconclusive = "pass"'
    return "inconclusive", reason


def _accuracy(budget: Budget, limit: float, drop: Drop | None) -> Gate:
    """G1."""
    if drop is None:
        return Gate(
            "accuracy",
            "inconclusive",
            "",
            f"drop <= {limit:g}",
            "there is an accuracy budget, but no drop was measured",
            "give evaluation data with labels",
        )
    unit = drop.unit
    measured = (
        f"{drop.value_pp:+.3g} {unit} [{drop.low_pp:+.3g}, {drop.high_pp:+.3g}] on {drop.count} samples"
    )
    words = f"drop <= {limit:g} {unit}"
    if drop.low_pp > limit:
        return Gate(
            "accuracy",
            "fail",
            measured,
            words,
            f"even the lower end of the interval, {drop.low_pp:.3g} {unit}, is above the budget",
            "quantize less of the model or choose another precision; `edgekit debug` ranks the layers",
            drop.value_pp,
        )
    if drop.high_pp <= limit:
        return Gate(
            "accuracy", "pass", measured, words, "the whole interval is within the budget", "", drop.value_pp
        )
    needed = samples_needed(drop, limit)
    more = (
        "the observed loss is the budget itself, and no number of samples separates the two"
        if needed is None
        else f"about {needed} samples would decide if they look like these"
    )
    status, reason = softened(budget, f"the interval straddles the budget; {more}")
    remedy = "" if status == "pass" else "evaluate on more samples, or change max_drop_pp"
    return Gate("accuracy", status, measured, words, reason, remedy, drop.value_pp, needed)


def _size(limit: int, size_bytes: int | None) -> Gate:
    """G2."""
    words = f"size <= {limit} bytes"
    if size_bytes is None:
        return Gate(
            "size",
            "inconclusive",
            "",
            words,
            "there is a size budget, but no size was given",
            "compile first",
        )
    if size_bytes > limit:
        return Gate(
            "size",
            "fail",
            f"{size_bytes} bytes",
            words,
            f"{size_bytes - limit} bytes too large",
            "quantize, prune, or raise max_size_bytes",
            float(size_bytes),
        )
    return Gate("size", "pass", f"{size_bytes} bytes", words, "within the budget", "", float(size_bytes))


def not_measured(name: str, budget: Budget, limit: str, why: str) -> Gate:
    """A gate without a figure: reported, and a failure only if ``require_measured``."""
    reason = f"{_MEASURANDS.get(name, name)} was not measured here: {why or 'no measurement was made'}"
    if budget.require_measured:
        return Gate(
            name,
            "fail",
            "",
            limit,
            f"{reason}; require_measured = true",
            "run where the target's device is, or set require_measured = false",
        )
    return Gate(name, "not_measured", "", limit, reason, "run where the target's device is")


def _latency(budget: Budget, limit: float, p95_ms: float | None, unmeasured: str) -> Gate:
    """G3."""
    words = f"p95 <= {limit:g} ms"
    if p95_ms is None:
        return not_measured("latency", budget, words, unmeasured)
    if not math.isfinite(p95_ms) or p95_ms > limit:
        return Gate(
            "latency",
            "fail",
            f"p95 {p95_ms:.3g} ms",
            words,
            f"{p95_ms / limit:.3g} times the budget" if limit else "above the budget",
            "use more threads, prune, or raise max_latency_ms",
            p95_ms,
        )
    return Gate("latency", "pass", f"p95 {p95_ms:.3g} ms", words, "within the budget", "", p95_ms)


def _never_slower(budget: Budget, speed: Speed | None, unmeasured: str) -> Gate:
    """G4."""
    words = "not slower than float"
    if speed is None:
        return not_measured("never_slower", budget, words, unmeasured)
    measured = f"{speed.ratio:.3g} times float [{speed.low:.3g}, {speed.high:.3g}]"
    if speed.not_slower == "yes":
        return Gate("never_slower", "pass", measured, words, "the interval excludes slower", "", speed.ratio)
    if speed.not_slower == "no":
        return Gate(
            "never_slower",
            "fail",
            measured,
            words,
            "the candidate is slower than the float variant on this target",
            "ship the float variant here, or quantize only the part that pays",
            speed.ratio,
        )
    status, reason = softened(budget, "the interval does not decide whether the candidate is slower")
    return Gate(
        "never_slower",
        status,
        measured,
        words,
        reason,
        "" if status == "pass" else "measure longer",
        speed.ratio,
    )


def judge(
    budget: Budget,
    *,
    drop: Drop | None = None,
    size_bytes: int | None = None,
    latency_p95_ms: float | None = None,
    speed: Speed | None = None,
    unmeasured: str = "",
) -> Verdict:
    """Hold measured numbers against a budget.

    Args:
        budget: the limits; a gate exists only where there is a limit.
        drop: paired drop of the task metric.
        size_bytes: of all files of the artifact.
        latency_p95_ms: None where it was not measured.
        speed: against the float variant; None where it was not measured.
        unmeasured: why latency was not measured, for the report.
    """
    gates = []
    if budget.max_drop_pp is not None:
        gates.append(_accuracy(budget, budget.max_drop_pp, drop))
    if budget.max_size_bytes is not None:
        gates.append(_size(budget.max_size_bytes, size_bytes))
    if budget.max_latency_ms is not None:
        gates.append(_latency(budget, budget.max_latency_ms, latency_p95_ms, unmeasured))
    if budget.never_slower:
        gates.append(_never_slower(budget, speed, unmeasured))
    return verdict_of(gates)


def verdict_of(gates: Sequence[Gate]) -> Verdict:
    """All gates of one artifact as one verdict: the gravest decides."""
    failed = {GATE_CODES[gate.name] for gate in gates if gate.status == "fail"}
    for code in _GRAVEST_FIRST:
        if code in failed:
            return Verdict("fail", code, tuple(gates))
    if any(gate.status == "inconclusive" for gate in gates):
        return Verdict("inconclusive", ExitCode.INCONCLUSIVE, tuple(gates))
    return Verdict("pass", ExitCode.OK, tuple(gates))
