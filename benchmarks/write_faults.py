"""Full disks, refusals, kills and signals between the writes of every verb: what is wrong afterwards?

A small library in every process of a run counts the calls that change files and lets the n-th go wrong
(``tests/faults``). For each verb that writes and each fault, n is drawn from the whole run (``places``): exit
code and message, files under final names, drafts that are left, and whether the next run gives the bytes of
one that nobody disturbed. EDGEKIT_FAULTS: how many n for each verb and fault, or "all"; EDGEKIT_FAULTS_SEED:
other ones; EDGEKIT_BENCH_MODELS: some of the verbs.
"""

from __future__ import annotations

import collections
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Bar, Report

DRAWN = (
    2  # of each fault, for each verb: 182 disturbed runs, half an hour on a quiet machine; 8 take two hours
)
RULES = {
    "J1": "undocumented exit codes, tracebacks",
    "J2": "failures without their cause",
    "J3": "half-written files",
    "J4": "drafts left",
    "J5": "next runs that fail or differ",
    "J6": "processes that live on",
}


def places(count: int, *, drawn: str, faults: int, rng: np.random.Generator) -> list[list[int]]:
    """For each of so many faults the calls of a run of ``count``.

    Each fault has one call out of each of ``drawn`` equal parts of the run; those parts are divided among the
    faults, so that no two of them try one piece of the run while another is tried by none.
    """
    if drawn == "all" or int(drawn) >= count:
        return [list(range(1, count + 1)) for _ in range(faults)]
    parts = int(drawn)
    edges = np.linspace(1, count + 1, parts * faults + 1)
    found: list[list[int]] = [[] for _ in range(faults)]
    for part in range(parts):
        for fault, piece in enumerate(rng.permutation(faults)):
            low, high = edges[part * faults + piece], edges[part * faults + piece + 1]
            found[fault].append(min(int(rng.uniform(low, high)), count))
    return found


def run() -> Report:
    """Disturb each verb with each fault."""
    from tests.faults.inject import FAULTS, Room, built
    from tests.faults.jobs import jobs
    from tests.faults.judge import Finding, disturbed, undisturbed

    drawn = os.environ.get("EDGEKIT_FAULTS", str(DRAWN))
    only = tuple(filter(None, os.environ.get("EDGEKIT_BENCH_MODELS", "").split(",")))
    seed = int(os.environ.get("EDGEKIT_FAULTS_SEED", "0"))
    rng, start = np.random.default_rng(seed), time.perf_counter()
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
            faults = [each for each in FAULTS if each != "clock"]  # the clock has no place
            tried_at = places(len(wanted.calls), drawn=drawn, faults=len(faults), rng=rng)
            for fault, chosen in zip(faults, tried_at, strict=True):
                for at in chosen:
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
        "seed": seed,
        "drawn for each verb and fault": drawn,
        "seconds": time.perf_counter() - start,
    }
    return Report("write_faults", bars, raw)
