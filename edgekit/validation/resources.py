"""Memory and operator coverage + Budget -> gates.

    G5  memory    peak resident bytes while it runs, less those before it was loaded <= budget
    G6  coverage  share of MACs on the device and in the precision asked for >= budget (``coverage``)

Not measured is treated as in G3 (``validation.budget``). Memory has exit code 4, like size; coverage has 5:
the target does not take this much of the model, which is what a refusal says node by node.
"""

from __future__ import annotations

from edgekit.validation.budget import Budget, Gate, not_measured
from edgekit.validation.coverage import Coverage, Elsewhere

_NAMED = 5  # nodes that a sentence bears; the JSON lists all


def resource_gates(
    budget: Budget, *, memory_bytes: int | None, coverage: Coverage | None, unmeasured: str
) -> tuple[Gate, ...]:
    """The gates that the budget asks for."""
    gates = []
    if budget.max_memory_bytes is not None:
        gates.append(_memory(budget, budget.max_memory_bytes, memory_bytes, unmeasured))
    if budget.min_coverage is not None:
        gates.append(_coverage(budget, budget.min_coverage, coverage, unmeasured))
    return tuple(gates)


def _memory(budget: Budget, limit: int, found: int | None, unmeasured: str) -> Gate:
    """G5."""
    words = f"memory <= {limit} bytes"
    if found is None:
        return not_measured("memory", budget, words, unmeasured or "this system does not say it")
    measured = f"{found} bytes at the peak"
    if found > limit:
        return Gate(
            "memory",
            "fail",
            measured,
            words,
            f"{found - limit} bytes too much",
            "quantize, prune, shrink the input, or raise max_memory_bytes",
            float(found),
        )
    return Gate("memory", "pass", measured, words, "within the budget", "", float(found))


def _coverage(budget: Budget, limit: float, found: Coverage | None, unmeasured: str) -> Gate:
    """G6."""
    words = f"coverage >= {100 * limit:g} %"
    if found is None:
        return not_measured("coverage", budget, words, unmeasured or "the runtime does not say what it runs")
    counted = f"{found.covered} of {found.operators} operators that multiply"
    counted += f"; {found.untold} more do not say in which type" if found.untold else ""
    measured = f"{100 * found.share:.4g} % of {found.by} ({counted})"
    if found.share < limit:
        return Gate(
            "coverage",
            "fail",
            measured,
            words,
            f"elsewhere: {nodes_in_words(found.elsewhere)}",
            "replace those operators, take another target or precision, or lower min_coverage",
            found.share,
        )
    return Gate("coverage", "pass", measured, words, "within the budget", "", found.share)


def nodes_in_words(nodes: tuple[Elsewhere, ...]) -> str:
    """The first few by name, with what ran instead."""
    named = ", ".join(
        f"{each.node} ({each.operator}, {each.precision} on {each.device})" for each in nodes[:_NAMED]
    )
    more = len(nodes) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
