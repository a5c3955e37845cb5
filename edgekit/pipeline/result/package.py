"""What `edgekit package` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.errors import ExitCode
from edgekit.spec import Precision


@dataclass(frozen=True)
class PackagedRow:
    """An artifact in a package, and why this one."""

    target: str
    precision: Precision
    reason: str


@dataclass(frozen=True)
class PackageRow:
    """One package.

    Attributes:
        kind: as asked for.
        path: its folder; None where it was refused.
        artifacts: what went in.
        files: how many, edgekit-package.json included.
        size_bytes: of all of them.
        exit_code: 0, or why there is none.
        reason: likewise, in words.
        remedy: what to do about it.
        notes: what its user should know.
        facts: what the kind says of itself.
    """

    kind: str
    path: Path | None
    artifacts: tuple[PackagedRow, ...] = ()
    files: int = 0
    size_bytes: int = 0
    exit_code: ExitCode = ExitCode.OK
    reason: str = ""
    remedy: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PackageResult:
    """Packages made from one bundle; ``exit_code`` is that of the first that was refused."""

    bundle: Path
    signature: str
    packages: tuple[PackageRow, ...]
    exit_code: ExitCode
    schema: str = "edgekit/package-result/1"
