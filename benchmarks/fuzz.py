"""20,000 damaged ONNX, TFLite, OpenVINO, npz, TOML and bundle files against the verbs that read them.

`inspect`, `compile`, `validate`, `verify` and `release`, through the command line, in processes that are
watched (tests/fuzz): exceptions that no verb expected, a death of the main process, 30 s of silence, files
outside of the output folder, half-written files, text that a terminal obeys. EDGEKIT_FUZZ_SEED draws others.
"""

from __future__ import annotations

import collections
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import Bar, Report

INPUTS = 20_000
LANES = 2  # children at once: cores of the reference machine
KINDS = ("exception", "crash", "hang", "wrote outside", "half-written", "unsafe text")


def run(count: int = INPUTS) -> Report:
    """Fuzz in lanes; each has seeds and a room of its own."""
    from tests.fuzz.drive import Finding, Healthy, Outcome, fuzz
    from tests.fuzz.seeds import plant

    first = int(os.environ.get("EDGEKIT_FUZZ_SEED", "0"))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        planted = plant(home / "seeds", cache=home / "seeds-cache")
        healthy = Healthy(home / "seeds" / "labelled.npz", home / "seeds" / "cnn.onnx")

        def lane(number: int) -> Outcome:
            room = home / f"lane-{number}"
            room.mkdir()
            return fuzz(
                planted,
                count=count // LANES,
                seed=first + number,
                room=room,
                cache=room / "cache",
                healthy=healthy,
                told=lambda line: print(line, flush=True),
            )

        with ThreadPoolExecutor(LANES) as pool:
            found = list(pool.map(lane, range(LANES)))
    seconds = time.perf_counter() - start
    findings: list[Finding] = [each for outcome in found for each in outcome.findings]
    kinds = collections.Counter(each.what for each in findings)
    codes: collections.Counter[tuple[str, str, int]] = sum(
        (outcome.codes for outcome in found), collections.Counter()
    )
    reasons = sum((outcome.said for outcome in found), collections.Counter[str]())
    bars = (
        Bar("inputs", sum(outcome.inputs for outcome in found), INPUTS, at_most=False),
        *(Bar(f"findings: {kind}", kinds[kind], 0) for kind in KINDS),
    )
    raw = {
        "seeds": [first + number for number in range(LANES)],
        "exit codes": {f"{verb} {kind}: {code}": n for (verb, kind, code), n in sorted(codes.items())},
        "reasons told apart": len(reasons),
        "findings": [f"{each.verb} {each.kind}: {each.detail[-400:]}" for each in findings[:50]],
        "seconds": seconds,
    }
    return Report("fuzz", bars, raw)
