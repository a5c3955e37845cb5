"""text_bert with zeros among its weights: edgekit's against the smallest weights set to zero.

    model x pattern -> accuracy above chance that is left, edgekit's / magnitude pruning's

``small``: the trained model of two layers of 48; accuracy on its test sentences. ``large``: six layers of 384
with seeded weights and random ids; what is counted there is how often the float model's label comes out. Both
have two labels, so chance is a half. 256 and 128 samples of calibration data, no labels.

Issue 8 asks for twice the accuracy at 50 % and 2:4. A trained model of this size loses nothing at either in
any way, so what is judged of ``small`` there is that edgekit loses no more; and twice is asked at 95 %.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from benchmarks.report import Bar, Report
from edgekit.backends.onnxruntime import open_model
from edgekit.ir import io
from edgekit.pruning.layers import Floats, Layer, layers, weight_from_rows
from edgekit.pruning.sparsify import sparsify, why_dense
from edgekit.pruning.zeros import Pattern
from edgekit.spec import Array, BatchStream, RunOptions, TensorSpec
from edgekit.user_code import importable, load_file

HOME = Path(__file__).parents[1] / "models" / "text_bert"
CHANCE, TWICE, NO_WORSE_POINTS = 0.5, 2.0, 0.5
SMALL = (Pattern(0.5), Pattern(0.5, 4), Pattern(0.95))
LARGE = (Pattern(0.5), Pattern(0.5, 4))
TOKENS, VOCABULARY, CALIBRATED, TESTED, SEED = 128, 30_000, 128, 512, 0


def run() -> Report:
    """Both models."""
    with tempfile.TemporaryDirectory() as work:
        small = _judged("small", _small(Path(work)), SMALL)
        large = _judged("large", _large(Path(work)), LARGE)
    return Report("sparsity", (*small[0], *large[0]), {"small": small[1], "large": large[1]})


Data = dict[str, Array]
Task = tuple[ir.Model, Data, Data, Array]  # model, calibration, test, labels


def _judged(
    name: str, task: Task, patterns: tuple[Pattern, ...]
) -> tuple[list[Bar], dict[str, dict[str, float]]]:
    model, calibration, test, labels = task
    raw = {"none": {"accuracy": _accuracy(model, test, labels)}}
    bars = []
    for pattern in patterns:
        print(f"{name}, {pattern}", file=sys.stderr, flush=True)
        made, _, _ = sparsify(
            model,
            pattern,
            open_model=open_model,
            batches=_batches(calibration),
            count=len(next(iter(calibration.values()))),
            seed=SEED,
        )
        ours = _accuracy(made, test, labels)
        theirs = _accuracy(_smallest_zeroed(model, pattern), test, labels)
        raw[str(pattern)] = {"accuracy": ours, "magnitude": theirs}
        if name == "small" and pattern.part <= 0.5:
            off = 100 * (theirs - ours)
            bars.append(Bar(f"{name}, {pattern}: points behind magnitude pruning", off, NO_WORSE_POINTS))
        else:
            times = (ours - CHANCE) / max(theirs - CHANCE, 0.01)  # a point: no division by luck
            bars.append(Bar(f"{name}, {pattern}: accuracy above chance", times, TWICE, at_most=False))
    return bars, raw


def _small(work: Path) -> Task:
    specs = [TensorSpec(name, "int64", ("batch", 48)) for name in ("input_ids", "attention_mask")]
    file = edgekit.export(f"{HOME / 'model.py'}:build", out=work / "small.onnx", inputs=specs)
    with importable(HOME):
        data = load_file(HOME / "data.py")
        calibration, test = _together(data.calibration()), _together(data.evaluation())
    calibration.pop("labels", None)
    return io.load(file), calibration, test, test.pop("labels")


def _large(work: Path) -> Task:
    specs = [TensorSpec(name, "int64", ("batch", TOKENS)) for name in ("input_ids", "attention_mask")]
    file = edgekit.export(f"{HOME / 'model.py'}:build_large", out=work / "large.onnx", inputs=specs)
    model = io.load(file)
    rng = np.random.default_rng(SEED)
    calibration, test = (_random(rng, count) for count in (CALIBRATED, TESTED))
    return model, calibration, test, _labels(model, test)


def _random(rng: np.random.Generator, count: int) -> Data:
    return {
        "input_ids": rng.integers(1, VOCABULARY, (count, TOKENS)),
        "attention_mask": np.ones((count, TOKENS), np.int64),
    }


def _together(parts: object) -> Data:
    held = list(parts)  # type: ignore[call-overload]
    return {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def _batches(data: Data) -> BatchStream:
    count = len(next(iter(data.values())))
    return lambda size: (
        {name: array[start : start + size] for name, array in data.items()} for start in range(0, count, size)
    )


def _labels(model: ir.Model, data: Data) -> Array:
    with open_model(model, RunOptions()) as session:
        found = [next(iter(session.run(feeds).values())) for feeds in _batches(data)(64)]
    return np.asarray(np.concatenate(found).argmax(axis=1))


def _accuracy(model: ir.Model, data: Data, labels: Array) -> float:
    return float((_labels(model, data) == labels).mean())


def _smallest_zeroed(model: ir.Model, pattern: Pattern) -> ir.Model:
    """Magnitude pruning of the same layers."""
    clone = model.clone()
    for layer in layers(clone):
        if not why_dense(layer, pattern):
            value = clone.graph.initializers[layer.weight_name]
            array = weight_from_rows(layer, _without_smallest(layer, pattern)).astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
    return clone


def _without_smallest(layer: Layer, pattern: Pattern) -> Floats:
    flat = layer.weight.reshape(-1, pattern.group or layer.weight.size)
    smallest = np.argsort(np.abs(flat), axis=1, kind="stable")[:, : round(pattern.part * flat.shape[1])]
    kept = flat.copy()
    np.put_along_axis(kept, smallest, values=0.0, axis=1)
    return kept.reshape(layer.weight.shape)
