"""Files by path -> zip bytes that depend on nothing but paths and contents (wheels, AARs).

Sorted paths, the format's first possible date, no compression (its bytes differ between zlib versions).
Format: PKWARE APPNOTE 4.4.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

from edgekit.bundle.npz import EARLIEST, PLAIN_FILE, UNIX


def to_bytes(files: Mapping[str, bytes], *, last: Iterable[str] = ()) -> bytes:
    """Zip bytes; ``last``: paths that come after all others (a wheel's RECORD)."""
    at_the_end = tuple(last)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for path in (*sorted(set(files) - set(at_the_end)), *at_the_end):
            entry = zipfile.ZipInfo(path, EARLIEST)
            entry.external_attr = PLAIN_FILE
            entry.create_system = UNIX
            archive.writestr(entry, files[path])
    return whole.getvalue()
