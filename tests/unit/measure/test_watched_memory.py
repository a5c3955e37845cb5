"""What `benchmarks.large.watch_memory` counts: a process and its children, what is held, and the limit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.large.watch_memory import Peak, watch

MEGA = 10**6
HOLD = "import time; held = bytearray(b'x') * {size}; time.sleep(0.5)"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
MAP = """
import mmap, time
with open({path!r}, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    total = sum(mapped[index] for index in range(0, len(mapped), 4096))
    time.sleep(0.5)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory of processes is read from /proc"
)


def watched(code: str, folder: Path, *, limit_bytes: int = 10**9) -> Peak:
    command = [sys.executable, "-c", code]
    log = folder / "words.txt"
    return watch(command, log=log, environment=dict(os.environ), cwd=folder, limit_bytes=limit_bytes)


def test_what_a_child_holds_counts(tmp_path: Path) -> None:
    code = HOLD.format(size=64 * MEGA)
    alone, below = watched(code, tmp_path), watched(CHILD.format(code=code), tmp_path)
    assert alone.status == below.status == 0
    for found in (alone, below):
        assert 64 * MEGA < found.held_bytes < 128 * MEGA  # the interpreters themselves take 10 to 20 MB


def test_a_child_that_is_still_its_parent_is_counted_once(tmp_path: Path) -> None:
    """Between vfork and exec it has the parent's address space; fork stands for it here."""
    code = "import os, time; held = bytearray(b'x') * {size}; os.fork(); time.sleep(0.5)"
    assert 64 * MEGA < watched(code.format(size=64 * MEGA), tmp_path).held_bytes < 96 * MEGA


def test_pages_of_a_mapped_file_are_not_held(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(64 * MEGA))
    found = watched(MAP.format(path=str(tmp_path / "file")), tmp_path)
    assert found.held_bytes < 32 * MEGA
    assert found.total_bytes > 64 * MEGA


def test_who_holds_too_much_is_stopped_with_its_children(tmp_path: Path) -> None:
    code = CHILD.format(code=HOLD.format(size=64 * MEGA).replace("0.5", "600"))
    found = watched(code, tmp_path, limit_bytes=40 * MEGA)
    assert found.status is None
    assert found.seconds < 60


def test_last_words_are_kept(tmp_path: Path) -> None:
    found = watched("raise SystemExit('no room')", tmp_path)
    assert (found.status, found.words) == (1, "no room")
