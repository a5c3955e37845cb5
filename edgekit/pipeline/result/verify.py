"""What `edgekit verify` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import ExitCode


@dataclass(frozen=True)
class VerifyRow:
    """One check of a bundle."""

    check: str
    subject: str
    status: Literal["pass", "fail", "not_run"]
    detail: str = ""


@dataclass(frozen=True)
class VerifyResult:
    """A bundle re-hashed and replayed."""

    bundle: Path
    rows: tuple[VerifyRow, ...]
    exit_code: ExitCode
    schema: str = "edgekit/verify-result/1"
