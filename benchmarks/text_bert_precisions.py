"""text_bert, large (6 x 384, 128 tokens, batch 1, one thread): dynamic int8 against float on CPU runtimes.

Seeded weights, compiled as `release` does, timed by edgekit's own interleaved bench. Bars: LiteRT 2.5 times
faster, ONNX Runtime 1.5 times (issues 4 and 5); the other precisions are in the raw figures.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from benchmarks.report import Bar, Report
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.ir import io
from edgekit.measure.timer import compare
from edgekit.quantization.apply import apply
from edgekit.quantization.weights import place_weights
from edgekit.spec import Array, Artifact, Precision, TensorSpec
from edgekit.target import Target, load

SOURCE = Path(__file__).parents[1] / "models" / "text_bert" / "model.py"
TOKENS = 128
VOCABULARY = 30522
SEED = 0
ROUNDS = 20
LIMITS = {"litert-cpu": 2.5, "onnxruntime-cpu": 1.5, "openvino-cpu": None}  # None: no bar is set


def run() -> Report:
    """Export once; per target compile every precision that needs no data and time all of them together."""
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "large.onnx"
        inputs = [TensorSpec(name, "int64", (1, TOKENS)) for name in ("input_ids", "attention_mask")]
        edgekit.export(f"{SOURCE}:build_large", out=onnx, inputs=inputs)
        model = io.load(onnx)
        for name, limit in LIMITS.items():
            figures = _measure(model, load(name), Path(folder))
            raw[name] = figures
            if limit is not None:
                faster = 1.0 / figures[Precision.DYNAMIC.value]["ratio"][0]
                bars.append(Bar(f"{name}: float's latency over dynamic's", faster, limit, at_most=False))
    return Report("text_bert_precisions", tuple(bars), raw)


def _measure(model: ir.Model, target: Target, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Latency, ratio to float with its interval, size, and largest error in parts of float's range."""
    wanted = [p for p in target.precisions if p in {Precision.DYNAMIC, Precision.W8, Precision.W4}]
    artifacts = {p.value: compiled(model, target, p, folder) for p in (Precision.FP32, *wanted)}
    feeds = _feeds()
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(registry.backend(target.backend).open(each, each.options))
            for name, each in artifacts.items()
        }
        outputs = {name: next(iter(session.run(feeds).values())) for name, session in sessions.items()}
        found = compare(sessions, feeds, baseline=Precision.FP32.value, seed=SEED, rounds=ROUNDS)
    real = np.asarray(outputs[Precision.FP32.value], np.float64)
    return {
        name: {
            "p50_ms": [found.latencies[name].p50_ms],
            "ratio": [found.ratios[name].value, found.ratios[name].low, found.ratios[name].high],
            "size_bytes": [float(artifacts[name].size_bytes)],
            "error": [float(np.abs(np.asarray(outputs[name], np.float64) - real).max() / np.abs(real).max())],
        }
        for name in artifacts
    }


def compiled(model: ir.Model, target: Target, precision: Precision, folder: Path) -> Artifact:
    """``model`` at ``precision``, as `release` compiles it."""
    form = model
    if precision is not Precision.FP32:
        form = apply(model, place_weights(model, target, precision))
    stem = f"m-{target.name}-{precision}"
    request = CompileRequest(form, target, precision, target.run.options(), stem)
    return registry.backend(target.backend).compile(request, folder)


def _feeds() -> dict[str, Array]:
    rng = np.random.default_rng(SEED)
    return {
        "input_ids": rng.integers(0, VOCABULARY, (1, TOKENS)),
        "attention_mask": np.ones((1, TOKENS), np.int64),
    }
