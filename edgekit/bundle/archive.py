"""Files of a folder <-> a tar of which there is only one.

    pack(folder, paths) -> <root>/<path>... sorted by path, mode 0644, owner 0, one fixed time, no folders
    unpack(tar) -> folder                the other way, and only for a tar that `pack` could have written

    U1 plain files only: no link, folder, device, sparse file      U2 paths stay inside, below one root
    U3 no path twice, in order, none that lies in another          U4 not more files or bytes than the limits
    U5 packing the unpacked files again gives the same bytes

U5 checks every byte of headers and padding, without any digest beside the archive; names and content are what
the manifest in it checks. Format: POSIX.1-2001 (pax), whose extended headers hold long and non-ASCII names
only. Uncompressed: compressors differ in bytes between versions, and weights hardly shrink.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from edgekit.bundle.manifest import safe_path
from edgekit.errors import VerificationError

SUFFIX = ".tar"
EVIDENCE_SUFFIX = ".evidence.tar"
EARLIEST_S = 315_532_800  # 1980-01-01 UTC: what a zip can hold too, so that nobody who repacks it fails
MODE = 0o644
MAX_FILES = 10_000  # a bundle has some tens; a million empty files would fill a file system's table
MAX_BYTES = 64 << 30  # far above any model for an edge device
MAX_NAME_BYTES = 255  # of Linux and of most file systems
BLOCK_BYTES = 1 << 20


def pack(folder: Path, paths: Iterable[str], *, root: str, out: IO[bytes]) -> None:
    """Write the tar of these files of ``folder`` to ``out``, each below ``root``.

    Raises:
        OSError: a file cannot be read, or ``out`` not written.
    """
    # encoding: the default follows the locale.
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for path in sorted(paths):
            entry = tarfile.TarInfo(f"{root}/{safe_path(path)}")  # owner 0 without a name, no time, no user
            entry.size, entry.mode, entry.mtime = (folder / path).stat().st_size, MODE, EARLIEST_S
            with (folder / path).open("rb") as handle:
                archive.addfile(entry, handle)


def unpack(file: Path, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Unpack into the empty ``folder``, below the root that the archive names; gives root and paths.

    Raises:
        VerificationError: U1 to U5, or no tar at all; what was unpacked until then stays in ``folder``.
        OSError: it cannot be read, or ``folder`` not written.
    """
    paths: list[str] = []
    root, left = "", MAX_BYTES
    try:
        with tarfile.open(file, mode="r:", encoding="utf-8", errors="strict") as archive:
            for entry in archive:
                above, _, path = entry.name.partition("/")
                _check(entry, path, root=root or above, earlier=paths, left=left)
                root, left = above, left - entry.size
                paths.append(path)
                _write(archive, entry, folder / entry.name)
    except (FileExistsError, NotADirectoryError) as error:  # U3, also where case does not tell names apart
        raise _refused(f"{error.filename!r} is there twice, or lies in a file") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _refused(f"it is no tar: {type(error).__name__}: {error}") from error
    if not paths:
        raise _refused("it is empty")
    hasher = Hashing()
    pack(folder / root, paths, root=root, out=cast("IO[bytes]", hasher))  # U5
    if hasher.hexdigest() != _digest(file):
        raise _refused("its bytes are not those that edgekit writes for the files in it")
    return root, tuple(paths)


class Hashing(io.RawIOBase):
    """A file that keeps only the hash of what is written."""

    def __init__(self) -> None:
        super().__init__()
        self._sha256 = hashlib.sha256()
        self._size = 0

    def write(self, block: object, /) -> int:
        """Take ``block`` into the hash."""
        data = bytes(cast("bytes", block))
        self._sha256.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def hexdigest(self) -> str:
        """SHA-256 of all that was written."""
        return self._sha256.hexdigest()


def _check(entry: tarfile.TarInfo, path: str, *, root: str, earlier: list[str], left: int) -> None:
    """U1 to U4 of one entry, before a byte of it is written."""
    name = entry.name
    if entry.type != tarfile.REGTYPE or entry.issparse():
        raise _refused(f"{name!r} is no plain file")
    try:
        parts = safe_path(name).split("/")
    except ValueError:
        raise _refused(f"{name!r} is no path inside the bundle") from None
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise _refused(f"a name in it is longer than {MAX_NAME_BYTES} bytes")
    if not path or name != f"{root}/{path}":
        raise _refused(f"{name!r} is not below {root!r}")
    if earlier and path <= earlier[-1]:
        raise _refused(f"{name!r} is there twice, or out of order")
    if len(earlier) >= MAX_FILES:
        raise _refused(f"it holds more than {MAX_FILES} files")
    if entry.size > left:
        raise _refused(f"its files have more than {MAX_BYTES} bytes")


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(entry)
    if source is None:
        raise _refused(f"{entry.name!r} is no plain file")
    left = entry.size
    with source, path.open("xb") as out:  # x: nothing that is there is replaced
        while block := source.read(BLOCK_BYTES):
            out.write(block)
            left -= len(block)
    if left:
        raise _refused(f"{entry.name!r} ends too early")


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _refused(what: str) -> VerificationError:
    return VerificationError(
        what,
        why="nothing is used from an archive that edgekit would not have written",
        remedy="get the bundle again, or release it again",
        more="docs/bundle.md",
    )
