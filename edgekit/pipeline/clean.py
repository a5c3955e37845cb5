"""`clean`: the cache folder -> nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgekit import settings
from edgekit.errors import InputError
from edgekit.pipeline.cache import is_cache


@dataclass(frozen=True)
class CleanResult:
    """What was removed."""

    path: Path
    size_bytes: int
    schema: str = "edgekit/clean-result/1"


def clean(*, cache_dir: Path | None = None) -> CleanResult:
    """Remove the cache.

    Raises:
        InputError: the folder was not made by edgekit: it is left alone.
    """
    folder = cache_dir or settings.cache_dir()
    if not folder.exists() or not any(folder.iterdir()):
        return CleanResult(folder, 0)
    if not is_cache(folder):
        raise InputError(
            f"{folder} is not a cache of edgekit's",
            why="its CACHEDIR.TAG is missing, so somebody else's files may be in it",
            remedy="correct --cache-dir or EDGEKIT_CACHE, or remove the folder yourself",
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return CleanResult(folder, size)
