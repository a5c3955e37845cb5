"""Changes against the last release + tolerances -> gates.

    G7  baseline_accuracy  the loss against the baseline's artifact <= tolerance, by its interval (as G1)
    G8  baseline_latency   p50_new / p50_old <= tolerance, by its interval; another machine: as G3
    G9  baseline_size      bytes_new / bytes_old <= tolerance

A target that the baseline does not have is not measured, and never a failure: nothing there could get worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.validation.budget import Budget, Gate, not_measured, softened
from edgekit.validation.regression import Change, NotComparable

_REMEDIES = {
    "baseline_accuracy": "find what changed (`edgekit diff OLD NEW`), or raise baseline_max_drop_pp",
    "baseline_latency": "find what changed (`edgekit diff OLD NEW`), or raise baseline_max_latency",
    "baseline_size": "find what changed (`edgekit diff OLD NEW`), or raise baseline_max_size",
}


@dataclass(frozen=True)
class Changes:
    """What changed from the baseline's artifact of one target."""

    accuracy: Change | NotComparable
    latency: Change | NotComparable
    size: Change | NotComparable


def baseline_gates(budget: Budget, changes: Changes | None, *, source: str) -> tuple[Gate, ...]:
    """The three gates; ``changes`` is None where the baseline has no such target."""
    if changes is None:
        budget = replace(budget, require_measured=False)
        missing = NotComparable(f"{source} has no artifact for this target")
        changes = Changes(missing, missing, missing)
    return (
        _gate("baseline_accuracy", budget, changes.accuracy, budget.baseline_max_drop_pp),
        _gate("baseline_latency", budget, changes.latency, budget.baseline_max_latency),
        _gate("baseline_size", budget, changes.size, budget.baseline_max_size),
    )


def _gate(name: str, budget: Budget, change: Change | NotComparable, limit: float) -> Gate:
    if isinstance(change, NotComparable):
        return not_measured(name, budget, f"<= {limit:g}", change.why)
    unit = "times" if change.unit == "x" else change.unit
    words = f"{'change' if change.unit == 'x' else 'loss'} <= {limit:g} {unit}"
    measured = f"{change.value:.4g} {unit} [{change.low:.4g}, {change.high:.4g}] ({change.method})"
    if change.low > limit:
        reason = "even the lower end of the interval is above what the baseline allows"
        return Gate(name, "fail", measured, words, reason, _REMEDIES[name], change.value)
    if change.high <= limit:
        return Gate(name, "pass", measured, words, "within what the baseline allows", "", change.value)
    status, reason = softened(budget, "the interval straddles what the baseline allows")
    return Gate(name, status, measured, words, reason, _REMEDIES[name], change.value)
