"""The real process: signals, a closed pipe, native writes to stdout, targets and schemas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edgekit import target as targets
from edgekit.cli.main import run
from edgekit.report.schema import names, schema

# A verb whose stage waits: the process says "ready" once it works, and is then sent a signal.
# A shell starts what runs in its background with Ctrl-C ignored; the child takes the default back, or the
# test would depend on how the suite was started.
WAITING = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgekit.pipeline import clean
def wait(*, cache_dir):
    os.write(1, b"native code writes to stdout\\n")
    sys.stderr.write("ready\\n"); sys.stderr.flush()
    if {forever}:
        time.sleep(60)
    return clean.CleanResult(cache_dir, 0)
clean.clean = wait
from edgekit.cli import main
sys.argv = ["edgekit", "clean", "--cache-dir", "c", "--format", "json"]
main.main()
"""


def started(*, forever: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WAITING.format(forever=forever)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_a_run_with_130_and_one_line(number: signal.Signals) -> None:
    with started(forever=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line == "ready\n":
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted; nothing half-written; run the same command again to resume\n"
    assert json.loads(out)["status"] == "interrupted"


def test_native_writes_to_stdout_do_not_reach_the_document() -> None:
    with started(forever=False) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["schema"] == "edgekit/clean-result/1"
    assert "native code writes to stdout" in err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of this kind are POSIX")
def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "schema", "release"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_dash_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "edgekit", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown verb 'nonsense'" in done.stderr


def test_targets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in targets.names())
    assert run(["targets", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(schema("targets")).validate(found)
    assert [row["name"] for row in found["targets"]] == list(targets.names())


@pytest.mark.parametrize("name", targets.names())
def test_a_target_is_shown_with_every_kernel(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "show", name]) == 0
    text = capsys.readouterr().out
    for kernel in targets.load(name).kernel:
        assert kernel.pattern in text
        assert kernel.source in text
    assert run(["targets", "show", name, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(schema("targets-show")).validate(found)
    jsonschema.Draft202012Validator(schema("target")).validate(found["target"])


def test_schemas_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert capsys.readouterr().out.split()[1:] == list(names())
    for name in names():
        assert run(["schema", name]) == 0
        jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_a_shipped_target_file_follows_the_printed_schema(capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    from edgekit._resources import shipped

    assert run(["schema", "target"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for path in Path(shipped("targets")).glob("*.toml"):
        jsonschema.Draft202012Validator(printed).validate(tomllib.loads(path.read_text("utf-8")))
