"""edgekit's candidates on an NVIDIA GPU against PyTorch eager, torch.compile and ONNX Runtime in fp32.

    model x (target, precision, settings) -> artifact;  artifacts and peers, A B | B A | ... -> ratios

Batch 1. Inputs lie on the device and outputs stay there, time runs until the GPU is done; ``onnxruntime``
alone takes arrays and gives arrays, as "plain" wants it. The pick is edgekit's fastest candidate whose most
likely class is the float model's on at least BUDGET of the samples; nothing may be faster than it by more
than its own verdict allows (the upper bound of the ratio's interval at NOT_SLOWER).

What is not here is skipped with its reason: a peer, a target, or the GPU, without which there are no bars.
EDGEKIT_GPU_QUICK=1 leaves out what tunes itself for minutes. EDGEKIT_BENCH_MODELS chooses models,
EDGEKIT_BENCH_TARGETS edgekit's targets. Run it alone: what the CPU launches is slower beside other programs.
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
PROCESSES = 14  # of one model that are made at the same time
LIMIT_S = float(os.environ.get("EDGEKIT_GPU_LIMIT_S", "240"))  # until a candidate or a peer must be ready
ROUNDS, ROUND_MS, SEED = 20, 30.0, 0
QUICK = bool(os.environ.get("EDGEKIT_GPU_QUICK"))
CHOSEN = "EDGEKIT_BENCH_MODELS"
TARGETS = os.environ.get("EDGEKIT_BENCH_TARGETS", "gpu-cuda,gpu-torch-aoti").split(",")
SLOW = ("edgekit gpu-torch-aoti fp32", "edgekit gpu-torch-aoti fp16 no graph")  # left out with QUICK
LAYOUTS = {"cuda.prefer_nhwc", "torch.layout"}  # of images
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
    Candidate("edgekit gpu-cuda fp16 nchw", "gpu-cuda", Precision.FP16, {"cuda.prefer_nhwc": "0"}),
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
    found = [Kind("reduce-overhead", half=True), Kind("compile", half=True)]
    if image:
        found += [Kind("reduce-overhead", half=True, channels_last=True)]
        found += [Kind("eager", half=True, channels_last=True)]
    if not QUICK:
        found += [Kind("reduce-overhead"), Kind("compile")]
    found += [Kind("eager"), Kind("eager", half=True), Kind("onnxruntime"), Kind("onnxruntime-io")]
    if not QUICK:
        found += [Kind("max-autotune", half=True)]
        found += [Kind("max-autotune", half=True, channels_last=True)] if image else []
    return tuple(found)


def run() -> Report:
    """Open everything, then measure model by model; without a GPU there is nothing but the reason."""
    gpu = gpu_words()
    raw: dict[str, Any] = {"gpu": gpu, "batch": 1, "rounds": ROUNDS, "round_ms": ROUND_MS, "samples": SAMPLES}
    if not gpu:
        return Report("gpu_cuda", (), {**raw, "skipped": "no NVIDIA GPU: nvidia-smi finds none"})
    bars: list[Bar] = []
    wanted = os.environ.get(CHOSEN, "").split(",")
    chosen = [
        each for each in peers.MODELS if each.name in MODELS and (wanted == [""] or each.name in wanted)
    ]
    with folder_of_files() as folder, ThreadPoolExecutor(len(chosen)) as pool:
        if not (folder / "text_bert.npz").is_file():
            peers.calibration_data(folder)
        opened = list(pool.map(lambda model: _opened(model, folder), chosen))
        for model, found in zip(chosen, opened, strict=True):
            raw[model.name], held = _measured(model.name, found)
            bars += held
            Report("gpu_cuda", tuple(bars), raw).write()  # what there is, should the rest be cut off
    return Report("gpu_cuda", tuple(bars), raw)


@dataclass(frozen=True, eq=False)
class Opened:
    """The candidates and peers of one model, each in its process, and what each computes.

    Attributes:
        absent: why the others are not here.
        ready_s: seconds until each was, beside all the others.
        samples: inputs by name, (SAMPLES, ...).
    """

    samples: Mapping[str, Array]
    reference: Array
    sessions: Mapping[str, Any]
    outputs: Mapping[str, Array]
    absent: Mapping[str, str]
    ready_s: Mapping[str, float]


def gpu_words() -> str:
    """Name, driver and memory of the GPU; "" where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""


