"""edgekit's candidates on ONNX Runtime and OpenVINO against quantize_static, NNCF, float and bf16 float.

    model x runtime x writer -> file;  files of a model, alternately (A B | B A | ...) -> ratios

One thread, batch 1, a process for each file, several times over. Two bars for each model and runtime: the
target's fastest candidate (what the ladder would pick) against the best of the peers and float, by the upper
bound of the ratio; and the ``portable`` file against the best quantized file of a peer. The interpreter of
``EDGEKIT_PEERS/nncf`` makes the peers' files; ``EDGEKIT_PEER_FILES`` names the folder that keeps them. On
CPUs with bf16 every file is opened under both of OpenVINO's precision hints.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from benchmarks import peers
from benchmarks.litert_latency import folder_of_files
from benchmarks.peers.timed_session import TimedSession
from benchmarks.report import RESULTS, Bar, Report
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import collect
from edgekit.ir import io
from edgekit.measure import timer
from edgekit.measure.machine import cpu_features
from edgekit.measure.statistics import ratio_interval
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.quantization.saturation import as_fitting, find
from edgekit.quantization.weights import NoEligibleWeightError, place_weights
from edgekit.spec import Array, Precision, Range, Silent

MODELS = (*peers.MODELS, peers.Model("digits_detector", "build", ("image:float32:1x1x64x64",)))
RUNTIMES = {"onnxruntime-cpu": "onnxruntime", "openvino-cpu": "openvino"}
MAKERS = {"ort": "onnx", "ort-u8s8": "onnx", "nncf-onnx": "onnx", "nncf-ov": "xml"}
BF16 = {"INFERENCE_PRECISION_HINT": "bf16"}
PROCESSES, ROUNDS, ROUND_MS, SEED = 5, 10, 30.0, 0
NOT_SLOWER, PORTABLE = 1.05, 1.25  # issue 4
BERT_SPEED_UP = 1.5  # issue 4: on ONNX Runtime
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those


@dataclass(frozen=True)
class File:
    """What is opened, where, and how."""

    path: Path
    runtime: str
    settings: Mapping[str, str] = field(default_factory=dict)


def run() -> Report:
    """Write every file, then measure model by model; with CHOSEN those, and the others' figures stay."""
    wanted = os.environ.get(CHOSEN, "").split(",")
    bars, raw = _kept(wanted) if wanted != [""] else ([], {})
    raw.update(rounds=ROUNDS, batch=1, threads=1)
    with folder_of_files() as folder:
        _calibration_data(folder)
        for model in MODELS:
            if wanted != [""] and model.name not in wanted:
                continue
            source = peers.write_onnx(model, folder)
            if isinstance(source, peers.Absent):
                raw[model.name] = source.reason
                continue
            maker = _Maker(source, folder / f"{model.name}.npz", folder)
            for name, runtime in RUNTIMES.items():
                print(f"{model.name} on {runtime}: timing", file=sys.stderr, flush=True)
                absent: dict[str, str] = {}
                files = dict(maker.files(name, absent))
                medians = _medians(files, absent)
                bars += _judge(f"{model.name} on {runtime}", medians)
                raw[f"{model.name} {name}"] = {
                    "absent": absent,
                    "files": _facts(medians),
                    "processes": PROCESSES,
                }
    return Report("int8_latency", tuple(bars), raw)


def _kept(wanted: list[str]) -> tuple[list[Bar], dict[str, object]]:
    """The bars and figures of the run before, but for the models in ``wanted``."""
    path = RESULTS / "int8_latency.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {"bars": [], "raw": {}}
    bars = [Bar(each["name"], each["measured"], each["limit"], each["at_most"]) for each in found["bars"]]
    return (
        [bar for bar in bars if bar.name.split()[0] not in wanted],
        {name: facts for name, facts in found["raw"].items() if name.split()[0] not in wanted},
    )


def _calibration_data(folder: Path) -> None:
    if not (folder / "text_bert.npz").is_file():
        peers.calibration_data(folder)
    detector = folder / "digits_detector.npz"
    if not detector.is_file():
        scenes = np.random.default_rng(SEED).random((peers.SAMPLES, 1, 64, 64), np.float32)
        np.savez(detector, image=scenes)  # what they show decides no latency


