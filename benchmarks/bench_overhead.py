"""p50 that `edgekit bench` reports / p50 of the runtime's own tool on the same file: at most 3 % apart.

    ONNX Runtime, LiteRT   a bare Python loop (``peers/bare_loop.py``), in turns with edgekit's: A B | B A
    OpenVINO               `benchmark_app -api sync`, whole processes, in turns: A B | B A

`onnxruntime_perf_test` is in no Python package. One thread, batch 1, float files, the same inputs. Two
processes of one file differ by several per cent for as long as they live, so each side is started anew
``PAIRS`` times, and the ratio of the medians over pairs is judged. edgekit and benchmark_app both report
OpenVINO's own clock; a bare loop by the wall clock, in the raw figures too, shows 5 us more.

`EDGEKIT_BENCH_MODELS=digits_cnn` measures only that model.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.peers.bare_loop import BareLoop
from benchmarks.report import Bar, Report
from edgekit.backends import registry
from edgekit.backends.bindings import artifact_from_reference
from edgekit.errors import EdgekitError
from edgekit.measure import timer
from edgekit.measure.statistics import ratio_interval
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.open import artifact_at
from edgekit.spec import Array, Artifact, Dim, RunOptions, Session, TensorSpec

MODELS: Mapping[str, tuple[tuple[str, str, tuple[Dim, ...]], ...]] = {
    "digits_cnn": (("image", "float32", (1, 1, 28, 28)),),
    "mobilenet_v2": (("image", "float32", (1, 3, 224, 224)),),
    "text_bert": (("input_ids", "int64", (1, 48)), ("attention_mask", "int64", (1, 48))),
}
TARGETS = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu")
SOURCES = Path(__file__).parents[1] / "models"
PAIRS = 12  # even: both orders equally often
SECONDS = 1  # of benchmark_app's loop: whole numbers only
ROUNDS, ROUND_MS, SEED = 20, 30.0, 0
WITHIN = 0.03  # issue 7
_BENCHMARK_APP = "from openvino.tools.benchmark.main import main; main()"  # as its console script
_MEDIAN = re.compile(r"Median:\s+([0-9.]+) (ms|us)")
_KINDS = {"float32": "f32", "int64": "i64"}
_MS = {"ms": 1.0, "us": 1e-3}


def run() -> Report:
    """Export and compile once; then model by model, runtime by runtime."""
    bars: list[Bar] = []
    raw: dict[str, object] = {"pairs": PAIRS, "threads": 1, "batch": 1}
    wanted = os.environ.get("EDGEKIT_BENCH_MODELS", ",".join(MODELS)).split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in wanted:
            inputs = [TensorSpec(*each) for each in MODELS[model]]
            source = folder / f"{model}.onnx"
            edgekit.export(f"{SOURCES / model / 'model.py'}:build", out=source, inputs=inputs)
            for target in TARGETS:
                print(f"{model} on {target}", file=sys.stderr, flush=True)
                edgekit.compile(source, target=target, out=folder / f"{model}-{target}")
                artifact = artifact_at(folder / f"{model}-{target}")
                bar, facts = _judged(f"{model}, {target}", artifact, folder)
                bars.append(bar)
                raw[f"{model} {target}"] = facts
    return Report("bench_overhead", tuple(bars), raw)


def _judged(title: str, artifact: Artifact, folder: Path) -> tuple[Bar, dict[str, object]]:
    """How far apart the medians of the two sides are, and what is behind it."""
    own = artifact_from_reference(
        random_feeds(tuple(each.reference for each in artifact.inputs), seed=SEED), artifact.inputs
    )
    stored = folder / "feeds.npz"
    np.savez(stored, **own)  # type: ignore[arg-type]  # NumPy's stubs take allow_pickle for one of them
    bare = [_in_turns(artifact, stored, first=index % 2 == 0) for index in range(PAIRS)]
    facts: dict[str, object] = {"bare loop": _compared(bare)}
    ratio = _ratio(bare)
    if artifact.backend == "openvino":
        tool = [_apart(artifact, own, folder, first=index % 2 == 0) for index in range(PAIRS)]
        facts["benchmark_app"] = _compared(tool)
        ratio = _ratio(tool)
    return Bar(f"{title}: away from the runtime's own", abs(ratio - 1), WITHIN), facts


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours) / statistics.median(theirs)


def _compared(pairs: Sequence[tuple[float, float]]) -> dict[str, object]:
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    spread = ratio_interval(ours, theirs, seed=SEED)
    return {
        "ratio": _ratio(pairs),
        "ratio_of_pairs": [spread.value, spread.low, spread.high],
        "pairs_ms": [[round(each, 5) for each in pair] for pair in pairs],
        "load": os.getloadavg()[0],
    }


def _apart(
    artifact: Artifact, feeds: Mapping[str, Array], folder: Path, *, first: bool
) -> tuple[float, float]:
    """Whole processes, one after the other."""
    if first:
        ours = _reported(artifact)
        return ours, _benchmark_app(artifact, feeds, folder)
    theirs = _benchmark_app(artifact, feeds, folder)
    return _reported(artifact), theirs


def _opened(artifact: Artifact) -> Session:
    options = replace(RunOptions(), settings=artifact.options.settings)
    return registry.backend(artifact.backend).open(artifact, options)


def _reported(artifact: Artifact) -> float:
    """As `edgekit bench` does it in one process."""
    with _opened(artifact) as session:
        feeds = random_feeds(session.inputs, seed=SEED)
        found = timer.compare(
            {"edgekit": session}, feeds, baseline="edgekit", seed=SEED, rounds=ROUNDS, round_ms=ROUND_MS
        )
    return found.latencies["edgekit"].p50_ms


def _in_turns(artifact: Artifact, feeds: Path, *, first: bool) -> tuple[float, float]:
    """Both processes alive, round by round."""
    bare = BareLoop(artifact.backend, artifact.path, feeds)
    try:
        with _opened(artifact) as session:
            sides = {"edgekit": session, "bare": bare}
            found = timer.compare(
                sides if first else dict(reversed(sides.items())),  # type: ignore[arg-type]  # time_ms alone is used
                random_feeds(session.inputs, seed=SEED),
                baseline="bare",
                seed=SEED,
                rounds=ROUNDS,
                round_ms=ROUND_MS,
            )
    finally:
        bare.close()
    return found.latencies["edgekit"].p50_ms, found.latencies["bare"].p50_ms


def _benchmark_app(artifact: Artifact, feeds: Mapping[str, Array], folder: Path) -> float:
    """The median that OpenVINO's tool prints."""
    shapes = ",".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in feeds.items())
    kinds = {_KINDS[array.dtype.name] for array in feeds.values()}
    command = [
        *(sys.executable, "-c", _BENCHMARK_APP, "-m", str(artifact.path), "-d", "CPU"),
        *("-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", "1", "-infer_precision", "f32"),
        *("-t", str(SECONDS), "-shape", shapes, "-ip", kinds.pop()),  # without -ip an image becomes uint8
    ]
    for name, array in feeds.items():
        np.save(folder / f"{name}.npy", array)
    command += ["-i", ",".join(f"{name}:{folder / name}.npy" for name in feeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = _MEDIAN.search(done.stdout)
    if found is None:
        raise EdgekitError("benchmark_app gave no median", why=(done.stdout + done.stderr)[-500:])
    return float(found[1]) * _MS[found[2]]
