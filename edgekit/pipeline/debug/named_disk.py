"""A folder of forms that cannot be written -> OutputError for that folder; no artifact is blamed for it.

the runtime's own error, while a form of the artifact was written or opened --probe--> the disk's, or that one
the system's refusal of a write without a name                                    --> the folder's
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.backends.worker_process import EngineError
from edgekit.write_errors import explained, probe

_ELSEWHERE = "set TMPDIR to a folder with more room"


@contextmanager
def named_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """For work that writes forms of an artifact of ``size_bytes`` into ``folder``, and nothing elsewhere.

    Raises:
        OutputError: there is no room for them, or they may not be written.
    """
    try:
        yield
    except EngineError:  # OpenVINO: "basic_ios::clear: iostream error"
        probe(folder, 2 * size_bytes, elsewhere=_ELSEWHERE)
        raise
    except OSError as error:
        if error.filename is None and (said := explained(error, place=folder, elsewhere=_ELSEWHERE)):
            raise said from error
        raise
