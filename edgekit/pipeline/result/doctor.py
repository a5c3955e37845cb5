"""What `edgekit doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.pipeline.result.rows import MachineRow, TargetHere


@dataclass(frozen=True)
class DoctorRow:
    """One thing that edgekit can use, and whether it is here."""

    name: str
    status: Literal["ok", "missing", "not usable"]
    version: str
    used_for: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorResult:
    """What this machine can do."""

    rows: tuple[DoctorRow, ...]
    machine: MachineRow
    cache: Path
    targets: tuple[TargetHere, ...] = ()
    schema: str = "edgekit/doctor-result/1"
