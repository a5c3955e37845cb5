"""(stage, key) -> folder, made once: the content-addressed cache.

An entry is made in a temporary folder beside the others and renamed when it is complete: an interrupted
run leaves no half entry, and the next run resumes where the last one stopped. The key holds everything that
the entry depends on, the digest of edgekit's own code included.

A complete entry carries the hashes of its files. A process holds an entry against them before it takes out
anything for the first time: what a disk, a sync tool or a neighbour changed is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import drafts
from edgekit.errors import OutputError
from edgekit.pipeline.versions import code_digest
from edgekit.write_errors import cannot_write, explained

_MARKER = "CACHEDIR.TAG"  # https://bford.info/cachedir/: back-up programs leave such folders out
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# made by edgekit; `edgekit clean` removes it\n"
_MAKING = "making"  # drafts of entries: folders that no run takes anything out of
_SEAL = ".hashes.json"  # SHA-256 by path of an entry's files, as they were when it was complete
_ELSEWHERE = "set EDGEKIT_CACHE or --cache-dir to a folder that you may write"
_seen_whole: set[Path] = set()  # by this process: hashing is paid once
_tidied: set[Path] = set()  # stages, by this process


@dataclass(frozen=True)
class Cache:
    """A folder of entries by stage and key."""

    root: Path

    def folder(self, stage: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The entry's folder; ``make`` fills it when it is not there yet.

        Args:
            stage: name of the stage; a sub-folder.
            key: everything the entry depends on, JSON-ready.
            make: writes the entry's files into the folder it is given.

        Raises:
            OutputError: the cache folder cannot be written.
        """
        entry = self.root / stage / entry_digest(key)
        if _is_whole(entry):
            _tidy(entry.parent)
            return entry
        if entry.exists():
            _discard(entry)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            self._mark()
        except OSError as error:
            raise cannot_write(self.root, error, elsewhere=_ELSEWHERE) from error
        try:
            with drafts.folder(entry.parent / _MAKING) as draft:
                self._make(entry, draft, make)
        except OSError as error:
            if said := explained(error, place=self.root, elsewhere=_ELSEWHERE):
                raise said from error
            raise
        return entry

    def _mark(self) -> None:
        """The tag by which others know the folder; again, where a run was killed while it wrote it."""
        if not is_cache(self.root):
            with drafts.file(self.root / _MARKER) as draft:
                draft.write_text(_TAG)

    def _make(self, entry: Path, draft: Path, make: Callable[[Path], None]) -> None:
        """Fill ``draft / entry``, seal it, and put it in place."""
        made = draft / entry.name
        made.mkdir()
        make(made)
        (made / _SEAL).write_text(json.dumps(_hashes(made), sort_keys=True))
        try:
            made.rename(entry)
        except OSError:
            # another run made the same entry meanwhile: by construction it holds the same
            if not _is_whole(entry):
                raise
        _seen_whole.add(entry)

    def holds(self, stage: str, key: Mapping[str, Any]) -> bool:
        """Whether the entry is there and whole: ``folder`` would make nothing."""
        return _is_whole(self.root / stage / entry_digest(key))

    def value(self, stage: str, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """A JSON-ready value: ``make`` computes it when it is not there yet."""

        def write(folder: Path) -> None:
            (folder / "value.json").write_text(json.dumps(make(), sort_keys=True))

        return json.loads((self.folder(stage, key, write) / "value.json").read_text())


@contextmanager
def opened(cache_dir: Path, *, use: bool) -> Iterator[Cache]:
    """The cache at ``cache_dir``; with ``use=False`` an empty one that is gone afterwards."""
    if use:
        yield Cache(cache_dir)
        return
    with drafts.temporary() as folder:
        yield Cache(folder)


def is_cache(folder: Path) -> bool:
    """Whether ``folder`` is one of ours: what `edgekit clean` may remove."""
    tag = folder / _MARKER
    return tag.is_file() and tag.read_text(errors="replace") == _TAG


def entry_digest(key: Mapping[str, Any]) -> str:
    """The name of an entry: equal keys of equal code have one."""
    whole = {"edgekit": code_digest(), "key": key}  # apart: no name in a key can stand in for edgekit's own
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:40]


def _is_whole(entry: Path) -> bool:
    """Whether the entry's files are those that it was sealed with; what lies beside them does not matter."""
    if not entry.is_dir():
        _seen_whole.discard(entry)
        return False
    if entry in _seen_whole:
        return True
    try:
        sealed: dict[str, str] = json.loads((entry / _SEAL).read_text())
        whole = all(_hash(entry / name) == sha256 for name, sha256 in sealed.items())
    except (OSError, ValueError, AttributeError):  # the seal itself is gone or damaged
        return False
    if whole:
        _seen_whole.add(entry)
    return whole


def _tidy(stage: Path) -> None:
    """Drafts of a run that was killed after its entry's rename: nobody makes that entry again."""
    if stage not in _tidied:
        _tidied.add(stage)
        drafts.remove_left(stage / _MAKING)


def _discard(entry: Path) -> None:
    """Out of the way in one step: another process finds it damaged or not at all."""
    try:
        with drafts.folder(entry.parent / _MAKING) as grave, contextlib.suppress(FileNotFoundError):
            entry.rename(grave / entry.name)  # not found: another process was first
    except OSError as error:
        raise OutputError(
            f"cache entry {entry} is damaged and cannot be removed",
            why=str(error),
            remedy="remove it yourself, or name another folder with EDGEKIT_CACHE or --cache-dir",
        ) from error


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
