"""A small export and a small release, disturbed at drawn calls; the judge is red without the guards.

All verbs, more faults and more places: ``python -m benchmarks write_faults``.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.faults.inject import HERE, WITHOUT, Room, built
from tests.faults.jobs import first
from tests.faults.judge import Job, Undisturbed, disturbed, undisturbed

pytestmark = pytest.mark.skipif(not HERE, reason=WITHOUT)
SEED = 7


@dataclass(frozen=True)
class Subject:
    """A job, where it runs, and what it gives when nobody disturbs it."""

    job: Job
    room: Room
    wanted: Undisturbed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    recipe = first(folder / "seed") / "work" / "edgekit.toml"
    recipe.write_text(recipe.read_text().partition('[[target]]\nname = "qnn-check"')[0])
    return folder


def _subject(place: Path, job: Job) -> Subject:
    room = Room(place / job.name, built(place))
    return Subject(job, room, undisturbed(job, room))


@pytest.fixture(scope="module")
def export(place: Path) -> Subject:
    return _subject(place, Job("export", ("export", "tiny.onnx", "-o", "out/e.onnx"), place / "seed"))


@pytest.fixture(scope="module")
def release(place: Path) -> Subject:
    return _subject(place, Job("release", ("release", "edgekit.toml", "-o", "dist"), place / "seed"))


def _judge(subject: Subject, fault: str, at: int) -> None:
    found = disturbed(subject.job, subject.room, subject.wanted, fault=fault, at=at)
    assert found == [], "\n".join(f"{each}\n{each.said}" for each in found)


def _places(subject: Subject, count: int, *, seed: int) -> list[int]:
    """Calls of the undisturbed run, one out of each of ``count`` equal parts of it."""
    rng, total = np.random.default_rng(seed), len(subject.wanted.calls)
    edges = [int(edge) for edge in np.linspace(1, total + 1, count + 1)]
    return [int(rng.integers(low, max(high, low + 1))) for low, high in itertools.pairwise(edges)]


@pytest.mark.parametrize(("fault", "count"), [("full", 2), ("read-only", 1)])
def test_an_export_that_cannot_write(export: Subject, fault: str, count: int) -> None:
    for at in _places(export, count, seed=SEED):
        _judge(export, fault, at)


@pytest.mark.parametrize(("fault", "count"), [("kill", 3), ("SIGTERM", 1)])
def test_a_release_that_is_ended(release: Subject, fault: str, count: int) -> None:
    for at in _places(release, count, seed=SEED):
        _judge(release, fault, at)


def test_ctrl_c_right_after_a_draft_was_made(export: Subject) -> None:
    """Found by the suite: the draft was made and not yet held, and stayed."""
    calls = export.wanted.calls
    _judge(
        export,
        "SIGINT",
        next(n for n, call in enumerate(calls, 1) if " open " in call and ".e.onnx." in call),
    )


def _last(subject: Subject, name: str) -> int:
    """The last write to a file whose path ends with ``name``, or to its draft."""
    return max(
        number
        for number, call in enumerate(subject.wanted.calls, start=1)
        if " write " in f" {call} " and name in call
    )


@dataclass(frozen=True)
class Sabotage:
    """A guard that is taken away, where it is missed, and the rule that says so."""

    name: str
    boot: str
    fault: str
    at: str
    rule: str


SABOTAGES = (
    Sabotage(
        "written under the final name",
        "import contextlib; from edgekit import drafts; drafts.file = contextlib.nullcontext",
        "kill",
        "e.onnx",
        "J3",
    ),
    Sabotage(
        "nobody tidies up",
        "from edgekit import drafts; drafts.remove_left = lambda path: None",
        "kill",
        "e.onnx",
        "J4",
    ),
    Sabotage(
        "a full disk is taken for a bug",
        "from edgekit import write_errors; write_errors.CAUSES = frozenset()",
        "full",
        "facts.json",
        "J1",
    ),
)


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda each: each.name)
def test_without_the_guard_the_judge_is_red(export: Subject, place: Path, sabotage: Sabotage) -> None:
    job = dataclasses.replace(export.job, boot=sabotage.boot)
    room = Room(place / "sabotaged", export.room.library)
    subject = Subject(job, room, undisturbed(job, room))
    at = _last(subject, sabotage.at)
    found = disturbed(job, room, subject.wanted, fault=sabotage.fault, at=at)
    assert sabotage.rule in {each.rule for each in found}, found
