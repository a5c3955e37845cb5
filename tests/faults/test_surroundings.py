"""A clock that jumps, a cache whose every file has a flipped bit, two releases at once: the same bytes.

Each on the small release; the cache's check is taken away once, and the flips are seen.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.faults.inject import HERE, WITHOUT, Ended, Room, built
from tests.faults.jobs import first
from tests.faults.judge import Job, Undisturbed, different, judged, undisturbed

pytestmark = pytest.mark.skipif(not HERE, reason=WITHOUT)
SEED = 11
UNCHECKED = "from edgekit.pipeline import cache; cache._is_whole = lambda entry: entry.is_dir()"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("surroundings")
    recipe = first(folder / "seed") / "work" / "edgekit.toml"
    recipe.write_text(recipe.read_text().partition('[[target]]\nname = "qnn-check"')[0])
    return Job("release", ("release", "edgekit.toml", "-o", "dist"), folder / "seed")


@pytest.fixture(scope="module")
def room(job: Job) -> Room:
    return Room(job.seed.with_name("room"), built(job.seed.parent))


@pytest.fixture(scope="module")
def wanted(job: Job, room: Room) -> Undisturbed:
    found = undisturbed(job, room)
    shutil.copytree(room.home, _filled(job), symlinks=True)
    return found


@pytest.fixture(scope="module")
def filled(job: Job, wanted: Undisturbed) -> Path:
    """The room as the undisturbed release left it: its cache is full."""
    del wanted
    return _filled(job)


def _filled(job: Job) -> Path:
    return job.seed.with_name("filled")


def _negative(ended: Ended, room: Room) -> list[str]:
    """Durations below zero: in what was said, and in the evidence."""
    evidence = json.loads((room.work / "dist" / "tiny-1" / "evidence.json").read_text())
    seconds: dict[str, float] = evidence["seconds"]
    said = re.findall(r"done in -[\d.]+ s", ended.err)
    return said + [f"{stage}: {value}" for stage, value in seconds.items() if value < 0]


def test_a_clock_that_jumps_changes_nothing(job: Job, room: Room, wanted: Undisturbed) -> None:
    room.fill_from(job.seed)
    ended = room.run(job.arguments, fault="clock", at=1)
    assert _negative(ended, room) == []
    days = {line[:10] for line in ended.err.splitlines() if re.match(r"\d{4}-\d\d-\d\dT", line)}
    assert len(days) > 1, "the clock did jump: its progress lines have two dates, 800 days apart"
    found = judged(job, room, wanted, ended, fault="clock", at=1)
    assert found == [], "\n".join(f"{each}\n{each.said}" for each in found)


def _flip(room: Room) -> Iterator[Path]:
    """One drawn bit in every file of the cache."""
    rng = np.random.default_rng(SEED)
    for path in sorted((room.home / "cache").rglob("*")):
        if path.is_file() and path.stat().st_size and path.name != "CACHEDIR.TAG":
            content = bytearray(path.read_bytes())
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(content)
            yield path


def test_flipped_bits_in_every_entry_of_the_cache(
    job: Job, room: Room, filled: Path, wanted: Undisturbed
) -> None:
    room.fill_from(filled)
    stages = {path.relative_to(room.home / "cache").parts[0] for path in _flip(room)}
    assert {"export", "compile", "prove"} <= stages
    ended = room.run(job.arguments)
    assert ended.code == 0, ended.err
    assert different(job, wanted, room) == []


def test_without_the_check_flipped_bits_are_seen(
    job: Job, room: Room, filled: Path, wanted: Undisturbed
) -> None:
    """Sabotage."""
    room.fill_from(filled)
    assert list(_flip(room))
    ended = room.run(job.arguments, boot=UNCHECKED)
    assert ended.code != 0 or different(job, wanted, room)


def test_two_releases_at_once(job: Job, room: Room, wanted: Undisturbed) -> None:
    room.fill_from(job.seed)
    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(lambda _: room.run(job.arguments), range(2)))
    assert [each.code for each in ended] == [0, 0], "\n".join(each.err for each in ended)
    assert different(job, wanted, room) == []
    assert room.left() == ()
    verified = room.run(("verify", "dist/tiny-1"))
    assert verified.code == 0, f"one of the two, whole: {verified.err}"