def _opened(model: peers.Model, folder: Path) -> Opened:
    path, _, build = model.source.rpartition(":")
    with np.load(folder / f"{model.name}.npz") as arrays:
        samples: dict[str, Array] = {name: arrays[name][:SAMPLES] for name in arrays.files}
    onnx = folder / f"{model.name}.onnx"
    makers: dict[str, Callable[[], Any]] = {}
    for kind in kinds(model.name):
        makers[kind.label] = lambda kind=kind: _opened_peer(kind, (Path(path), build), onnx, samples)
    late = {name: makers.pop(name) for name in tuple(makers) if name.startswith("onnxruntime")}
    sessions: dict[str, Any] = {}
    outputs: dict[str, Array] = {}
    absent: dict[str, str] = {}
    ready: dict[str, float] = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        first = [pool.submit(_attempt, name, make) for name, make in makers.items()]
        source = peers.write_onnx(model, folder)  # beside the peers that need no file
        if isinstance(source, peers.Absent):
            absent["everything that needs the .onnx"] = source.reason
            reference = np.zeros((SAMPLES, 1), np.float32)
        else:
            reference = _reference(source, samples)
            maker = _Maker(source, folder / f"{model.name}.npz", folder)
            for candidate in (*CANDIDATES, *(() if QUICK else TUNED_CANDIDATES)):
                if model.name == "text_bert" and candidate.settings.keys() & LAYOUTS:
                    continue
                if (QUICK and candidate.label in SLOW) or candidate.target not in TARGETS:
                    continue
                late[candidate.label] = lambda candidate=candidate: maker.opened(candidate, samples)
            order = sorted(late, key=lambda name: "torch-aoti" not in name)  # the slow ones first
            first += [pool.submit(_attempt, name, late[name]) for name in order]
        for each in first:
            name, found, ready[name] = each.result()
            if isinstance(found, str):
                absent[name] = found
            else:
                sessions[name], outputs[name] = found
    words = {name: reason.splitlines()[0][:300] for name, reason in absent.items()}
    print(f"{model.name}: {len(sessions)} ready ({ready}), absent: {words}", file=sys.stderr, flush=True)
    return Opened(samples, reference, sessions, outputs, absent, ready)


def _measured(name: str, opened: Opened) -> tuple[dict[str, Any], list[Bar]]:
    sessions = opened.sessions
    if not sessions:
        return {"absent": opened.absent}, []
    try:
        feeds = {name: array[:1] for name, array in opened.samples.items()}
        found = timer.compare(
            sessions, feeds, baseline=next(iter(sessions)), seed=SEED, rounds=ROUNDS, round_ms=ROUND_MS
        )
    finally:
        for session in sessions.values():
            session.close()
    medians = {
        each: np.median(np.reshape(found.latencies[each].raw_ms, (ROUNDS, -1)), axis=1).tolist()
        for each in sessions
    }
    errors = {each: _error(opened.outputs[each], opened.reference) for each in sessions}
    rows = {
        each: {
            "p50_ms": statistics.median(medians[each]),
            "error_of_range": errors[each][0],
            "labels": errors[each][1],
            "ready_s": opened.ready_s[each],
            "facts": getattr(sessions[each], "facts_said", {}),
        }
        for each in sorted(sessions, key=lambda each: statistics.median(medians[each]))
    }
    for each, row in rows.items():
        print(f"  {name}: {row['p50_ms']:.4f} ms  {row['error_of_range']:.2g}  {each}", file=sys.stderr)
    return {"rows": rows, "absent": opened.absent}, _judge(name, medians, errors)


def _judge(
    title: str, medians: Mapping[str, list[float]], errors: Mapping[str, tuple[float, float]]
) -> list[Bar]:
    mine = [name for name in medians if name.startswith("edgekit") and errors[name][1] >= BUDGET]
    theirs = [name for name in medians if not name.startswith("edgekit")]
    if not mine or not theirs:
        return []
    pick, best = (min(names, key=lambda name: statistics.median(medians[name])) for names in (mine, theirs))
    ratio = ratio_interval(medians[pick], medians[best], seed=SEED)
    return [Bar(f"{title}: upper bound of time of {pick} / {best}'s", ratio.high, NOT_SLOWER)]


def _attempt(name: str, make: Callable[[], Any]) -> tuple[str, Any, float]:
    """What ``make`` gives, or the reason why not, and the seconds that it took."""
    begin = time.perf_counter()
    found: Any
    try:
        found = make()
    except (EdgekitError, RuntimeError) as error:
        found = str(error)[:3000]
    return name, found, round(time.perf_counter() - begin, 1)


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
        own = {"torch.package": "kernels"} if target.backend == "torch-aoti" else {}
        settings = {**dict(options.settings), **own, **candidate.settings}
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
