"""Recipe -> the files that the model was built from, by relative path, with their SHA-256.

F1  file.py:callable         the file, and the Python and weight files beside it: a builder may read them
F2  package.module:callable  the module's file
F3  a SavedModel             every file in it
F4  .onnx                    the file and its external data
F5  any other file           itself
    and [model] weights, everywhere

Files that edgekit writes (.onnx, .tflite, a lock) are no weight files: a second release beside the first must
give the same manifest. What a builder reads besides is in the digest of the canonical graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from edgekit.ir.external import external_files

_BESIDE = frozenset({".py", ".pt", ".pth", ".th", ".pt2", ".safetensors", ".h5", ".keras", ".ckpt", ".bin"})


def source_files(source: str, *, base: Path, weights: str | None = None) -> dict[str, str]:
    """SHA-256 by name; a file outside ``base`` is called by its name alone."""
    files = [*_files(source, base)]
    if weights:
        files.append(base / weights)
    found = {}
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                found[_name(path, base)] = hashlib.file_digest(file, "sha256").hexdigest()
    return dict(sorted(found.items()))


def _files(source: str, base: Path) -> Iterator[Path]:
    where, separator, _ = source.rpartition(":")
    path = base / (where if separator and not (base / source).exists() else source)
    if separator and not path.exists():
        yield from _module(where)  # F2
        return
    if path.is_dir():  # F3
        yield from (each for each in path.rglob("*") if each.is_file())
        return
    yield path
    if path.suffix == ".py":  # F1
        yield from (each for each in path.parent.iterdir() if each.suffix in _BESIDE and each != path)
    elif path.suffix == ".onnx":  # F4
        yield from (path.parent / name for name in external_files(path))


def _module(name: str) -> Iterator[Path]:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return
    if found is not None and found.origin is not None:
        yield Path(found.origin)


def _name(path: Path, base: Path) -> str:
    whole = Path(os.path.normpath(path))
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else whole.name
