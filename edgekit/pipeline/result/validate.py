"""What `edgekit validate` found: artifacts beside one float reference."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import ExitCode
from edgekit.pipeline.result.rows import AccuracyRow, DriftRow, FlipsRow, GateRow, GroupRow, PairRow, Status


@dataclass(frozen=True)
class ValidatedRow:
    """One artifact held against the reference and a budget.

    Attributes:
        artifact: as it was named, or its file in the bundle or folder that was named.
        target: "" where the file does not say.
        accuracy: None where its outputs are not finite; the gate says so.
        groups: classes and slices, the largest loss first.
        notes: what was matched by position.
        flips: labels that changed; None without classes.
    """

    artifact: str
    target: str
    precision: str
    status: Status
    exit_code: ExitCode
    gates: tuple[GateRow, ...]
    accuracy: AccuracyRow | None
    drift: tuple[DriftRow, ...]
    ran_on: str
    groups: tuple[GroupRow, ...] = ()
    notes: tuple[str, ...] = ()
    flips: FlipsRow | None = None


@dataclass(frozen=True)
class ValidateResult:
    """Artifacts held against one reference and a budget; the reference ran once.

    Attributes:
        status: the gravest of the artifacts'.
        exit_code: likewise.
        matrix: drift of every pair that matters.
        findings: what a reader should know though no gate failed.
    """

    reference: str
    status: Status
    exit_code: ExitCode
    artifacts: tuple[ValidatedRow, ...]
    matrix: tuple[PairRow, ...] = ()
    findings: tuple[str, ...] = ()
    schema: str = "edgekit/validate-result/2"

    @property
    def only(self) -> ValidatedRow:
        """The first artifact: all there is where one was named."""
        return self.artifacts[0]

    @property
    def gates(self) -> tuple[GateRow, ...]:
        """The first artifact's gates."""
        return self.only.gates

    @property
    def accuracy(self) -> AccuracyRow:
        """The first artifact's accuracy.

        Raises:
            ValueError: its outputs are not finite.
        """
        if self.only.accuracy is None:
            raise ValueError(f"{self.only.artifact} has no accuracy: its outputs are not finite")
        return self.only.accuracy

    @property
    def drift(self) -> tuple[DriftRow, ...]:
        """The first artifact's drift."""
        return self.only.drift

    @property
    def notes(self) -> tuple[str, ...]:
        """The first artifact's notes."""
        return self.only.notes
