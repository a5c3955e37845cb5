"""Program x what it is compiled for -> its compiled form, made once: the kernels' place in the cache folder.

    aoti/<key>/kernels.pt2, kernels.sha256      in place by one rename, both or neither

K1  two processes that compile one program both finish; the first one's entry stands
K2  what a killed one left is removed by the next that compiles the same (``edgekit.drafts``)
K3  an entry with other bytes than were written is compiled anew: it is machine code that will run
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from edgekit import drafts
from edgekit.write_errors import explained

_FILE, _SEAL = "kernels.pt2", "kernels.sha256"  # AOTInductor takes no other ending than .pt2
_ELSEWHERE = "set EDGEKIT_CACHE to a folder that you may write"


def kept(entry: Path, make: Callable[[Path], None]) -> Path:
    """The file in the folder ``entry``; ``make`` writes it where there is none, or another than was written.

    Raises:
        OutputError: the folder cannot be written.
    """
    if _is_whole(entry):
        drafts.remove_left(entry)  # of one that was killed after its rename
        return entry / _FILE
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with drafts.folder(entry) as draft:
            made = draft / "made"
            made.mkdir()
            make(made / _FILE)
            (made / _SEAL).write_text(_hash(made / _FILE))
            if not _is_whole(entry):  # K1: another process may have been faster
                with contextlib.suppress(FileNotFoundError):
                    entry.rename(draft / "damaged")
                made.rename(entry)
    except OSError as error:
        if _is_whole(entry):
            return entry / _FILE
        if said := explained(error, place=entry.parent, elsewhere=_ELSEWHERE):
            raise said from error
        raise
    return entry / _FILE


def _is_whole(entry: Path) -> bool:
    try:
        return (entry / _SEAL).read_text() == _hash(entry / _FILE)
    except (OSError, ValueError):  # not there, or the seal is no text any more
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
