"""What the machine refuses is said with path, cause, room and remedy; what it does not refuse stays a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgekit.cli import failure
from edgekit.errors import ExitCode, OutputError
from edgekit.write_errors import CAUSES, cannot_write, explained, probe, quoted

ELSEWHERE = "choose another folder with -o"


def _error(number: int, name: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([str(name)] if name else []))


@pytest.mark.parametrize(
    ("number", "why", "remedy"),
    [
        (errno.ENOSPC, "MB are free there, 2.5 MB were to be written", "make room (`df -h "),
        (errno.EDQUOT, "MB are free there", "`edgekit clean` empties the cache"),
        (errno.EACCES, "this user may not write into", "`ls -ld "),
        (errno.EROFS, "the system refused", "mount it writable"),
        (errno.EFBIG, "the system refused", "`ulimit -f`"),
        (errno.EIO, "the system refused", "`dmesg`"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_each_cause_has_its_words(tmp_path: Path, number: int, why: str, remedy: str) -> None:
    path = tmp_path / "m.onnx"
    said = cannot_write(path, _error(number), elsewhere=ELSEWHERE, size_bytes=2_500_000)
    assert said.what == f"{path} cannot be written: {os.strerror(number)}"
    assert why in said.why
    assert remedy in said.remedy
    assert ELSEWHERE in said.remedy
    assert said.exit_code is ExitCode.BAD_INPUT


def test_a_name_that_no_file_can_have_is_said_too(tmp_path: Path) -> None:  # found by fuzzing
    path = tmp_path / ("x" * 300)
    for number in (errno.ENAMETOOLONG, errno.EACCES, errno.ENOSPC):
        assert str(tmp_path) in str(cannot_write(path, _error(number), elsewhere=ELSEWHERE))


def test_a_draft_is_not_named_and_another_place_is(tmp_path: Path) -> None:
    path = tmp_path / "out" / "m.onnx"
    draft = cannot_write(path, _error(errno.EROFS, path.with_name(".m.onnx.12.draft")))
    assert ".draft" not in str(draft)
    other = cannot_write(path, _error(errno.EROFS, tmp_path / "elsewhere"))
    assert "elsewhere" in other.why


@pytest.mark.parametrize("number", sorted(CAUSES), ids=errno.errorcode.get)
def test_one_that_nobody_expected_is_no_bug_of_edgekits(
    tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = failure.report(_error(number, tmp_path / "x"), ["compile"])
    err = capsys.readouterr().err
    assert code is ExitCode.BAD_INPUT
    assert f"{tmp_path / 'x'} cannot be written: {os.strerror(number)}" in err
    assert "bug" not in err


def test_what_is_not_the_machines_refusal_stays_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(_error(errno.EBADF)) is None
    assert failure.report(_error(errno.EBADF), ["compile"]) is ExitCode.INTERNAL
    assert "this is a bug in edgekit" in capsys.readouterr().err


def test_an_error_without_a_name_gets_the_place(tmp_path: Path) -> None:
    said = explained(_error(errno.ENOSPC), place=tmp_path)
    assert said is not None
    assert str(tmp_path) in said.what


def test_a_probe_asks_the_system(tmp_path: Path) -> None:
    probe(tmp_path, 1 << 20, elsewhere=ELSEWHERE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="No such file"):
        probe(tmp_path / "absent", 1, elsewhere=ELSEWHERE)


@pytest.mark.parametrize(
    ("said", "number", "file"),
    [
        (
            "Traceback:\nOSError: [Errno 5] Input/output error: '/t/made/x.config'\n",
            errno.EIO,
            "/t/made/x.config",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/t'", errno.EACCES, "/t"),
        ("OSError: [Errno 28] No space left on device", errno.ENOSPC, None),
        ("OSError: [Errno 5] one\nOSError: [Errno 30] Read-only file system: 'two'", errno.EROFS, "two"),
    ],
)
def test_the_refusal_that_another_process_quotes(said: str, number: int, file: str | None) -> None:
    found = quoted(said)
    assert found is not None
    assert (found.errno, found.filename) == (number, file)


def test_what_another_process_says_otherwise_is_no_refusal() -> None:
    """Must not fire: a file that is not there, a runtime's own error."""
    assert quoted("FileNotFoundError: [Errno 2] No such file or directory: 'model.onnx'") is None
    assert quoted("RuntimeError: 28 operators are unknown") is None
