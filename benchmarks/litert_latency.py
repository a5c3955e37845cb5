"""edgekit's .tflite files on LiteRT against those of litert-torch and TensorFlow's converter.

    model x precision x writer -> file;  files of a model, alternately (A B | B A | ...) -> ratios

XNNPACK, one thread, batch 1, a process for each file. Two processes of one file differ by up to a tenth for
as long as they live (where their memory lies), so every file is opened anew several times. What is judged is
the time that the inference's thread computed (``peers/timed.py``); wall times and the machine's load are in
the raw results. ``EDGEKIT_PEERS`` leads to the peers' environments; ``EDGEKIT_PEER_FILES`` names a folder
that keeps the files for the next run.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import edgekit
from benchmarks import peers
from benchmarks.peers.timed import TimedFile
from benchmarks.report import Bar, Report
from edgekit.measure import timer
from edgekit.measure.statistics import Interval, ratio_interval

FILES = "EDGEKIT_PEER_FILES"
PROCESSES, ROUNDS, ROUND_MS, SEED = 6, 10, 40.0, 0  # of each file, one after another; rounds of each
NOT_SLOWER = 1.05  # issue 5: the upper bound of the ratio to the best peer
BERT_SPEED_UP = 2.5  # issue 5: text_bert's best form against its float
JUDGED = ("float", "int8")


@contextlib.contextmanager
def folder_of_files() -> Iterator[Path]:
    """Where files are written: kept where ``EDGEKIT_PEER_FILES`` says so."""
    kept = os.environ.get(FILES)
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run() -> Report:
    """Write every file, then measure model by model."""
    bars: list[Bar] = []
    raw: dict[str, object] = {
        "versions": peers.versions(),
        "processes": PROCESSES,
        "rounds": ROUNDS,
        "batch": 1,
        "threads": 1,
    }
    with folder_of_files() as folder:
        if not (folder / "text_bert.npz").is_file():
            peers.calibration_data(folder)
        files = {
            model.name: {
                (precision, writer): peers.write_tflite(model, precision, writer, folder)
                for precision in peers.PRECISIONS
                for writer in peers.WRITERS
            }
            for model in peers.MODELS
        }
        for name, found in files.items():
            print(f"{name}: timing", file=sys.stderr, flush=True)
            judged, facts = _measure(name, found)
            bars += judged
            raw[name] = facts
    shipped, facts = _shipped("mobilenet_v3_small")
    bars.append(Bar("mobilenet_v3_small: what ships / its float", shipped, 1.0))
    return Report("litert_latency", tuple(bars), {**raw, "shipped": facts})


def _measure(
    name: str, files: Mapping[tuple[str, str], Path | peers.Absent]
) -> tuple[list[Bar], dict[str, object]]:
    """Time the files of one model; what cannot be opened is in ``absent`` with the reason."""
    paths = {f"{precision} {writer}": path for (precision, writer), path in files.items()}
    absent = {key: path.reason for key, path in paths.items() if isinstance(path, peers.Absent)}
    rounds: dict[str, list[float]] = {}
    waited: dict[str, list[float]] = {}
    operators: dict[str, object] = {}
    load = []
    for _ in range(PROCESSES):
        sessions = {}
        for key, path in paths.items():
            if isinstance(path, peers.Absent) or key in absent:
                continue
            try:
                sessions[key] = TimedFile(path)
            except RuntimeError as error:  # a peer's file that the runtime refuses is a result
                absent[key] = str(error)
        load.append(os.getloadavg()[0])
        found = timer.compare(
            sessions,  # type: ignore[arg-type]  # of a session it uses time_ms alone
            {},
            baseline=f"float {peers.EDGEKIT}",
            seed=SEED,
            rounds=ROUNDS,
            round_ms=ROUND_MS,
        )
        for key, session in sessions.items():
            samples = np.reshape(found.latencies[key].raw_ms, (ROUNDS, -1))
            rounds.setdefault(key, []).extend(np.median(samples, axis=1).tolist())
            waited.setdefault(key, []).extend(session.waited_ms)
            operators[key] = dict(session.operators)
            session.close()
    facts = {
        key: {
            "p50_ms": statistics.median(rounds[key]),
            "rounds_ms": [round(each, 4) for each in rounds[key]],
            "wall_p50_ms": statistics.median(waited[key]),
            "bytes": Path(str(paths[key])).stat().st_size,
            "operators": operators[key],
        }
        for key in rounds
    }
    bars, ratios = _judge(name, rounds)
    return bars, {"load": load, "absent": absent, "files": facts, "ratios": ratios}


def _judge(name: str, rounds: Mapping[str, list[float]]) -> tuple[list[Bar], dict[str, object]]:
    """Each precision against the best peer's, and edgekit's best form against the peers' best."""
    bars: list[Bar] = []
    ratios: dict[str, object] = {}

    def fastest(keys: list[str]) -> str:
        return min(keys, key=lambda key: statistics.median(rounds[key]))

    def against(what: str, ours: list[str], theirs: list[str]) -> None:
        if not ours or not theirs:
            return
        mine, best = fastest(ours), fastest(theirs)
        ratio = ratio_interval(rounds[mine], rounds[best], seed=SEED)
        ratios[what] = {"ours": mine, "peer": best, **_interval(ratio)}
        title = f"{name}, {what}: upper bound of time / {best.split(' ')[1]}'s"
        bars.append(Bar(title, ratio.high, NOT_SLOWER))

    mine = [key for key in rounds if key.endswith(f" {peers.EDGEKIT}")]
    theirs = [key for key in rounds if key not in mine]
    for precision in JUDGED:
        against(
            precision,
            [key for key in mine if key.startswith(precision)],
            [key for key in theirs if key.startswith(precision)],
        )
    against("the best form", mine, theirs)
    if name == "text_bert":
        best = fastest(mine)
        ratio = ratio_interval(rounds[f"float {peers.EDGEKIT}"], rounds[best], seed=SEED)
        ratios["speed-up"] = {"ours": best, **_interval(ratio)}
        bars.append(Bar(f"{name}: float time / the best form's", ratio.value, BERT_SPEED_UP, at_most=False))
    return bars, ratios


def _interval(ratio: Interval) -> dict[str, float]:
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high}


def _shipped(name: str) -> tuple[float, dict[str, object]]:
    """What a release of the recipe ships for LiteRT: its time over the float file's."""
    with tempfile.TemporaryDirectory() as folder:
        result = edgekit.release(
            peers.ROOT / "models" / name / "edgekit.toml",
            out=folder,
            targets=("litert-cpu",),
            update=True,
            dry_run=True,
        )
    (row,) = result.targets
    candidates = {each.precision: each.ratio for each in row.candidates}
    ratio = candidates.get(row.chosen) if row.chosen else None
    value = ratio.value if ratio else 1.0  # float itself has no ratio to float
    return value, {"chosen": row.chosen, "reason": row.reason, "ratio": value}
