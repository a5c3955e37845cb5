"""stdout and stderr on a full disk, or closed by the caller: a named error or none, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")
EDGEKIT = f"{sys.executable} -m edgekit"


def _run(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", f"{EDGEKIT} {words}"], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("form", "where", "cause"),
    [
        ("json", "> /dev/full", "No space left on device"),
        ("text", "> /dev/full", "No space left on device"),
        ("json", ">&-", "Bad file descriptor"),
    ],
)
def test_a_result_that_cannot_be_written(form: str, where: str, cause: str) -> None:
    done = _run(f"targets --format {form} {where}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the result on standard output cannot be written: {cause}\n")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"])
def test_without_stderr_the_exit_code_says_it_alone(where: str) -> None:
    assert _run(f"compile absent.onnx --target portable {where}").returncode == 2
    done = _run(f"targets --format json {where}")
    assert (done.returncode, done.stdout[:1]) == (0, "{")


def test_a_file_never_gets_the_number_of_a_closed_stdout(tmp_path: Path) -> None:
    """Native code that prints would write into it; without the guard it does (sabotage)."""
    program = (
        "import os, sys\nfrom edgekit.cli import main\n"
        "main.run = lambda args: print_into_file() or 0\n"
        "def print_into_file():\n"
        f"    with open({str(tmp_path / 'model')!r}, 'wb', buffering=0) as file:\n"
        "        os.write(1, b'native printf')\n"
        "{guard}\nmain.main()\n"
    )
    for guard, content in (("", b""), ("main._fill_closed_descriptors = lambda: None", b"native printf")):
        code = program.replace("{guard}", guard)
        environment = {**os.environ, "CODE": code}
        subprocess.run(
            ["bash", "-c", f'exec {sys.executable} -c "$CODE" >&-'],
            env=environment,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        assert (tmp_path / "model").read_bytes() == content
