"""The verbs that write, each with a small job and the folder as it is before it.

A seed is what the verbs before have left (``tests.cli.test_leaves_nothing_behind`` has models and order);
the cache of all of them is in it, as a user's would be. Reports are written too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.cli.test_leaves_nothing_behind import CASES, user
from tests.faults.inject import Room
from tests.faults.judge import MEASURED, Job

REPORTS = {
    "validate": ("--report", "json:v.json", "--report", "html:v.html"),
    "bench": ("--history", "h.jsonl", "--report", "json:b.json"),
    "diff": ("--report", "markdown:d.md"),
}
_TIMED = {  # verbs whose files hold times
    "bench": ("h.jsonl", "b.json"),
    "validate": ("v.json", "v.html"),
    "prune": ("*.json",),
    "sweep": ("swept/rows/*.json", "swept/report.*", "swept/store/*"),
}
READ_ONLY = ("schema", "targets", "doctor", "inspect", "verify", "clean")
"""Verbs that write nothing into the working folder."""


def first(folder: Path) -> Path:
    """The seed of the first job: a model, its data, a recipe."""
    folder.mkdir(parents=True)
    user(folder, xdg=False)
    shutil.rmtree(folder / "home")
    return folder


def jobs(folder: Path, room: Room, *, only: tuple[str, ...] = ()) -> Iterator[Job]:
    """Each verb that writes with its seed, made by running the ones before it."""
    seed = first(folder / "seed")
    for verb, case in CASES.items():
        if verb in READ_ONLY:
            continue
        arguments = (verb, *case.arguments, *REPORTS.get(verb, ()))
        job = Job(verb, arguments, seed, case.codes, (*MEASURED, *_TIMED.get(verb, ())), once=verb == "init")
        if not only or verb in only:
            yield job
        room.fill_from(seed)
        done = room.run(arguments)
        assert done.code in case.codes, f"{verb}: {done.out}\n{done.err}"
        seed = folder / f"after-{verb}"
        shutil.copytree(room.home, seed, symlinks=True)
