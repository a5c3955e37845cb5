"""What `edgekit diff` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import ExitCode


@dataclass(frozen=True)
class ChangeRow:
    """One figure of one target, old and new.

    Attributes:
        figure: "precision", "plan", "accuracy", "latency", "size", "memory" or "coverage".
        old: in words; "" where it is not known.
        new: likewise.
        change: in words, with the interval where there is one; "" where the two cannot be compared.
        verdict: "undecided" = the interval straddles what is allowed, or nothing is known about what counts;
            "not_comparable" = not known, and without a vote; "changed" = different, neither better nor worse.
        reason: how it was compared, or why not.
    """

    figure: str
    old: str
    new: str
    change: str
    verdict: Literal["better", "worse", "same", "undecided", "not_comparable", "changed"]
    reason: str = ""


@dataclass(frozen=True)
class DiffRow:
    """What changed for one target; ``status`` is the gravest of its changes, or that one side lacks it."""

    target: str
    status: Literal["better", "worse", "same", "undecided", "added", "removed"]
    changes: tuple[ChangeRow, ...] = ()


@dataclass(frozen=True)
class SideRow:
    """One side of a comparison."""

    source: str
    kind: str
    model: str
    version: str


@dataclass(frozen=True)
class DiffResult:
    """Two releases held against each other; the gravest target decides ``verdict`` and ``exit_code``."""

    old: SideRow
    new: SideRow
    verdict: Literal["better", "worse", "same", "undecided"]
    exit_code: ExitCode
    targets: tuple[DiffRow, ...]
    findings: tuple[str, ...] = ()
    schema: str = "edgekit/diff-result/1"
