"""What the machines went through while they measured -> why figures are unstable, and a table of it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report import number
from edgekit.report.page import Block, Cell, Column, Line, Lines, Table

if TYPE_CHECKING:
    from edgekit.pipeline.result import ConditionRow, EnvironmentRow

_WORDS = {
    "others": "CPU taken by other processes",
    "steal": "CPU kept by the hypervisor",
    "throttled": "stopped by the cgroup's quota",
}


def blocks(environments: Sequence[EnvironmentRow], *, unstable: Sequence[str]) -> tuple[Block, ...]:
    """Disturbances with their remedies, and the conditions as a table of details.

    Args:
        environments: one for each machine that measured.
        unstable: names of devices ("" = this machine) with an unstable row: where no rule explains it,
            that is said, with what could not be looked at.
    """
    lines = [line for each in environments for line in _lines(each, unstable=each.device in unstable)]
    several = len(environments) > 1 or any(each.device for each in environments)
    rows = tuple(_row(row, device=several) for each in environments for row in each.conditions)
    columns = (Column("condition"), Column("before", right=True), Column("after", right=True))
    return (
        Lines("What disturbed the measurement", tuple(lines)),
        Table("Conditions", ((Column("device"), *columns) if several else columns), rows, detail=True),
    )


def _lines(environment: EnvironmentRow, *, unstable: bool) -> list[Line]:
    where = f"{environment.device}: " if environment.device else ""
    lines = [
        Line(f"{where}{each.reason} ({each.rule}); next: {each.remedy}", "warn")
        for each in environment.disturbances
    ]
    if unstable and not lines:
        hidden = f" ({', '.join(environment.unread)}: not shown here)" if environment.unread else ""
        lines.append(
            Line(
                f"{where}nothing that the system shows explains the unstable figures{hidden}; "
                "next: measure again, with other work stopped",
                "warn",
            )
        )
    return lines


def _row(row: ConditionRow, *, device: bool) -> tuple[Cell, ...]:
    name, unit = _WORDS.get(row.name, row.name), f" {row.unit}" if row.unit else ""
    before = (
        Cell(number.ABSENT, "muted")
        if row.before is None
        else Cell(f"{number.significant(row.before)}{unit}")
    )
    return (
        *((Cell(row.device),) if device else ()),
        Cell(name),
        before,
        Cell(f"{number.significant(row.after)}{unit}"),
    )
