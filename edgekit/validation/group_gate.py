"""Losses of classes and slices + Budget -> gate, and the groups that stand out.

    G10  groups  corrected interval of one group entirely above the budget -> fail; of all within -> pass;
                 else inconclusive, as G1 (``validation.budget``)

Without a budget for groups there is no gate. A group stands out where its corrected interval lies above what
the whole may lose (a point where nothing is said): that is a finding, and fails nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.validation.budget import Budget, Gate, softened
from edgekit.validation.groups import Group

DEFAULT_LIMIT = 1.0  # the recipe's default budget


def outstanding(budget: Budget, groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups whose whole interval is above what may be lost, the largest loss first."""
    limit = budget.max_group_drop_pp
    if limit is None:
        limit = DEFAULT_LIMIT if budget.max_drop_pp is None else budget.max_drop_pp
    return tuple(group for group in groups if group.low > limit)


def sentence(group: Group) -> str:
    """What is lost, in words."""
    ends = f"[{group.low:+.3g}, {group.high:+.3g}]"
    return (
        f"{group.kind} {group.name} loses {group.drop:.3g} {group.unit} {ends}, from {group.reference:.4g} to"
        f" {group.candidate:.4g} on {group.samples} samples"
    )


def group_gates(budget: Budget, groups: Sequence[Group]) -> tuple[Gate, ...]:
    """The gate, where the budget asks for one."""
    limit = budget.max_group_drop_pp
    if limit is None:
        return ()
    if not groups:
        return (
            Gate(
                "groups",
                "inconclusive",
                "",
                f"drop of each <= {limit:g}",
                "there is a budget for classes and slices, but none was found",
                "give class labels or slices, or leave max_group_drop_pp out",
            ),
        )
    worst = max(groups, key=lambda group: group.high)
    lost = [group for group in groups if group.low > limit]
    named = lost[0] if lost else worst
    words = f"drop of each <= {limit:g} {named.unit}"
    measured = (
        f"{named.kind} {named.name}: {named.drop:+.3g} {named.unit} [{named.low:+.3g}, {named.high:+.3g}]"
    )
    if lost:
        others = f" and {len(lost) - 1} more of {len(groups)}" if len(lost) > 1 else ""
        return (
            Gate(
                "groups",
                "fail",
                measured,
                words,
                f"{sentence(named)}{others}, above the budget for a group",
                "quantize less of the model; `edgekit debug` ranks the layers",
                named.drop,
            ),
        )
    if worst.high <= limit:
        return (
            Gate(
                "groups", "pass", measured, words, f"all {len(groups)} are within the budget", "", named.drop
            ),
        )
    status, reason = softened(budget, f"the interval of {named.kind} {named.name} straddles the budget")
    remedy = "" if status == "pass" else "evaluate on more samples of it, or change max_group_drop_pp"
    return (Gate("groups", status, measured, words, reason, remedy, named.drop),)
