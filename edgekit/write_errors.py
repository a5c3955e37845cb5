"""OSError while writing -> OutputError: the path, the system's words, how much room there is, what to type.

| the system says | what helps |
|---|---|
| ENOSPC, EDQUOT (no space, quota) | room: how much is free there, how much was to be written |
| EACCES, EPERM (permission denied) | another place, or the folder's permissions |
| EROFS (read-only file system) | another place |
| EFBIG (a file would be larger than allowed) | the limit of the shell or of the file system |
| EIO (the disk has a fault) | another disk |

None of them is a bug of edgekit, wherever it comes up: ``explained`` gives the same error for one that nobody
expected. Source of the numbers: errno(3).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

from edgekit.errors import OutputError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
DENIED = frozenset({errno.EACCES, errno.EPERM})
CAUSES = NO_ROOM | DENIED | {errno.EROFS, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR}
"""What the machine refuses, as opposed to what edgekit did wrong."""
_MORE = "docs/faults.md"
_FOLDERS = "name other folders (-o, EDGEKIT_CACHE, TMPDIR)"
_ERRNO = re.compile(r"\[Errno (?P<number>\d+)\] [^:\n]*(?:: '(?P<file>[^'\n]*)')?")
_MEGA = 1e6
_PIECE = bytes(1 << 16)


def cannot_write(
    path: Path | str, error: OSError, *, elsewhere: str = "", size_bytes: int | None = None
) -> OutputError:
    """The error for ``path``, a file or a folder that could not be written.

    Args:
        path: what was to be written.
        error: what the system said.
        elsewhere: how another place is chosen: "choose another folder with -o".
        size_bytes: how much was to be written, where that is known.
    """
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}",
        why=_why(Path(path), error, size_bytes),
        remedy=_remedy(Path(path), error.errno, elsewhere or "choose another place"),
        more=_MORE,
    )


def explained(
    error: OSError, *, place: Path | str | None = None, elsewhere: str = _FOLDERS
) -> OutputError | None:
    """The same for an error that nobody expected; None where it is something else than the machine's refusal.

    Args:
        error: what was raised.
        place: which folder was being written, for an error that names no file.
        elsewhere: as ``cannot_write`` has it.
    """
    if error.errno not in CAUSES:
        return None
    named = error.filename if isinstance(error.filename, str) else None
    return cannot_write(named or place or "a file", error, elsewhere=elsewhere)


def quoted(text: str) -> OSError | None:
    """The machine's refusal in the last words of another Python process: "OSError: [Errno 5] ...: 'file'"."""
    for found in reversed(list(_ERRNO.finditer(text))):
        number = int(found["number"])
        return OSError(number, os.strerror(number), found["file"]) if number in CAUSES else None
    return None


def probe(folder: Path, size_bytes: int, *, elsewhere: str) -> None:
    """Whether a file of ``size_bytes`` can be written into ``folder``.

    Native writers say that they failed, and seldom why; after one has, this asks the system.

    Raises:
        OutputError: it cannot.
    """
    path = folder / f".{os.getpid()}.probe"
    try:
        with path.open("wb") as file:
            for _ in range(0, size_bytes, len(_PIECE)):
                file.write(_PIECE)
            file.write(_PIECE)
    except OSError as error:
        raise cannot_write(folder, error, elsewhere=elsewhere, size_bytes=size_bytes) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _why(path: Path, error: OSError, size_bytes: int | None) -> str:
    if error.errno in NO_ROOM:
        return _room(path, size_bytes)
    if error.errno in DENIED:
        return f"this user may not write into {_folder_of(path)}"
    where = error.filename if isinstance(error.filename, str) else ""
    inside = bool(where) and Path(where).is_relative_to(path.parent)  # a draft: its name says nothing
    return f"the system refused{f' it at {where}' if where and not inside else ''}"


def _folder_of(path: Path) -> Path:
    try:
        return path if path.is_dir() else path.parent
    except OSError:  # ENAMETOOLONG is one of the causes
        return path.parent


def _room(path: Path, size_bytes: int | None) -> str:
    """How much is free where ``path`` is, and how much was wanted."""
    for folder in (path, *path.parents):
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        wanted = f", {size_bytes / _MEGA:.1f} MB were to be written" if size_bytes is not None else ""
        return f"{free / _MEGA:.1f} MB are free there{wanted}"
    return "how much is free there, nobody says"


def _remedy(path: Path, number: int | None, elsewhere: str) -> str:
    folder = _folder_of(path)
    where = os.fspath(folder)
    if number in NO_ROOM:
        return f"make room (`df -h {where}`; `edgekit clean` empties the cache), or {elsewhere}"
    if number in DENIED:
        return f"`ls -ld {where}` shows who may write there; or {elsewhere}"
    if number == errno.EROFS:
        return f"mount it writable, or {elsewhere}"
    if number == errno.EFBIG:
        return f"`ulimit -f` shows the largest file that the shell allows; or {elsewhere}"
    if number == errno.EIO:
        return f"the disk or its connection has a fault (`dmesg`): {elsewhere}"
    return elsewhere
