"""Source -> SHA-256 of every file that its export may read: what a cached export is good for."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import mmap
from collections.abc import Iterator
from pathlib import Path

from edgekit.ir.external import external_files

# A builder's folder is hashed whole, because it may read any file beside it. Above these limits the export is
# not cached at all: better slow than stale. A model file and what belongs to it are hashed however large.
MAX_FILES = 2_000
MAX_BYTES = 2_000_000_000
_LOCATION = b"location"  # the key of a tensor's file (onnx docs/ExternalData.md)


def source_digest(source: str, *, base: Path, weights: str | None = None) -> str | None:
    """SHA-256 over every file that the export of ``source`` may read, or None where that cannot be told.

    A callable's whole folder counts, because ``build()`` may read any file beside it. None (too many files,
    or a package that cannot be found) means: do not cache.
    """
    where, separator, _ = source.rpartition(":")
    root = base / (where if separator else source)
    if separator and not where.endswith(".py"):
        try:
            spec = importlib.util.find_spec(where.split(".", maxsplit=1)[0])
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None:
            return None
        root = Path(spec.origin)
    files = list(itertools.islice(_files_of(root.parent if separator else root), MAX_FILES + 1))
    if weights:
        files.append(base / weights)
    files = [path for path in files if path.is_file()]
    if not files or len(files) > MAX_FILES:
        return None
    is_builder = separator or not root.is_file()
    if is_builder and sum(path.stat().st_size for path in files) > MAX_BYTES:
        return None
    sha = hashlib.sha256()
    for path in sorted(files):
        sha.update(path.name.encode() + b"\0")
        with path.open("rb") as file:  # in pieces: a copy of the whole file takes as long as its hash
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()


def _files_of(root: Path) -> Iterator[Path]:
    """The file itself, its external data beside it, or all files below a folder that a builder may read."""
    if root.is_file():
        beside = {p for p in root.parent.glob(f"{root.name}*") if p != root}
        yield root
        yield from sorted(beside | {root.parent / name for name in _named_by(root)})
        return
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        ours = path.name == "edgekit.lock" or any(
            p.startswith(".") or p in {"__pycache__", "dist"} for p in parts
        )
        if path.is_file() and not ours:
            yield path


def _named_by(path: Path) -> tuple[str, ...]:
    """The files of its external data that an ONNX file names, whatever they are called."""
    if path.suffix != ".onnx" or not path.stat().st_size:
        return ()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION) < 0:  # most files hold all: they are not parsed for it
            return ()
    try:
        return external_files(path)
    except Exception:  # noqa: BLE001  no ONNX file: whoever loads it says so
        return ()
