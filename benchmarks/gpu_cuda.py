"""edgekit's candidates on an NVIDIA GPU against PyTorch eager, torch.compile and ONNX Runtime in fp32.

    model x (target, precision, settings) -> artifact;  artifacts and peers, A B | B A | ... -> ratios

Batch 1. Inputs lie on the device and outputs stay there, time runs until the GPU is done; ``onnxruntime``
alone takes arrays and gives arrays, as "plain" wants it. The pick is edgekit's fastest candidate whose most
likely class is the float model's on at least BUDGET of the samples; nothing may be faster than it by more
than its own verdict allows (the upper bound of the ratio's interval at NOT_SLOWER).

What is not here is skipped with its reason: a peer, a target, or the GPU, without which there are no bars.
EDGEKIT_GPU_QUICK=1 leaves out what tunes itself for minutes. EDGEKIT_BENCH_MODELS chooses models.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.int8_latency import _ranges
from benchmarks.litert_latency import folder_of_files
from benchmarks.peers.timed_gpu import Kind, TimedGpu
from benchmarks.report import Bar, Report
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.errors import EdgekitError
from edgekit.ir import io
from edgekit.measure import timer
from edgekit.measure.statistics import ratio_interval
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.float16 import to_float16
from edgekit.quantization.place import place
from edgekit.spec import Array, Precision, RunOptions

MODELS = ("mobilenet_v2", "resnet18", "text_bert")
NOT_SLOWER = 1.05  # as `never_slower` judges
BUDGET = 0.95  # of the samples have the float model's label
SAMPLES = 16
PROCESSES = 8  # that compile at the same time
LIMIT_S = float(os.environ.get("EDGEKIT_GPU_LIMIT_S", "240"))  # until a candidate or a peer must be ready
ROUNDS, ROUND_MS, SEED = 20, 30.0, 0
QUICK = bool(os.environ.get("EDGEKIT_GPU_QUICK"))
CHOSEN = "EDGEKIT_BENCH_MODELS"
TUNED = {"inductor.max_autotune": "true"}


@dataclass(frozen=True)
class Candidate:
    """A form of the model that edgekit makes."""

    label: str
    target: str
    precision: Precision
    settings: Mapping[str, str] = field(default_factory=dict)


CANDIDATES = (
    Candidate("edgekit gpu-cuda fp32", "gpu-cuda", Precision.FP32),
    Candidate("edgekit gpu-cuda fp16", "gpu-cuda", Precision.FP16),
    Candidate("edgekit gpu-cuda fp16 nhwc", "gpu-cuda", Precision.FP16, {"cuda.prefer_nhwc": "1"}),
    Candidate("edgekit gpu-cuda fp16 no graph", "gpu-cuda", Precision.FP16, {"cuda.graph": "0"}),
    Candidate("edgekit gpu-cuda w8a8", "gpu-cuda", Precision.W8A8),
    Candidate("edgekit gpu-torch-aoti fp32", "gpu-torch-aoti", Precision.FP32),
    Candidate("edgekit gpu-torch-aoti fp16", "gpu-torch-aoti", Precision.FP16),
    Candidate("edgekit gpu-torch-aoti fp16 nhwc", "gpu-torch-aoti", Precision.FP16, {"torch.layout": "nhwc"}),
    Candidate("edgekit gpu-torch-aoti fp16 no graph", "gpu-torch-aoti", Precision.FP16, {"cuda.graph": "0"}),
)
TUNED_CANDIDATES = (
    Candidate("edgekit gpu-torch-aoti fp16 tuned", "gpu-torch-aoti", Precision.FP16, TUNED),
    Candidate(
        "edgekit gpu-torch-aoti fp16 nhwc tuned",
        "gpu-torch-aoti",
        Precision.FP16,
        {**TUNED, "torch.layout": "nhwc"},
    ),
)


def kinds(name: str) -> tuple[Kind, ...]:
    """The peers of one model."""
    image = name != "text_bert"
    found = [Kind(how, half) for half in (False, True) for how in ("eager", "compile", "reduce-overhead")]
    found += [Kind("onnxruntime"), Kind("onnxruntime-io")]
    if image:
        found += [Kind("eager", half=True, channels_last=True)]
        found += [Kind("reduce-overhead", half=True, channels_last=True)]
    if not QUICK:
        found += [Kind("max-autotune", half=True)]
        found += [Kind("max-autotune", half=True, channels_last=True)] if image else []
    return tuple(found)


def run() -> Report:
    """Measure model by model; without a GPU there is nothing but the reason."""
    gpu = gpu_words()
    raw: dict[str, Any] = {"gpu": gpu, "batch": 1, "rounds": ROUNDS, "round_ms": ROUND_MS, "samples": SAMPLES}
    if not gpu:
        return Report("gpu_cuda", (), {**raw, "skipped": "no NVIDIA GPU: nvidia-smi finds none"})
    bars: list[Bar] = []
    wanted = os.environ.get(CHOSEN, "").split(",")
    with folder_of_files() as folder:
        if not (folder / "text_bert.npz").is_file():
            peers.calibration_data(folder)
        for model in (each for each in peers.MODELS if each.name in MODELS):
            if wanted != [""] and model.name not in wanted:
                continue
            facts, found = _measured(model, folder)
            raw[model.name] = facts
            bars += found
    return Report("gpu_cuda", tuple(bars), raw)


def gpu_words() -> str:
    """Name, driver and memory of the GPU; "" where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""


