"""What `edgekit verify` found."""

from __future__ import annotations

from collections.abc import Mapping
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
class DeviceFacts:
    """A device and what it said of itself: cpu, architecture, and by what it is "emulated", if it is."""

    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class VerifyResult:
    """A bundle re-hashed and replayed; on ``device`` where one was named.

    Attributes:
        first_difference: subject and detail of the first row that failed; "" where none did.
        origin: who vouches for the bundle, or why nobody does, in words.
    """

    bundle: Path
    rows: tuple[VerifyRow, ...]
    exit_code: ExitCode
    device: DeviceFacts | None = None
    first_difference: str = ""
    origin: str = ""
    schema: str = "edgekit/verify-result/1"
