"""D1 to D4 of drafts: whole or not at all, two writers, what a killed one left; seen red without locks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgekit import drafts

# holds a draft of sys.argv[1], says its name, and waits to be killed
HOLDS = """
import sys, time
from pathlib import Path
from edgekit import drafts
with drafts.{kind}(Path(sys.argv[1])) as draft:
    (draft / "inside" if draft.is_dir() else draft).write_text("half")
    print(draft.name, flush=True)
    time.sleep(600)
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="D4: nothing is removed there")


def _held(path: Path, kind: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS.format(kind=kind), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _interrupted(path: Path) -> None:
    with drafts.file(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt


def _loses_its_draft(path: Path) -> None:
    with drafts.file(path):
        drafts.remove_left(path)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert path.read_text() == "earlier"
    with drafts.file(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "earlier"
    assert path.read_text() == "new"
    assert _names(tmp_path) == {"model.onnx"}


def test_d1_two_writers_have_two_drafts(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with drafts.file(path) as first:
        first.write_text("first")
        with drafts.file(path) as second:
            assert first != second
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert _names(tmp_path) == {"a"}


@posix
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_d2_what_a_killed_process_left_is_removed_and_what_is_held_is_not(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m[1].onnx"
    process, name = _held(path, kind)
    try:
        with drafts.file(path) as draft:
            draft.write_text("new")
        assert name in _names(tmp_path), "somebody works on it"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert name in _names(tmp_path), "kill -9 leaves it"
    drafts.remove_left(tmp_path / "another")  # D3
    assert name in _names(tmp_path)
    with drafts.file(path) as draft:
        draft.write_text("newer")
    assert _names(tmp_path) == {path.name}


@posix
def test_d2_without_the_lock_somebody_elses_draft_would_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage."""
    path = tmp_path / "a"
    monkeypatch.setattr(drafts, "_lock", lambda descriptor, *, wait: True)
    with pytest.raises(FileNotFoundError):
        _loses_its_draft(path)


def test_d4_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".a.0badcafe.draft").write_text("perhaps somebody works on it")
    monkeypatch.setattr(drafts, "_lock", lambda descriptor, *, wait: False)
    with drafts.file(tmp_path / "a") as draft:
        draft.write_text("new")
    assert _names(tmp_path) == {"a", ".a.0badcafe.draft"}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), drafts.file(tmp_path / "absent" / "a"):
        pass


def test_a_temporary_folder_goes_also_when_ctrl_c_comes_right_after_its_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the suite: SIGTERM at mkdir. The interpreter raises after the call has returned."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make = Path.mkdir

    def interrupted(self: Path, mode: int = 0o777) -> None:
        make(self, mode)
        raise KeyboardInterrupt

    with drafts.temporary("edgekit-x-") as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700, "nobody else's"
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), drafts.temporary():
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_standard_librarys_would_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: what the suite found."""
    make = os.mkdir

    def interrupted(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), tempfile.TemporaryDirectory(dir=tmp_path):
        pass
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_in_the_middle_of_removing_does_not_leave_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the suite: SIGTERM at the first unlink of many."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remove, calls = os.unlink, list[str]()

    def interrupted(path: str, *, dir_fd: int | None = None) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(path, dir_fd=dir_fd)

    with pytest.raises(KeyboardInterrupt), drafts.temporary() as folder:  # noqa: PT012  what is left at its end
        for name in ("one", "two"):
            (folder / name).write_text("x")
        monkeypatch.setattr(os, "unlink", interrupted)
    monkeypatch.undo()
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []
