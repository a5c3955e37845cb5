"""Rows on disk: what is done is not done again.

    OUT/rows/<row>/row.json     key, verdict, figures          OUT/rows/<row>/<artifact>, <artifact>.json
    OUT/rows/<row>/bench.json   every sample                   OUT/locks/<model>.lock, .pruned.onnx

The key is over everything that a row depends on: its recipe and target, every file that its source and its
data may read, versions of tools, edgekit's own code, the device. A row is kept when it was decided (exit code
0, 3, 4, 5, 7); one whose device was missing, that timed out, or that an error ended, is tried again. Files
appear by rename, row.json last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.lock import Lock, read_file
from edgekit.pipeline.result.sweep import SweepRow
from edgekit.pipeline.source_digest import source_digest
from edgekit.pipeline.sweep.rows import Row, Source
from edgekit.pipeline.versions import code_digest, tools
from edgekit.pipeline.write import write_text
from edgekit.spec import from_json, to_json

DECIDED = frozenset(
    {
        ExitCode.OK,
        ExitCode.ACCURACY_GATE,
        ExitCode.LATENCY_OR_SIZE_GATE,
        ExitCode.TARGET_REFUSES,
        ExitCode.INCONCLUSIVE,
    }
)
_SCHEMA = "edgekit/sweep-row/1"


class Kept:
    """The rows and locks below one folder."""

    def __init__(self, out: Path, *, rounds: int) -> None:
        self.out, self._rounds = out, rounds
        self._fingerprints: dict[str, str] = {}

    def folder(self, row: Row) -> Path:
        """Where the row's files lie."""
        return self.out / "rows" / row.id

    def key(self, row: Row) -> str:
        """Over everything that the row depends on."""
        document = {
            "row": row.digest(),
            "device": row.device.model_dump(mode="json"),
            "files": self._files_of(row.source),
            "travel": dict(row.plan.files),
            "tools": tools(row.target.extra, "torch", "keras"),
            "code": code_digest(),
            "rounds": self._rounds,
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def read(self, row: Row, key: str) -> SweepRow | None:
        """The row of an earlier run, where it was decided and nothing has changed."""
        try:
            document = json.loads((self.folder(row) / "row.json").read_text("utf-8"))
            if document.get("schema") != _SCHEMA or document["key"] != key:
                return None
            if document["sha256"] != _digest_of(document["row"]):
                return None  # a bit of it has flipped
            found = from_json(SweepRow, document["row"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None  # none, or damaged: it is done again
        if found.exit_code not in DECIDED or found.status == "timed out" or not self._is_whole(found):
            return None
        return replace(found, before=True)

    def write(self, row: Row, key: str, found: SweepRow) -> None:
        """Keep the row; its other files are there already."""
        row_document = to_json(replace(found, before=False))
        document = {"schema": _SCHEMA, "key": key, "sha256": _digest_of(row_document), "row": row_document}
        write_text(self.folder(row) / "row.json", json.dumps(document, indent=1) + "\n")

    def _is_whole(self, found: SweepRow) -> bool:
        """Whether its artifact still is what the row says."""
        if found.artifact is None or not found.folder:
            return True
        path = self.out / found.folder / found.artifact.file
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == found.artifact.sha256

    def lock(self, group: str) -> Lock | None:
        """The lock of a model's rows, or None.

        Raises:
            RecipeError: there is one, and it cannot be read.
        """
        return read_file(
            self.lock_path(group), remedy="restore it, or remove it and sweep again", more="docs/sweep.md"
        )

    def lock_path(self, group: str) -> Path:
        """Where a model's lock lies."""
        return self.out / "locks" / f"{group}.lock"

    def pruned_path(self, group: str) -> Path:
        """Where the pruned model lies that a lock names: solved again, its last bits would differ."""
        return self.out / "locks" / f"{group}.pruned.onnx"

    def _files_of(self, source: Source) -> str:
        if source.name not in self._fingerprints:
            self._fingerprints[source.name] = fingerprint(source)
        return self._fingerprints[source.name]


def _digest_of(row: object) -> str:
    """As it is read back: JSON has neither tuples nor numbers for keys."""
    read_back = json.loads(json.dumps(row))
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


def fingerprint(source: Source) -> str:
    """Over every file that a recipe's source, data and metric may read.

    What is too large to hash counts by its size and time of change.
    """
    base = source.path.resolve().parent
    model, data = source.recipe.model, source.recipe.data
    named = [model.source, data.evaluation.source, data.evaluation.metric]
    named += [data.calibration.source] if data.calibration else []
    said = {name: _digest(name, base) for name in named}
    if model.weights:
        said[model.weights] = _digest(model.weights, base)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _digest(name: str, base: Path) -> str:
    where, separator, _ = name.rpartition(":")
    if not separator and not (base / name).exists():
        return name  # a shipped set, or a metric of the table
    digest = source_digest(name, base=base)
    if digest is not None:
        return digest
    root = base / (where or name)
    return str(
        sorted(_stat(path) for path in (root.rglob("*") if root.is_dir() else [root]) if path.is_file())
    )


def _stat(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return (path.name, found.st_size, found.st_mtime_ns)


def check_outside(folder: Path, sources: Iterator[Source] | tuple[Source, ...], *, flag: str) -> None:
    """That what a sweep writes is no part of what a source may read.

    Raises:
        InputError: it is, and every run would make everything anew.
    """
    whole = folder.resolve()
    for source in sources:
        where, separator, _ = source.recipe.model.source.rpartition(":")
        root = (source.path.resolve().parent / where).parent if separator and where.endswith(".py") else None
        if root is None or not whole.is_relative_to(root):
            continue
        parts = whole.relative_to(root).parts
        if not parts or not any(part == "dist" or part.startswith(".") for part in parts):
            raise InputError(
                f"{flag} {folder} lies in the folder of {source.recipe.model.source}",
                why="a builder may read any file of its folder, so every run would export it anew",
                remedy=f"{flag} dist/sweep, or a folder elsewhere",
                more="docs/sweep.md",
            )