class _Maker:
    """The files of one model."""

    def __init__(self, source: Path, data: Path, folder: Path) -> None:
        self._source, self._data, self._folder = source, data, folder
        self._model = canonicalize(io.load(source))
        self._ranges = _ranges(self._model, data)

    def files(self, name: str, absent: dict[str, str]) -> Iterator[tuple[str, File]]:
        """edgekit's candidates for the target ``name``, and the peers' files that its runtime may open."""
        target, runtime = targets.load(name), RUNTIMES[name]
        native = bool(set(target.needs.get(Precision.BF16, ())) & set(cpu_features()))
        for precision in target.ladder:
            if precision is Precision.BF16:
                continue
            for placement in ("", *(target.placement if precision is Precision.W8A8 else ())):
                label = "-".join([f"edgekit {precision}", *([placement] if placement else [])])
                try:
                    made = self._made(target, precision, placement)
                except NoEligibleWeightError as error:
                    absent[label] = error.what
                    continue
                yield label, made
                if native:
                    named = "edgekit bf16" if precision is Precision.FP32 else f"{label}-bf16"
                    yield named, File(made.path, runtime, {**made.settings, **BF16})
        yield "float", File(self._source, runtime)
        if native:
            yield "float bf16", File(self._source, runtime, BF16)
        portable = self._made(targets.load("portable"), Precision.W8A8)
        yield "portable", File(portable.path, runtime)
        if native:
            yield "portable bf16", File(portable.path, runtime, BF16)
        for maker, suffix in MAKERS.items():
            if runtime == "onnxruntime" and suffix != "onnx":
                continue
            found = self._peer(maker, suffix)
            if isinstance(found, peers.Absent):
                absent[maker] = found.reason
                continue
            yield maker, File(found, runtime)
            if native:
                yield f"{maker} bf16", File(found, runtime, BF16)

    def _made(self, target: targets.Target, precision: Precision, placement: str = "") -> File:
        form, target = self._model, target.placed(placement)
        if precision is not Precision.FP32:
            static = precision is Precision.W8A8
            plan = place(form, target, self._ranges) if static else place_weights(form, target, precision)
            form = apply(form, as_fitting(form, plan, find(form, plan)))  # as a release has it
        stem = "-".join([self._source.stem, target.name, precision, *([placement] if placement else [])])
        request = CompileRequest(form, target, precision, target.run.options(), stem)
        artifact = registry.backend(target.backend).compile(request, self._folder)
        main = self._folder / f"{stem}.{target.extension}"
        return File(main, target.backend, dict(artifact.options.settings))

    def _peer(self, maker: str, suffix: str) -> Path | peers.Absent:
        out = self._folder / f"{self._source.stem}.int8.{maker}.{suffix}"
        if out.is_file():
            return out
        python = peers.interpreter("nncf")
        if isinstance(python, peers.Absent):
            return python
        script = str(peers.HERE / "from_onnx.py")
        command = [str(python), script, maker, str(self._source), str(self._data), str(out)]
        return peers.ask(command, out, self._folder)


def _ranges(model: ir.Model, data: Path) -> dict[str, Range]:
    with np.load(data) as arrays:
        samples: dict[str, Array] = {name: arrays[name] for name in arrays.files}
    count = len(next(iter(samples.values())))

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            yield {name: array[start : start + size] for name, array in samples.items()}

    found = collect(
        model,
        open_model=open_model,
        batches=batches,
        count=count,
        method="minmax",
        progress=Silent(),
        seed=SEED,
    )
    return dict(found.tensors)


def _medians(files: Mapping[str, File], absent: dict[str, str]) -> dict[str, list[float]]:
    """Each round's median by file; what cannot be opened is in ``absent`` with the reason."""
    rounds: dict[str, list[float]] = {}
    order = list(files)
    rng = np.random.default_rng(SEED)
    for _ in range(PROCESSES):
        sessions = {}
        rng.shuffle(order)  # what ran before decides what is in the caches
        for name, file in ((name, files[name]) for name in order):
            if name in absent:
                continue
            try:
                sessions[name] = TimedSession(file.path, file.runtime, file.settings)
            except RuntimeError as error:
                absent[name] = str(error)
        found = timer.compare(
            sessions,  # type: ignore[arg-type]  # of a session it uses time_ms alone
            {},
            baseline="edgekit fp32",
            seed=SEED,
            rounds=ROUNDS,
            round_ms=ROUND_MS,
        )
        for name, session in sessions.items():
            samples = np.reshape(found.latencies[name].raw_ms, (ROUNDS, -1))
            rounds.setdefault(name, []).extend(np.median(samples, axis=1).tolist())
            session.close()
    return rounds


def _facts(medians: Mapping[str, list[float]]) -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, rounds in medians.items():
        ratio = ratio_interval(rounds, medians["edgekit fp32"], seed=SEED)
        facts[name] = {"p50_ms": statistics.median(rounds), "ratio": [ratio.value, ratio.low, ratio.high]}
    return facts


def _judge(title: str, medians: Mapping[str, list[float]]) -> list[Bar]:
    def fastest(names: list[str]) -> str:
        return min(names, key=lambda name: statistics.median(medians[name]))

    mine = [name for name in medians if name.startswith("edgekit")]
    portable = [name for name in medians if name.startswith("portable")]
    theirs = [name for name in medians if name not in {*mine, *portable}]
    quantized = [name for name in theirs if not name.startswith("float")]
    own, best = fastest(mine), fastest(theirs)
    ratio = ratio_interval(medians[own], medians[best], seed=SEED)
    bars = [Bar(f"{title}: upper bound of time of {own} / {best}'s", ratio.high, NOT_SLOWER)]
    if quantized and portable:
        one, best = fastest(portable), fastest(quantized)
        ratio = ratio_interval(medians[one], medians[best], seed=SEED)
        bars.append(Bar(f"{title}: time of {one} / {best}'s", ratio.value, PORTABLE))
    if title == "text_bert on onnxruntime":
        speed_up = ratio_interval(medians["edgekit fp32"], medians[own], seed=SEED)
        bars.append(Bar(f"{title}: float time / {own}'s", speed_up.value, BERT_SPEED_UP, at_most=False))
    return bars
