"""text_decoder: perplexity and speed of w8 and w4 against float, on ONNX Runtime and OpenVINO.

Bars (issue 4): w8 within 0.5 % and w4, in blocks of 32, within 3 % of float's perplexity on the held-out text
of the recipe; neither slower than float (upper bound of the ratio at 1.05).
Timed: 64 characters with a cache of 32 at batch 1, and one character: the
time that the process computed, one thread, alternately.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from benchmarks.peers.timed_session import TimedSession
from benchmarks.report import Bar, Report
from benchmarks.text_bert_precisions import compiled
from edgekit.backends import registry
from edgekit.ir import io
from edgekit.measure.statistics import Interval, ratio_interval
from edgekit.measure.timer import compare
from edgekit.spec import Array, Artifact, Precision, Session, TensorSpec
from edgekit.target import Target, load

FOLDER = Path(__file__).parents[1] / "models" / "text_decoder"
LIMITS = {Precision.W8: 0.5, Precision.W4: 3.0}  # per cent of float's perplexity
TARGETS = ("onnxruntime-cpu", "openvino-cpu")
TIMED = ("64 characters", "one character")
PROCESSES, ROUNDS, SEED = 5, 10, 0

Batch = Mapping[str, Array]


def run() -> Report:
    """Export once, then compile, score and time on each target."""
    caches = [f"past_{part}_{layer}" for layer in range(2) for part in ("key", "value")]
    inputs = [
        TensorSpec("tokens", "int64", ("batch", "tokens")),
        *(TensorSpec(name, "float32", ("batch", 4, "past", 24)) for name in caches),
    ]
    sys.path.insert(0, str(FOLDER))  # a model's files import each other by their bare names
    try:
        batches: list[Batch] = list(importlib.import_module("data").evaluation())
    finally:
        sys.path.remove(str(FOLDER))
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "decoder.onnx"
        edgekit.export(f"{FOLDER / 'model.py'}:build", out=onnx, inputs=inputs)
        model = io.load(onnx)
        for name in TARGETS:
            figures = _measure(model, load(name), batches, Path(folder))
            raw[name] = figures
            real = figures[Precision.FP32.value]["perplexity"][0]
            for precision, limit in LIMITS.items():
                lost = 100 * (figures[precision.value]["perplexity"][0] / real - 1)
                bars.append(Bar(f"{name} {precision}: perplexity above float's, per cent", lost, limit))
                for what in TIMED:
                    high = figures[precision.value][f"ratio, {what}"][2]
                    bars.append(Bar(f"{name} {precision}, {what}: upper bound of time / float's", high, 1.05))
    return Report("text_decoder_weights", tuple(bars), raw)


def _measure(
    model: ir.Model, target: Target, batches: list[Batch], folder: Path
) -> dict[str, dict[str, list[float]]]:
    artifacts = {
        precision.value: compiled(model, target, precision, folder) for precision in (Precision.FP32, *LIMITS)
    }
    many = {name: array[:1] for name, array in batches[0].items() if name != "labels"}
    one = {**many, "tokens": many["tokens"][:, :1]}
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(registry.backend(target.backend).open(each, each.options))
            for name, each in artifacts.items()
        }
        perplexity = {name: _perplexity(session, batches) for name, session in sessions.items()}
    found = {what: _ratios(artifacts, feeds) for what, feeds in zip(TIMED, (many, one), strict=True)}
    return {
        name: {
            "perplexity": [perplexity[name]],
            "size_bytes": [float(artifacts[name].size_bytes)],
            **{
                f"ratio, {what}": [each[name].value, each[name].low, each[name].high]
                for what, each in found.items()
            },
        }
        for name in artifacts
    }


def _ratios(artifacts: Mapping[str, Artifact], feeds: Batch) -> dict[str, Interval]:
    """Time of each as a share of float's, with processes opened anew several times."""
    rounds: dict[str, list[float]] = {}
    order, rng = list(artifacts), np.random.default_rng(SEED)
    for _ in range(PROCESSES):
        rng.shuffle(order)
        sessions = {}
        for name in order:
            each = artifacts[name]
            sessions[name] = TimedSession(each.path, each.backend, dict(each.options.settings), feeds)
        compared = compare(
            sessions,  # type: ignore[arg-type]  # of a session it uses time_ms alone
            {},
            baseline=Precision.FP32.value,
            seed=SEED,
            rounds=ROUNDS,
        )
        for name, session in sessions.items():
            samples = np.reshape(compared.latencies[name].raw_ms, (ROUNDS, -1))
            rounds.setdefault(name, []).extend(np.median(samples, axis=1).tolist())
            session.close()
    real = rounds[Precision.FP32.value]
    return {name: ratio_interval(each, real, seed=SEED) for name, each in rounds.items()}


def _perplexity(session: Session, batches: list[Batch]) -> float:
    """exp of the mean negative log-likelihood of the characters that follow."""
    total, count = 0.0, 0
    for batch in batches:
        feeds = {name: array for name, array in batch.items() if name != "labels"}
        scores = np.asarray(session.run(feeds)["logits"], np.float64)
        scores -= scores.max(axis=-1, keepdims=True)
        chances = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        labels = np.asarray(batch["labels"], np.int64)[..., None]
        total -= float(np.take_along_axis(chances, labels, axis=-1).sum())
        count += labels.size
    return float(np.exp(total / count))
