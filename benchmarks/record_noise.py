"""Pairs of processes of one file, A and A, on this machine -> benchmarks/noise/recorded.json.

    python -m benchmarks.record_noise ARTIFACT... [--pairs 60]

Two processes of one file differ for as long as they live: where their memory lies, which core they are on,
what else the machine does. This records how much. Each pair is a launch of ``edgekit bench`` with both
sides the same artifact: two fresh processes, warm-up until the median settles, rounds A B | B A. What is
kept is the median of each round, in the order in which the pairs ran, and the machine's load before each.
Nothing is selected. ``bench_power`` replays the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgekit.measure.statistics import percentile
from edgekit.measure.timer import ROUND_MS, take_rounds
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.spec import Silent

FILE = Path(__file__).parent / "noise" / "recorded.json"
PAIRS = 60
ROUNDS = 12  # more than a launch of `bench` takes: what a round more is worth can be seen in them


def record(path: Path, *, pairs: int) -> dict[str, object]:
    """``pairs`` launches of the artifact at ``path`` against itself."""
    artifact = artifact_at(path)
    rows: list[dict[str, object]] = []
    facts: dict[str, str] = {}
    for index in range(pairs):
        load = os.getloadavg()[0]
        with ExitStack() as stack:
            sessions = {side: stack.enter_context(open_artifact(artifact, threads=1)) for side in ("a", "b")}
            feeds = random_feeds(sessions["a"].inputs, seed=0)
            taken = take_rounds(sessions, feeds, rounds=ROUNDS, round_ms=ROUND_MS, progress=Silent())
            facts = dict(sessions["a"].facts)
        medians = {
            side: [float(f"{percentile(each, 50):.5g}") for each in taken.samples[side]] for side in sessions
        }
        rows.append({"load": round(load, 2), **medians})
        print(f"{path.name} {index + 1}/{pairs}", file=sys.stderr, flush=True)
    name = artifact.path.name
    return {"file": name, "runtime": facts["runtime"], "version": facts["version"], "pairs": rows}


def ratios_of(pairs: list[dict[str, list[float]]]) -> list[float]:
    """The logarithm of each pair's ratio, as ``bench`` takes it: the median over its rounds."""
    return [float(np.median(np.log(np.divide(each["a"], each["b"])))) for each in pairs]


def main() -> None:
    """Record, and put it in place of what was recorded of the same files before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    given = parser.parse_args()
    held = json.loads(FILE.read_text())["models"] if FILE.is_file() else []
    for path in given.artifacts:
        found = record(path, pairs=given.pairs)
        held = [*(each for each in held if each["file"] != found["file"]), found]
        document = {"round_ms": ROUND_MS, "machine": dict(machine_row().facts), "models": held}
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
