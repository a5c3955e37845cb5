"""Draft folder -> folder of its final name, in one rename; the earlier one comes back if that fails."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_beside(folder: Path) -> Iterator[Path]:
    """A new folder of the same name, in a new one beside ``folder`` that is removed at the end."""
    around = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.draft")
    draft = around / folder.name  # a signature names the folder that it is over
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(around, ignore_errors=True)


def put(path: Path, body: bytes) -> None:
    """Write a file of a draft, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def swap(draft: Path, folder: Path) -> None:
    """Put ``draft`` at ``folder``; the earlier folder comes back if that fails."""
    if not folder.exists():
        draft.rename(folder)
        return
    earlier = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.earlier")
    folder.rename(earlier)
    try:
        draft.rename(folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def members(folder: Path) -> set[str]:
    """POSIX paths of all files and links below ``folder``, relative to it."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            found.add(path.relative_to(folder).as_posix())
    return found
