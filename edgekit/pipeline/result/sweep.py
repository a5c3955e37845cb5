"""What `edgekit sweep` found: a row for each cell of the matrix, and which of them nobody beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.errors import ExitCode
from edgekit.pipeline.result.release import CandidateRow
from edgekit.pipeline.result.rows import MachineRow
from edgekit.spec import Precision, Rejection

SweepStatus = Literal["pass", "fail", "inconclusive", "refused", "missing", "timed out", "error"]


@dataclass(frozen=True)
class SweepRow:
    """One cell of the matrix.

    Attributes:
        id: recipe, target, precision, options and device; also the name of its folder.
        recipe: the model's name, as the recipe has it.
        threads: None = the target's own number.
        status: "missing": its device or a worker was not there; "timed out": one of its tasks took longer
            than the sweep's limit; "error": it could not be decided otherwise.
        exit_code: what it would be as a release of this target alone.
        reason: why it is what it is.
        remedy: what to do next, where it did not pass.
        artifact: what was chosen for it, with its figures and gates; None where nothing was made.
        folder: where artifact and figures lie; "" where nothing was made.
        higher_is_better: of the metric.
        data: digest of the evaluation data: rows of one data set and metric are compared.
        machine: key of what measured; "" = not measured.
        seconds: of work, wherever it was done; what the cache had is not in it.
        before: whether it was there from an earlier run.
        front: whether nobody beats it, of the rows with its metric, data and device that pass.
        beaten_by: the first that is nowhere worse (latency, size, memory, metric) and somewhere better.
    """

    id: str
    recipe: str
    target: str
    precision: Precision
    threads: int | None
    device: str
    status: SweepStatus
    exit_code: ExitCode
    reason: str
    remedy: str = ""
    artifact: CandidateRow | None = None
    prune: str = ""
    folder: str = ""
    higher_is_better: bool = True
    data: str = ""
    machine: str = ""
    rejections: tuple[Rejection, ...] = ()
    seconds: float = 0.0
    before: bool = False
    front: bool = False
    beaten_by: str = ""


@dataclass(frozen=True)
class SweepResult:
    """A sweep: all rows in the matrix's order.

    Attributes:
        matrix: the file, as it was given.
        out: folder of rows, locks and reports.
        scheduler: who did it, in words.
        exit_code: the gravest of the rows'.
        left_out: cells that are no rows, and why.
        findings: what was noticed about models and data.
        machines: what measured, by key.
        lost: tasks that began again because their worker was lost.
    """

    matrix: str
    out: Path
    scheduler: str
    rows: tuple[SweepRow, ...]
    exit_code: ExitCode
    left_out: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    machines: Mapping[str, MachineRow] = field(default_factory=dict)
    lost: int = 0
    schema: str = "edgekit/sweep-result/1"

    @property
    def status(self) -> str:
        """The exit code's name in lower case."""
        return self.exit_code.name.lower()
