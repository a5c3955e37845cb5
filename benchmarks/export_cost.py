"""``edgekit export`` against the framework's own exporter, alternately, as whole processes: time and memory.

What edgekit does on top: canonicalization, a proof on the real runtime in a process of its own, and a file
written in one step. Time is wall clock with imports, as a user waits for it; memory is the largest sum of
resident sizes over the process and its children, sampled. Processor seconds, children included, stand beside:
on a machine that others use too they are the steadier figure, though not what the bar is about.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Bar, Report

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
TIME_LIMIT, MEMORY_LIMIT = 1.3, 2.5  # issue 3: times the exporter's own; model sizes above its peak
SAMPLE_S = 0.01
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

TORCH = """
import sys; sys.path.insert(0, {folder!r})
import torch, model
found = model.{build}().eval()
feeds = {feeds}
shapes = {{name: {{0: torch.export.Dim("batch")}} for name in feeds}}
torch.onnx.export(
    found, (), kwargs=feeds, dynamic_shapes=shapes, dynamo=True, opset_version=21, verbose=False
).save({out!r})
"""
KERAS = """
import sys; sys.path.insert(0, {folder!r})
import numpy as np, model
found = model.{build}()
feeds = {feeds}
found(next(iter(feeds.values())))
found.export({out!r}, format="onnx", verbose=False)
"""
IMAGE = "image:float32:batchx3x224x224"
TOKENS = ("input_ids:int64:batchx128", "attention_mask:int64:batchx128")
PEERS = {
    "resnet18": (TORCH, "build", "{'image': torch.zeros(2, 3, 224, 224)}", (IMAGE,)),
    "mobilenet_v2": (TORCH, "build", "{'image': torch.zeros(2, 3, 224, 224)}", (IMAGE,)),
    "text_bert": (
        TORCH,
        "build_large",
        "{name: torch.ones(2, 128, dtype=torch.int64) for name in ('input_ids', 'attention_mask')}",
        TOKENS,
    ),
    "digits_keras": (KERAS, "build", "{'image': np.zeros((1, 28, 28, 1), 'float32')}", ()),
}


def _children(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        for child in text.split():
            yield from _children(int(child))


def _resident_bytes(process: int) -> int:
    total = 0
    for each in _children(process):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/statm").read_text().split()
            total += (int(fields[1]) - int(fields[2])) * PAGE_BYTES  # without pages of shared files
    return total


class Cost(NamedTuple):
    """Of one command: wall clock, processor time and peak resident size, children included."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def _processor_seconds() -> float:
    """Of all children that have ended, and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: list[str], *, cache: str) -> Cost:
    environment = {**os.environ, "EDGEKIT_CACHE": cache, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    start, before = time.perf_counter(), _processor_seconds()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident_bytes(process.pid))
        time.sleep(SAMPLE_S)
    seconds = time.perf_counter() - start
    if process.returncode:
        output = process.stdout.read().decode() if process.stdout else ""
        raise RuntimeError(f"{command[:4]} failed:\n{output[-2000:]}")
    return Cost(seconds, _processor_seconds() - before, peak)


def _commands(name: str, folder: Path) -> dict[str, list[str]]:
    script, build, feeds, inputs = PEERS[name]
    home = ROOT / "models" / name
    peer = script.format(folder=str(home), build=build, feeds=feeds, out=str(folder / "peer.onnx"))
    ours = [sys.executable, "-m", "edgekit", "export", f"{home}/model.py:{build}", "-q"]
    for spec in inputs:
        ours += ["--input", spec]
    return {"peer": [sys.executable, "-c", peer], "edgekit": [*ours, "-o", str(folder / "ours.onnx")]}


def run() -> Report:
    """Measure."""
    bars = []
    raw: dict[str, object] = {}
    for name in PEERS:
        costs: dict[str, list[Cost]] = {"peer": [], "edgekit": []}
        with tempfile.TemporaryDirectory() as folder:
            commands = _commands(name, Path(folder))
            for index in range(ROUNDS + 1):
                for who in sorted(commands, reverse=bool(index % 2)):
                    cost = _run(commands[who], cache=f"{folder}/cache-{index}")
                    if index:  # the first round fills the file cache
                        costs[who].append(cost)
            size = (Path(folder) / "ours.onnx").stat().st_size
        ours, peers = costs["edgekit"], costs["peer"]
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, peers, strict=True))
        peaks = [statistics.median(each.peak_bytes for each in found) for found in (ours, peers)]
        above = (peaks[0] - peaks[1]) / size
        bars.append(Bar(f"{name}: export time / the framework's own", ratio, TIME_LIMIT))
        raw[name] = {
            "costs": {who: [each._asdict() for each in found] for who, found in costs.items()},
            "processor_ratio": statistics.median(
                a.processor_seconds / b.processor_seconds for a, b in zip(ours, peers, strict=True)
            ),
            "model_bytes": size,
            "model_sizes_above": above,
        }
        if (
            size > 20_000_000
        ):  # of a small model, the interpreter of the proof's process is many times the size
            bars.append(Bar(f"{name}: peak above the framework's own, model sizes", above, MEMORY_LIMIT))
    return Report("export_cost", tuple(bars), raw)
