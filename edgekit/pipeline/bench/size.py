"""Files of an artifact -> bytes on disk, and bytes of a download.

    download_bytes = sum of |gzip level 9 of each file|, header and checksum included (RFC 1952: 18 bytes)

Gzip is what every HTTP server and client has (RFC 9110, 8.4.1.3), and what a .zip holds (.apk, .aab, .ipa) is
the same stream. Weights hardly shrink; a sparse or a coarsely quantized model does.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

from edgekit.pipeline.result import SizeRow
from edgekit.spec import Artifact

COMPRESSION = "gzip level 9, each file by itself"
_LEVEL = 9
_WITH_GZIP_HEADER = 31  # zlib.compressobj: 16 + the largest window
_CHUNK = 1 << 20


def size_row(artifact: Artifact) -> SizeRow:
    """Sizes of all its files."""
    paths = [artifact.folder / entry.path for entry in artifact.files]
    return SizeRow(
        files=len(paths),
        file_bytes=sum(path.stat().st_size for path in paths),
        download_bytes=sum(_compressed(path, path.stat().st_mtime_ns) for path in paths),
        compression=COMPRESSION,
    )


@lru_cache(maxsize=64)  # a row for each batch and number of threads, and 10 MB take half a second
def _compressed(path: Path, changed_ns: int) -> int:
    del changed_ns  # part of the key
    packer, count = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WITH_GZIP_HEADER), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += len(packer.compress(chunk))
    return count + len(packer.flush())
