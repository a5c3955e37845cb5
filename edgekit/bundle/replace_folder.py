"""Draft folder -> folder of its final name, in one rename; the earlier one comes back if that fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit import drafts


@contextmanager
def draft_beside(folder: Path) -> Iterator[Path]:
    """A new folder of the same name, in a new one beside ``folder`` that is removed at the end."""
    with drafts.folder(folder) as around:
        draft = around / folder.name  # a signature names the folder that it is over
        draft.mkdir()
        yield draft


def put(path: Path, body: bytes) -> None:
    """Write a file of a draft, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def swap(draft: Path, folder: Path) -> None:
    """Put ``draft`` at ``folder``; the earlier folder comes back if that fails.

    One process at a time: the caller holds ``drafts.alone`` of the folder around.
    """
    earlier = _earlier(folder)
    if not folder.exists():
        draft.rename(folder)
        return
    if earlier.exists():  # a run was killed before it removed it
        shutil.rmtree(earlier)
    folder.rename(earlier)
    try:
        draft.rename(folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def bring_back(folder: Path) -> None:
    """Tidy up after a run that was killed in ``swap``: between its renames, or with the earlier one there.

    One process at a time, as ``swap``.
    """
    earlier = _earlier(folder)
    if not earlier.is_dir():
        return
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
    else:
        earlier.rename(folder)


def _earlier(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.earlier")


def members(folder: Path) -> set[str]:
    """POSIX paths of all files and links below ``folder``, relative to it."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            found.add(path.relative_to(folder).as_posix())
    return found
