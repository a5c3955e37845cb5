"""Full disks, refusals, kills and signals between the writes of every verb: what is wrong afterwards?

A small library in every process of a run counts the calls that change files and lets the n-th go wrong
(``tests/faults``). For each verb that writes and each fault, n is drawn from the whole run, one out of each
equal part: exit code and message, files under final names, drafts that are left, and whether the next run
gives the bytes of one that nobody disturbed. Seed 0. EDGEKIT_FAULTS: how many n for each verb and fault, or
"all"; EDGEKIT_BENCH_MODELS: some of the verbs.
"""

from __future__ import annotations

import collections
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Bar, Report

DRAWN = 8
RULES = {
    "J1": "undocumented exit codes, tracebacks",
    "J2": "failures without their cause",
    "J3": "half-written files",
    "J4": "drafts left",
    "J5": "next runs that fail or differ",
    "J6": "processes that live on",
}


def places(count: int, *, drawn: str, rng: np.random.Generator) -> list[int]:
    """Calls of a run of ``count``."""
    if drawn == "all" or int(drawn) >= count:
        return list(range(1, count + 1))
    edges = np.linspace(1, count + 1, int(drawn) + 1).astype(int)
    return [int(rng.integers(edges[i], max(edges[i + 1], edges[i] + 1))) for i in range(int(drawn))]


def run() -> Report:
    """Disturb each verb with each fault."""
    from tests.faults.inject import FAULTS, Room, built
    from tests.faults.jobs import jobs
    from tests.faults.judge import Finding, disturbed, undisturbed

    drawn = os.environ.get("EDGEKIT_FAULTS", str(DRAWN))
    only = tuple(filter(None, os.environ.get("EDGEKIT_BENCH_MODELS", "").split(",")))
    rng, start = np.random.default_rng(0), time.perf_counter()
    found: list[Finding] = []
    tried: collections.Counter[str] = collections.Counter()
    calls: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        library = built(home)
        room = Room(home / "room", library)
        for job in jobs(home / "seeds", Room(home / "making", library), only=only):
            wanted = undisturbed(job, room)
            calls[job.name] = len(wanted.calls)
            for fault in [each for each in FAULTS if each != "clock"]:
                for at in places(len(wanted.calls), drawn=drawn, rng=rng):
                    new = disturbed(job, room, wanted, fault=fault, at=at)
                    found += new
                    tried[f"{job.name} {fault}"] += 1
                    for each in new:
                        print(f"{each}\n{each.said}", flush=True)
                print(f"{job.name} {fault}: {tried[f'{job.name} {fault}']} tried", flush=True)
    count = collections.Counter(each.rule for each in found)
    bars = (
        Bar("disturbed runs", sum(tried.values()), 1, at_most=False),
        *(Bar(said, count[rule], 0) for rule, said in RULES.items()),
    )
    raw = {
        "calls of an undisturbed run": calls,
        "tried": dict(tried),
        "findings": [f"{each.job} {each.fault} at {each.at} ({each.call}): {each.what}" for each in found],
        "seed": 0,
        "seconds": time.perf_counter() - start,
    }
    return Report("write_faults", bars, raw)
