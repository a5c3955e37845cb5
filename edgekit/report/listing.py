"""What the verbs about edgekit itself show: target tables, written examples, schema names.

No stage makes these, so they are not in ``pipeline.result``; they render and print like any other result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.pipeline.result.rows import TargetHere
from edgekit.spec import Precision


@dataclass(frozen=True)
class TargetSummary:
    """One line of ``edgekit targets``.

    Attributes:
        extra: what must be installed, "" for the base install.
        marked: of a check: that it is not run here, and whose rules it has; "" = it is none.
    """

    name: str
    summary: str
    backend: str
    ladder: tuple[Precision, ...]
    extension: str
    extra: str
    marked: str = ""


@dataclass(frozen=True)
class TargetsResult:
    """All shipped targets; ``here`` is what this machine can do for them, where that was asked."""

    targets: tuple[TargetSummary, ...]
    here: tuple[TargetHere, ...] = ()
    schema: str = "edgekit/targets-result/1"


@dataclass(frozen=True)
class TargetResult:
    """One target, with its file's content as it was read and checked."""

    name: str
    target: Mapping[str, Any]
    schema: str = "edgekit/target-result/1"


@dataclass(frozen=True)
class InitResult:
    """The files of an example that were written."""

    folder: Path
    example: str
    files: tuple[Path, ...]
    schema: str = "edgekit/init-result/1"


@dataclass(frozen=True)
class SchemasResult:
    """The names that ``edgekit schema NAME`` takes."""

    names: tuple[str, ...]
    schema: str = "edgekit/schemas-result/1"


LISTINGS: dict[str, type] = {
    "targets": TargetsResult,
    "targets-show": TargetResult,
    "init": InitResult,
    "schemas": SchemasResult,
}
