"""Pruning at 224 pixels: mobilenet_v2 on every target, and what pruning resnet18 takes.

mobilenet_v2 (seeded weights) is pruned for 1.5 times the speed on ONNX Runtime; the file is then timed again
against the float one, in a measurement of its own, compiled for every target that takes the float model, and
run where the target is here: its outputs must be those of the pruned graph, as near as the target gives those
of the float model. Blocks are not refined: that takes minutes, and changes neither speed nor shapes.

resnet18 is pruned from 256 crops by the command, as a process of its own on two cores: wall seconds, and the
largest memory of it and its workers together (proportional set size, ten times a second).

EDGEKIT_BENCH_MODELS=resnet18 measures only that model and keeps the other's rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.report import RESULTS, Bar, Report
from edgekit import target as targets
from edgekit.errors import EdgekitError
from edgekit.ir import io
from edgekit.pipeline.prune.speedometer import Speedometer, slowest
from edgekit.spec import Array, Artifact, Feeds, Silent, TensorSpec

MODELS = Path(__file__).parents[1] / "models"
INPUT = [TensorSpec("image", "float32", ("batch", 3, 224, 224))]
SPEEDUP, WITHIN = 1.5, 0.10
SAMPLES = 256
SECONDS, MEMORY_GIB = 600, 4.0
CORES = 2
AWAY = 1e-3  # of the output's range: float32 on another runtime
TIMES = 2.0  # what the float model is away there: a target that computes in 16 bits
LOOK_S = 0.1
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those


def run() -> Report:
    """Measure."""
    chosen = os.environ.get(CHOSEN, "mobilenet_v2,resnet18").split(",")
    known = _known()
    with tempfile.TemporaryDirectory() as work:
        for name, measure in (("mobilenet_v2", _every_target), ("resnet18", _what_it_takes)):
            if name in chosen:
                known[name] = measure(Path(work))
                print(name, json.dumps(known[name]), flush=True)
    bars = []
    if (row := known.get("mobilenet_v2")) is not None:
        faster, lowest, highest = float(row["times_faster"]), SPEEDUP * (1 - WITHIN), SPEEDUP * (1 + WITHIN)
        bars += [
            Bar("mobilenet_v2: times faster", faster, lowest, at_most=False),
            Bar("mobilenet_v2: times faster, and no more", faster, highest),
            Bar("mobilenet_v2: targets that do not take or compute it", float(len(row["wrong"])), 0),
            Bar("mobilenet_v2: targets that take it", float(len(row["taken"])), 3, at_most=False),
        ]
    if (row := known.get("resnet18")) is not None:
        bars += [
            Bar("resnet18: seconds", float(row["seconds"]), SECONDS),
            Bar("resnet18: peak memory, GiB", float(row["gib"]), MEMORY_GIB),
            Bar("resnet18: exit code", float(row["exit_code"]), 0),
        ]
    return Report("pruned_large", tuple(bars), known)


def _known() -> dict[str, dict[str, object]]:
    """Rows of the last run: what is not chosen stays."""
    path = RESULTS / "pruned_large.json"
    found: dict[str, dict[str, object]] = json.loads(path.read_text())["raw"] if path.exists() else {}
    return found


class _Told(Silent):
    """Stages and the seconds at which they begin: the job takes minutes."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    def stage(self, name: str, *, total: int | None = None) -> None:
        print(f"{time.perf_counter() - self._begin:6.0f} s  {name}", flush=True)


def _exported(name: str, work: Path) -> Path:
    return edgekit.export(f"{MODELS / name / 'model.py'}:build", out=work / f"{name}.onnx", inputs=INPUT)


# ---- mobilenet_v2


def _every_target(work: Path) -> dict[str, object]:
    told = _Told()
    model = _exported("mobilenet_v2", work)
    result = edgekit.prune(
        model,
        calibration_data=f"{MODELS / 'photographs.py'}:training",
        samples=SAMPLES,
        preprocess=MODELS / "mobilenet_v2" / "edgekit.toml",
        out=work / "pruned.onnx",
        speedup=SPEEDUP,
        repair="layers",
        progress=told,
    )
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    again = Speedometer(io.load(model), (targets.load("onnxruntime-cpu"),), None, feeds, 1)
    taken, wrong = [], {}
    wanted = {path: _logits(path, feeds) for path in (model, result.path)}
    away: dict[str, dict[str, float]] = {}
    for name in (each for each in targets.names() if targets.load(each).readiness is None):
        told.stage(name)
        try:
            plain = edgekit.compile(model, target=name, out=work / f"float-{name}")
        except EdgekitError:
            continue  # it does not take the float model either, or is not here
        try:
            artifact = edgekit.compile(result.path, target=name, out=work / name)
        except EdgekitError as error:
            wrong[name] = error.what
            continue
        taken.append(name)
        try:
            float_off = _off(_logits(plain, feeds), wanted[model])
        except EdgekitError:
            continue  # its device is not here
        off = _off(_logits(artifact, feeds), wanted[result.path])
        away[name] = {"float": float_off, "pruned": off}
        if not off <= max(AWAY, TIMES * float_off):
            wrong[name] = f"{off:.3g} of the output's range away"
    return {
        "times_faster": slowest(again.speeds(io.load(result.path), Silent())),
        "times_faster_in_the_search": slowest(result.speeds),
        "taken": taken,
        "wrong": wrong,
        "away": away,
        "parameters": [result.float_parameters, result.parameters],
    }


def _logits(model: Path | Artifact, feeds: Feeds) -> Array:
    with edgekit.open(model) as session:
        return session.run(feeds)["logits"]


def _off(found: Array, wanted: Array) -> float:
    """Of the output's range."""
    return float(np.abs(found - wanted).max() / np.ptp(wanted))


# ---- resnet18


def _what_it_takes(work: Path) -> dict[str, object]:
    model = _exported("resnet18", work)
    command = [sys.executable, "-m", "edgekit", "prune", str(model), "--speedup", str(SPEEDUP)]
    command += ["--calibration-data", f"{MODELS / 'photographs.py'}:training", "--samples", str(SAMPLES)]
    command += [
        "--preprocess",
        str(MODELS / "resnet18" / "edgekit.toml"),
        "-o",
        str(work / "small.onnx"),
        *("--report", f"json:{work / 'report.json'}"),
        "-q",
    ]
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": str(CORES), "EDGEKIT_CACHE": str(work / "cache")},
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509  no threads run here
    )
    largest = 0
    while process.poll() is None:
        largest = max(largest, sum(map(_pss_bytes, _tree(process.pid))))
        time.sleep(LOOK_S)
    return {
        "seconds": time.perf_counter() - begin,
        "gib": largest / 2**30,
        "exit_code": process.returncode,
        "samples": SAMPLES,
        **_search(work / "report.json"),
    }


def _search(report: Path) -> dict[str, object]:
    """What was tried, and what the last timing said: why a run ends as it does."""
    if not report.exists():
        return {}
    said = json.loads(report.read_text())
    return {"search": said["search"], "speeds": said["speeds"]}


def _tree(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))
    except OSError:
        return  # it has ended


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
