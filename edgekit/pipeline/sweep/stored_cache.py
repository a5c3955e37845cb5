"""Cache x Store -> a cache whose entries travel: made by one worker, used by all.

    entry here? -> it      in the store? -> fetched, file by file, by digest      else made, and put there

Only what is the same everywhere travels (``TRAVELS``): exports, pruned models, ranges, restorations and
compiled files. Proofs and latencies belong to the machine that made them, and stay. A worker without PyTorch
can so compile what another one has exported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import VerificationError
from edgekit.pipeline.cache import Cache, entry_digest
from edgekit.pipeline.sweep.store import Store

TRAVELS = frozenset({"export", "calibrate", "restore", "rounding", "prune", "compile"})


@dataclass(frozen=True)
class StoredCache(Cache):
    """A cache that looks into ``store`` before it makes an entry."""

    store: Store = field(kw_only=True)

    def folder(self, stage: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """As ``Cache.folder``; what is made is put into the store."""
        if stage not in TRAVELS:
            return super().folder(stage, key, make)
        name = f"cache/{stage}/{entry_digest(key)}.json"
        listed = self.store.read_text(name)
        if listed is not None:
            return super().folder(stage, key, lambda folder: _fetch(self.store, listed, folder))
        entry = super().folder(stage, key, make)  # what an earlier run has made is put there too
        files = {
            path.relative_to(entry).as_posix(): self.store.put(path)
            for path in sorted(entry.rglob("*"))
            if path.is_file()
        }
        self.store.write_text(name, json.dumps(files, sort_keys=True), scratch=self.root)
        return entry


def _fetch(store: Store, listed: str, folder: Path) -> None:
    for name, digest in json.loads(listed).items():
        path = confined(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(digest, path)


def confined(folder: Path, name: str) -> Path:
    """``name`` below ``folder``.

    Raises:
        VerificationError: it would lie elsewhere.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or (os.sep != "/" and os.sep in name)
        or "\0" in name
    ):
        raise VerificationError(
            f"the store names a file {name!r}",
            why="it would be written outside its folder",
            remedy="find out who can write into the store, and start with an empty one",
            more="docs/sweep.md",
        )
    return folder.joinpath(*parts)
