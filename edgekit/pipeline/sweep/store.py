"""Files by their SHA-256, in a folder or behind an fsspec URL: how artifacts travel, each once.

    put(file) -> digest          blobs/<2 hex digits>/<64 hex digits>, written only where it is not there yet
    fetch(digest, file)          read, and refused where the bytes have another digest

S1  a blob appears under its name by a rename (or the service's own move): nobody reads half of one
S2  what is fetched is hashed on the way: a damaged or forged blob is an error, never a result
S3  small documents beside the blobs (``write_text``, ``read_text``) say which blobs belong together: they are
the only names that can change
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from edgekit import drafts
from edgekit.errors import InputError, OutputError, VerificationError, missing_extra
from edgekit.write_errors import CAUSES, cannot_write

_PIECE = 1 << 20
_MORE = "docs/sweep.md"
_SCRATCH_ELSEWHERE = "set EDGEKIT_CACHE or --cache-dir to a folder that you may write"
_ELSEWHERE = "give a folder or URL that you may use: --store URL"


class Place(Protocol):
    """Where bytes lie: a folder, or something that fsspec reaches. Names have "/" between their parts."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    def write(self, name: str, source: Path) -> None:
        """A copy of ``source`` under ``name``, whole or not at all."""

    def read(self, name: str) -> IO[bytes]:
        """Its bytes; FileNotFoundError where it is not there."""


class Store:
    """Content-addressed files, and documents about them.

    Attributes:
        sent: how many blobs were written by this one.
        fetched: how many were read.
    """

    def __init__(self, place: Place, *, name: str) -> None:
        self._place, self.name = place, name
        self.sent = self.fetched = 0

    def put(self, path: Path) -> str:
        """Keep the file; its digest.

        Raises:
            OutputError: the store cannot be written.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._said("written"):
            if not self._place.exists(_blob(digest)):
                self._place.write(_blob(digest), path)
                self.sent += 1
        return digest

    def fetch(self, digest: str, path: Path) -> None:
        """The file of that digest, written to ``path``.

        Raises:
            InputError: it is not there.
            VerificationError: other bytes are there under its name (S2).
        """
        sha = hashlib.sha256()
        try:
            with self._said("read"), self._place.read(_blob(digest)) as source, path.open("wb") as file:
                while piece := source.read(_PIECE):
                    sha.update(piece)
                    file.write(piece)
        except FileNotFoundError as error:
            raise InputError(
                f"{digest[:12]} is not in the store {self.name}",
                why="it was never put there, or this worker sees another folder under that name",
                remedy="give all workers the same --store",
                more=_MORE,
            ) from error
        if sha.hexdigest() != digest:
            path.unlink()
            raise VerificationError(
                f"the store {self.name} has other bytes under {digest[:12]}",
                why=f"their digest is {sha.hexdigest()[:12]}",
                remedy=f"remove {_blob(digest)} there and run again; find out who can write there",
                more=_MORE,
            )
        self.fetched += 1

    def has(self, digest: str) -> bool:
        """Whether a blob of that name is there."""
        with self._said("read"):
            return self._place.exists(_blob(digest))

    def write_text(self, name: str, text: str, *, scratch: Path) -> None:
        """A document (S3); ``scratch`` is a folder for the file on its way."""
        scratch.mkdir(parents=True, exist_ok=True)
        with drafts.folder(scratch / "document") as folder:
            path = folder / "text"
            try:
                path.write_text(text, "utf-8")
            except OSError as error:  # this machine's disk, not the store's
                raise cannot_write(scratch, error, elsewhere=_SCRATCH_ELSEWHERE) from error
            with self._said("written"):
                self._place.write(name, path)

    def read_text(self, name: str) -> str | None:
        """A document; None where there is none."""
        try:
            with self._said("read"), self._place.read(name) as file:
                return file.read().decode()
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Errors of the place in the user's words."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if what == "written" and error.errno in CAUSES:
                raise cannot_write(self.name, error, elsewhere=_ELSEWHERE) from error
            raise OutputError(
                f"the store {self.name} cannot be {what}",
                why=str(error),
                remedy=_ELSEWHERE,
                more=_MORE,
            ) from error


def opened(url: str) -> Store:
    """The store at a folder, or at a URL that fsspec knows ("s3://bucket/sweeps", "sftp://host/path").

    Raises:
        MissingBackendError: fsspec, or its package for that kind of URL, is not installed.
        InputError: nobody knows that kind.
    """
    if "://" not in url:
        return Store(_Folder(Path(url)), name=url)
    try:
        import fsspec
    except ImportError as error:
        raise missing_extra("fsspec", "dask", needed_for=f"--store {url}") from error
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:  # "Install s3fs to access S3"
        raise InputError(
            f"--store {url} needs one more package",
            why=str(error),
            remedy="install it here and on every worker",
            more=_MORE,
        ) from error
    except ValueError as error:
        raise InputError(
            f"--store {url} cannot be used", why=str(error), remedy="a folder, or a URL of fsspec", more=_MORE
        ) from error
    return Store(_Remote(system, str(root).rstrip("/")), name=url)


def _blob(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


class _Folder:
    """A folder that all workers see."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def exists(self, name: str) -> bool:
        return (self._root / name).is_file()

    def write(self, name: str, source: Path) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafts.file(path) as draft:
            shutil.copyfile(source, draft)

    def read(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")


class _Remote:
    """What fsspec reaches."""

    def __init__(self, system: Any, root: str) -> None:
        self._system, self._root = system, root

    def exists(self, name: str) -> bool:
        return bool(self._system.isfile(f"{self._root}/{name}"))

    def write(self, name: str, source: Path) -> None:
        path = f"{self._root}/{name}"
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._system.put_file(os.fspath(source), temporary)
        self._system.mv(temporary, path)

    def read(self, name: str) -> IO[bytes]:
        file: IO[bytes] = self._system.open(f"{self._root}/{name}", "rb")
        return file
