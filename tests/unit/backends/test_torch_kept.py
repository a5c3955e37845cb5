"""Compiled programs in the cache folder: whole, once, and never other bytes than were written."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from edgekit.backends.torch_kept import kept
from edgekit.errors import OutputError

KERNELS = b"machine code" * 1000


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "aoti" / "0123"


class Compiler:
    """Writes ``KERNELS`` and counts how often."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, out: Path) -> None:
        self.runs += 1
        out.write_bytes(KERNELS)


def _names(entry: Path) -> list[str]:
    return sorted(path.relative_to(entry.parent).as_posix() for path in entry.parent.rglob("*"))


WHOLE = ["0123", "0123/kernels.pt2", "0123/kernels.sha256"]


def test_a_program_is_compiled_once(entry: Path) -> None:
    compiler = Compiler()
    for _ in range(2):
        path = kept(entry, compiler)
        assert path.read_bytes() == KERNELS
        assert path.suffix == ".pt2", "AOTInductor takes no other"
    assert compiler.runs == 1
    assert _names(entry) == WHOLE


@pytest.mark.parametrize("name", ["kernels.pt2", "kernels.sha256"])
@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_k3_a_damaged_entry_is_compiled_anew(entry: Path, name: str, damage: str) -> None:
    compiler = Compiler()
    kept(entry, compiler)
    path = entry / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 0x80]) if damage == "flipped" else b""))
    assert kept(entry, compiler).read_bytes() == KERNELS
    assert compiler.runs == 2
    assert _names(entry) == WHOLE


def test_k1_the_first_of_two_stands(entry: Path) -> None:
    both = threading.Barrier(2)

    def compile_it(out: Path) -> None:
        both.wait(10)
        out.write_bytes(KERNELS)

    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(kept(entry, compile_it))) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [entry / "kernels.pt2"] * 2
    assert _names(entry) == WHOLE


def _half(out: Path) -> None:
    out.write_bytes(KERNELS[:100])
    os.kill(os.getpid(), signal.SIGKILL)


def test_k2_what_a_killed_one_left_is_removed(entry: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=kept, args=(entry, _half))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not entry.exists()
    assert _names(entry), "a draft is left: without one nothing is tested"
    kept(entry, Compiler())
    assert _names(entry) == WHOLE


def test_k2_what_one_left_that_was_killed_after_its_rename(entry: Path) -> None:
    kept(entry, Compiler())
    (entry.parent / ".0123.0123456789ab.draft").mkdir()
    kept(entry, Compiler())
    assert _names(entry) == WHOLE


def test_a_full_disk_is_named_and_leaves_nothing(entry: Path) -> None:
    def full(out: Path) -> None:
        out.write_bytes(KERNELS[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))

    with pytest.raises(OutputError, match="No space left on device") as raised:
        kept(entry, full)
    assert "EDGEKIT_CACHE" in raised.value.remedy
    assert _names(entry) == []


def test_what_the_compiler_raises_is_its_own(entry: Path) -> None:
    """Must not fire: no machine's refusal."""

    def broken(out: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "no g++", str(out))

    with pytest.raises(FileNotFoundError):
        kept(entry, broken)
    assert _names(entry) == []