def _measured(model: peers.Model, folder: Path) -> tuple[dict[str, Any], list[Bar]]:
    source = peers.write_onnx(model, folder)
    if isinstance(source, peers.Absent):
        return {"absent": {"all": source.reason}}, []
    with np.load(folder / f"{model.name}.npz") as arrays:
        samples: dict[str, Array] = {name: arrays[name][:SAMPLES] for name in arrays.files}
    reference = _reference(source, samples)
    makers: dict[str, Callable[[], Any]] = {}
    maker = _Maker(source, folder / f"{model.name}.npz", folder)
    for candidate in (*CANDIDATES, *(() if QUICK else TUNED_CANDIDATES)):
        if "nhwc" in candidate.label and model.name == "text_bert":
            continue
        makers[candidate.label] = lambda candidate=candidate: maker.opened(candidate, samples)
    path, _, build = model.source.rpartition(":")
    for kind in kinds(model.name):
        makers[kind.label] = lambda kind=kind: _opened_peer(kind, (Path(path), build), source, samples)
    sessions, outputs, absent, ready = _ready(makers)
    print(f"{model.name}: {len(sessions)} ready, absent: {absent}", file=sys.stderr, flush=True)
    if not sessions:
        return {"absent": absent}, []
    try:
        feeds = {name: array[:1] for name, array in samples.items()}
        baseline = next(iter(sessions))
        found = timer.compare(sessions, feeds, baseline=baseline, seed=SEED, rounds=ROUNDS, round_ms=ROUND_MS)
    finally:
        for session in sessions.values():
            session.close()
    medians = {
        name: np.median(np.reshape(found.latencies[name].raw_ms, (ROUNDS, -1)), axis=1).tolist()
        for name in sessions
    }
    errors = {name: _error(outputs[name], reference) for name in sessions}
    rows = {
        name: {
            "p50_ms": statistics.median(medians[name]),
            "error_of_range": errors[name][0],
            "labels": errors[name][1],
            "ready_s": ready[name],
            "facts": getattr(sessions[name], "facts_said", {}),
        }
        for name in sorted(sessions, key=lambda name: statistics.median(medians[name]))
    }
    return {"rows": rows, "absent": absent}, _judge(model.name, medians, errors)


