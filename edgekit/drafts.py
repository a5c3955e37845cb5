"""Draft under a temporary name -> its final name, in one rename; the next one removes what a dead one left.

    .NAME.<12 hex digits>.draft --written, whole--> NAME

D1  two processes that write one file have two drafts: the later rename wins, whole
D2  a maker holds a lock on its draft (flock(2)), which ends with the process, kill -9 included: what can be
    locked has nobody who works on it
D3  it looks for such drafts where it makes its own, and only for its own name's
D4  without flock (Windows, some network file systems) nothing is removed: somebody may work on it

Names begin with a dot: no glob of a user's finds them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".draft"


@contextmanager
def file(path: Path) -> Iterator[Path]:
    """A path to write to; it becomes ``path`` at the end, and is gone where something was raised.

    Raises:
        OSError: it cannot be made or renamed.
    """
    remove_left(path)
    with _held(path, folder=False) as draft:
        yield draft
        draft.replace(path)


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path``, gone at the end; what is in it is renamed by the caller.

    Raises:
        OSError: it cannot be made.
    """
    remove_left(path)
    with _held(path, folder=True) as draft:
        yield draft


@contextmanager
def temporary(prefix: str = "edgekit-") -> Iterator[Path]:
    """A new folder in TMPDIR, gone at the end, also where Ctrl-C comes right after its making.

    tempfile.TemporaryDirectory takes care of it from the next statement on (seen in Python 3.11).

    Raises:
        OSError: it cannot be made.
    """
    made = Path(tempfile.gettempdir(), f"{prefix}{uuid.uuid4().hex}")  # 122 random bits: nobody has it
    try:
        made.mkdir(mode=0o700)
        yield made
    finally:
        _removed(made)


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """One process at a time in the folder ``place``: for steps of several renames."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def remove_left(path: Path) -> None:
    """Remove drafts of ``path`` that nobody works on (D2)."""
    with contextlib.suppress(OSError):  # no such folder, or none of ours to change
        for each in list(path.parent.glob(f".{_literal(path.name)}.*{_SUFFIX}")):
            _remove_unheld(each)


@contextmanager
def _held(path: Path, *, folder: bool) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{_SUFFIX}")
    descriptor: int | None = None
    try:  # around the making too: Ctrl-C may come right after it
        descriptor = _made(draft, folder=folder)
        yield draft
    finally:
        with contextlib.suppress(OSError):
            if folder:
                _removed(draft)
            else:
                draft.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _removed(folder: Path) -> None:
    """Ctrl-C in the middle of it does not leave the rest."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _made(draft: Path, *, folder: bool) -> int | None:
    """Make it; the descriptor that holds it. Again, where somebody removed it before it was held."""
    while True:
        if folder:
            draft.mkdir()
            if os.name == "nt":  # a folder cannot be opened there
                return None
        try:
            descriptor = os.open(draft, os.O_RDONLY if folder else os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileNotFoundError:
            if not folder:
                raise  # there is no folder for it
            continue
        _lock(descriptor, wait=True)
        if os.name == "nt":  # an open file cannot be renamed there
            os.close(descriptor)
            return None
        if draft.exists():
            return descriptor
        os.close(descriptor)


def _remove_unheld(draft: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        if not _lock(descriptor, wait=False):
            return
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Whether the lock is ours (D4: False where there are none)."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _literal(name: str) -> str:
    """``name`` in a glob."""
    return "".join(f"[{each}]" if each in "[*?" else each for each in name)
