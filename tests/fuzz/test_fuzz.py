"""Damaged files of every kind against the verbs that read them: nothing but errors with a remedy.

``python -m benchmarks fuzz`` does the same with 20,000. Each kind of finding is planted once, and is found.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import drive
from tests.fuzz.drive import Child, Healthy, Outcome
from tests.fuzz.seeds import Seed, plant

COUNT, SEED = 500, 20261126


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def seeds(room: Path) -> tuple[Seed, ...]:
    return plant(room / "seeds", cache=room / "cache")


def fuzzed(room: Path, seeds: tuple[Seed, ...], **given: object) -> Outcome:
    healthy = Healthy(room / "seeds" / "labelled.npz", room / "seeds" / "cnn.onnx")
    return functools.partial(drive.fuzz, seeds, room=room, cache=room / "cache", healthy=healthy)(**given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_damaged_files_give_errors_and_nothing_else(room: Path, seeds: tuple[Seed, ...]) -> None:
    found = fuzzed(room, seeds, count=COUNT, seed=SEED)
    assert not found.findings, "\n".join(f"{each.what}: {each.detail}" for each in found.findings)
    assert found.inputs == COUNT
    codes = {code for _, _, code in found.codes}
    assert {0, 2, 8} <= codes  # some damage is harmless, some is refused: both were seen
    assert len(found.said) > 100  # refused for many reasons, not at one door


def child(tmp_path: Path, body: str) -> Iterator[dict[str, object] | str]:
    """What a child that runs ``body`` in place of the command line is found to do."""
    program = tmp_path / "child.py"
    program.write_text(
        "from edgekit.cli import main\nfrom tests.fuzz import child\n"
        f"def run(args):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "main.run = run\nchild.main()\n"
    )
    served = Child(tmp_path, tmp_path / "cache", (str(program),))
    try:
        yield served.ask(["inspect", "x"], [tmp_path / "out"])
    finally:
        served.close()


PLANTED = {
    "exception": "raise ValueError('unexpected')",
    "crash": "import os; os.abort()",
    "wrote outside": "open('escaped.txt', 'w').close(); return 0",
    "unsafe text": "print('name \\x1b[31m'); return 0",
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_must_never_happen_is_seen(what: str, tmp_path: Path) -> None:
    """Sabotage."""
    (answer,) = child(tmp_path, PLANTED[what])
    (tmp_path / "escaped.txt").unlink(missing_ok=True)  # the audit saw it, not the listing
    (tmp_path / "child.py").unlink()
    judged = drive.judged(answer, tmp_path, tmp_path / "out")
    assert judged is not None
    assert judged[0] == what


def test_silence_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "LIMIT_S", 2.0)
    (answer,) = child(tmp_path, "import time; time.sleep(600)")
    assert isinstance(answer, str)
    assert answer.startswith("hang")


def test_a_file_left_by_native_code_is_seen(tmp_path: Path) -> None:
    """It does not go through Python's audit: the listing has it."""
    (tmp_path / "case" / "out").mkdir(parents=True)
    (tmp_path / "escaped").touch()
    answer: dict[str, object] = {"code": 0, "message": "", "trace": "", "wrote": [], "unsafe": []}
    judged = drive.judged(answer, tmp_path, tmp_path / "case" / "out")
    assert judged is not None
    assert judged[0] == "wrote outside"


def test_a_half_written_file_is_seen(tmp_path: Path) -> None:
    out = tmp_path / "case" / "out"
    out.mkdir(parents=True)
    (out / ".m.onnx.1234.draft").touch()
    answer: dict[str, object] = {"code": 2, "message": "", "trace": "", "wrote": [], "unsafe": []}
    judged = drive.judged(answer, tmp_path, out)
    assert judged is not None
    assert judged[0] == "half-written"


def test_a_healthy_answer_is_no_finding(tmp_path: Path) -> None:
    """Must not fire."""
    (answer,) = child(tmp_path, "print('fine: größe 1\\u202f024'); return 0")
    (tmp_path / "child.py").unlink()
    assert drive.judged(answer, tmp_path, tmp_path / "out") is None