def _judge(
    title: str, medians: Mapping[str, list[float]], errors: Mapping[str, tuple[float, float]]
) -> list[Bar]:
    mine = [name for name in medians if name.startswith("edgekit") and errors[name][1] >= BUDGET]
    theirs = [name for name in medians if not name.startswith("edgekit")]
    if not mine or not theirs:
        return []
    pick, best = (min(names, key=lambda name: statistics.median(medians[name])) for names in (mine, theirs))
    ratio = ratio_interval(medians[pick], medians[best], seed=SEED)
    plain = {name: statistics.median(medians[name]) for name in theirs}
    for name, value in plain.items():
        print(
            f"  {title}: {pick} takes {statistics.median(medians[pick]) / value:.3f} of {name}'s", flush=True
        )
    return [Bar(f"{title}: upper bound of time of {pick} / {best}'s", ratio.high, NOT_SLOWER)]


def _ready(
    makers: Mapping[str, Callable[[], Any]],
) -> tuple[dict[str, Any], dict[str, Array], dict[str, str], dict[str, float]]:
    """Everything that can be opened, what it computes, the reasons of the rest, and the seconds it took."""

    def attempt(name: str) -> tuple[str, Any, float]:
        begin = time.perf_counter()
        try:
            return name, makers[name](), time.perf_counter() - begin
        except (EdgekitError, RuntimeError) as error:
            return name, str(error)[:400], time.perf_counter() - begin

    sessions, outputs, absent, ready = {}, {}, {}, {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        for name, found, seconds in pool.map(attempt, makers):
            ready[name] = round(seconds, 1)
            if isinstance(found, str):
                absent[name] = found
            else:
                sessions[name], outputs[name] = found
    return sessions, outputs, absent, ready


def _opened_peer(
    kind: Kind, source: tuple[Path, str], onnx: Path, samples: Mapping[str, Array]
) -> tuple[TimedGpu, Array]:
    session = TimedGpu(kind, source, onnx, samples, limit_s=LIMIT_S)
    return session, session.outputs


class _Maker:
    """edgekit's candidates of one model."""

    def __init__(self, source: Path, data: Path, folder: Path) -> None:
        self._model = canonicalize(io.load(source))
        self._ranges = _ranges(self._model, data)
        self._stem, self._folder = source.stem, folder

    def opened(self, candidate: Candidate, samples: Mapping[str, Array]) -> tuple[Any, Array]:
        """A session of the candidate, and what it gives for the samples."""
        target = targets.load(candidate.target)
        form = self._model
        if candidate.precision is Precision.FP16:
            form = to_float16(form, ranges=self._ranges)
        elif candidate.precision is Precision.W8A8:
            form = apply(form, place(form, target, self._ranges))
        options = target.run.options()
        settings = {**dict(options.settings), "inductor.max_autotune": "false", **candidate.settings}
        if target.backend != "torch-aoti":
            del settings["inductor.max_autotune"]
        options = RunOptions(options.threads, options.device, tuple(sorted(settings.items())))
        stem = f"{self._stem}-{candidate.label.replace(' ', '-')}"
        request = CompileRequest(form, target, candidate.precision, options, stem)
        backend = registry.backend(target.backend)
        artifact = backend.compile(request, self._folder)
        session: Any = backend.open(artifact, artifact.options)
        session.facts_said = dict(session.facts)
        count = len(next(iter(samples.values())))
        rows = [
            next(
                iter(
                    session.run({name: array[index : index + 1] for name, array in samples.items()}).values()
                )
            )
            for index in range(count)
        ]
        return session, np.concatenate(rows)


def _reference(source: Path, samples: Mapping[str, Array]) -> Array:
    """The float model on the CPU."""
    count = len(next(iter(samples.values())))
    with open_model(io.load(source), RunOptions()) as session:
        return np.concatenate(
            [
                next(iter(session.run({name: array[i : i + 1] for name, array in samples.items()}).values()))
                for i in range(count)
            ]
        )


def _error(outputs: Array, reference: Array) -> tuple[float, float]:
    """Largest difference in parts of the reference's range, and the share of equal labels."""
    spread = float(reference.max() - reference.min())
    worst = float(np.abs(outputs.astype(np.float64) - reference).max()) / spread
    return worst, float(np.mean(outputs.argmax(-1) == reference.argmax(-1)))
