"""(stage, key) -> folder, made once: the content-addressed cache.

An entry is made in a temporary folder beside the others and renamed when it is complete: an interrupted
run leaves no half entry, and the next run resumes where the last one stopped. The key holds everything that
the entry depends on, the digest of edgekit's own code included.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import OutputError
from edgekit.pipeline.versions import code_digest

_MARKER = "CACHEDIR.TAG"  # https://bford.info/cachedir/: back-up programs leave such folders out
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# made by edgekit; `edgekit clean` removes it\n"


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
        if entry.is_dir():
            return entry
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            (self.root / _MARKER).write_text(_TAG)
            temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
        except OSError as error:
            raise OutputError(
                f"cache folder {self.root} cannot be written",
                why=str(error),
                remedy="set EDGEKIT_CACHE or --cache-dir to a folder that you may write",
            ) from error
        try:
            make(temporary)
            try:
                temporary.rename(entry)
            except OSError:
                # another run made the same entry meanwhile: by construction it holds the same
                if not entry.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return entry

    def holds(self, stage: str, key: Mapping[str, Any]) -> bool:
        """Whether the entry is there: ``folder`` would make nothing."""
        return (self.root / stage / entry_digest(key)).is_dir()

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
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        yield Cache(Path(folder))


def is_cache(folder: Path) -> bool:
    """Whether ``folder`` is one of ours: what `edgekit clean` may remove."""
    tag = folder / _MARKER
    return tag.is_file() and tag.read_text(errors="replace") == _TAG


def entry_digest(key: Mapping[str, Any]) -> str:
    """The name of an entry: equal keys of equal code have one."""
    whole = {"edgekit": code_digest(), "key": key}  # apart: no name in a key can stand in for edgekit's own
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:40]
