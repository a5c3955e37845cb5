"""text_bert with zeros among its weights: edgekit's against the smallest weights of each layer set to zero.

    model x pattern -> accuracy above chance that is left, edgekit's / magnitude pruning's

``small``: the trained model of two layers of 48; accuracy on its test sentences. ``large``: six layers of 384
with seeded weights and 64 random ids; what is counted there is how often the float model's label comes out, a
label being the side of the median of the float model's margin. Both have two labels, as many of each, so that
chance is a half. 256 and 128 samples of calibration data, no labels.

Issue 8 asks for twice what magnitude pruning keeps above chance, at 50 % and 2:4. Which reading is judged:

J1: magnitude pruning keeps at most half of what the float model has above chance: twice that, as asked.
J2: it keeps more, so that twice is more than the float model itself has, and loses at least LOSS_POINTS:
    edgekit loses at most half as much.
J3: it loses less than that: edgekit loses no more than it, but for NO_WORSE_POINTS.

``openvino``: 24 products of 768 and 3,072 in int8 (57 MB), one row, of whose weights 80 % are zero, timed
against itself without the run option that packs them. A bar where the CPU has AMX for int8: elsewhere
OpenVINO ignores the option.

EDGEKIT_BENCH_MODELS=openvino measures that alone (or small, large) and keeps the others' rows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

import edgekit
from benchmarks.report import RESULTS, Bar, Report
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.openvino_lowering import SPARSE_RATE
from edgekit.ir import io
from edgekit.ir.cost import inference_macs
from edgekit.measure.timer import compare
from edgekit.pipeline.doctor import machine_row
from edgekit.pipeline.prune.refined import is_bfloat16_fast
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.layers import Floats, Layer, layers, weight_from_rows
from edgekit.pruning.refine import passes_of, refine
from edgekit.pruning.sparsify import sparsify, weights_of, why_dense
from edgekit.pruning.zeros import Pattern
from edgekit.spec import Array, BatchStream, RunOptions, TensorSpec
from edgekit.user_code import importable, load_file

CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those
HOME = Path(__file__).parents[1] / "models" / "text_bert"
CHANCE, TWICE, HALF = 0.5, 2.0, 0.5
LOSS_POINTS, NO_WORSE_POINTS = 2.0, 0.5
SMALL = (
    *(Pattern(part) for part in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
    *(Pattern(1 - kept / 4, 4) for kept in (2, 1)),
)
LARGE = (Pattern(0.5), Pattern(0.5, 4))
WIDTH, INNER, PRODUCTS, ZEROS, PACKED = 768, 3072, 24, 0.8, 0.95
TOKENS, VOCABULARY, CALIBRATED, TESTED, SEED = 64, 30_000, 128, 256, 0


def run() -> Report:
    """Both models, and OpenVINO's packing."""
    known = _known()
    with tempfile.TemporaryDirectory() as work:
        if "small" in (chosen := os.environ.get(CHOSEN, "small,large,openvino").split(",")):
            known["small"] = _rows("small", _small(Path(work)), SMALL)
        if "large" in chosen:
            known["large"] = _rows("large", _large(Path(work)), LARGE)
        if "openvino" in chosen:
            known["openvino"] = _packed(Path(work))
    return Report("sparsity", tuple(_bars(known)), known)


def _known() -> dict[str, Rows]:
    """Rows of the last run: what is not chosen stays."""
    path = RESULTS / "sparsity.json"
    found: dict[str, Rows] = json.loads(path.read_text())["raw"] if path.exists() else {}
    return found


def _bars(known: Mapping[str, Rows]) -> Iterator[Bar]:
    for name in ("small", "large"):
        rows = known.get(name, {})
        for pattern, row in rows.items():
            if "magnitude" in row:
                yield bar(f"{name}, {pattern}", rows["none"]["accuracy"], row["accuracy"], row["magnitude"])
    packed = known.get("openvino", {}).get("packed")
    if packed is not None and packed["amx"]:
        yield Bar("OpenVINO, int8, 80 % zeros: time with weights packed", packed["high"], PACKED)


Data = dict[str, Array]
Rows = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Task:
    """A model and what it is judged on.

    Attributes:
        labels: of ``test``.
        middle: of the margin between the two outputs; above it the label is 1.
    """

    model: ir.Model
    calibration: Data
    test: Data
    labels: Array
    middle: float = 0.0

    def accuracy(self, model: ir.Model) -> float:
        """Part of the test samples whose label comes out."""
        return float(((_margins(model, self.test) > self.middle) == self.labels).mean())


def _rows(name: str, task: Task, patterns: tuple[Pattern, ...]) -> Rows:
    original = task.accuracy(task.model)
    raw = {"none": {"accuracy": original}}
    for pattern in patterns:
        print(f"{name}, {pattern}", file=sys.stderr, flush=True)
        made = _with_zeros(task, pattern)
        ours, theirs = task.accuracy(made), task.accuracy(_smallest_zeroed(task.model, pattern))
        print(f"{original:.4f} -> {ours:.4f}, magnitude {theirs:.4f}", file=sys.stderr, flush=True)
        raw[str(pattern)] = {"accuracy": ours, "magnitude": theirs}
    return raw


def _with_zeros(task: Task, pattern: Pattern) -> ir.Model:
    """As `prune` makes them: solved layer by layer, then refined together where that pays."""
    count, batches = len(next(iter(task.calibration.values()))), _batches(task.calibration)
    solved, sparse, _ = sparsify(
        task.model, pattern, open_model=open_model, batches=batches, count=count, seed=SEED
    )
    made, said = refine(
        dependencies(task.model),
        solved,
        (),
        open_model=open_model,
        batches=batches,
        count=count,
        passes=passes_of(inference_macs(task.model), count),
        seed=SEED,
        threads=1,
        zeros=weights_of(solved, sparse),
        half=is_bfloat16_fast(),
    )
    print(said, file=sys.stderr, flush=True)
    return made


def bar(name: str, original: float, ours: float, theirs: float) -> Bar:
    """J1 to J3, of accuracies from 0 to 1."""
    if TWICE * (theirs - CHANCE) <= original - CHANCE:
        times = (ours - CHANCE) / max(theirs - CHANCE, 0.01)  # a point: no division by luck
        return Bar(f"{name}: accuracy above chance, of magnitude pruning's", times, TWICE, at_most=False)
    if 100 * (original - theirs) >= LOSS_POINTS:
        lost = max(original - ours, 0.0) / (original - theirs)
        return Bar(f"{name}: accuracy lost, of magnitude pruning's", lost, HALF)
    return Bar(f"{name}: points behind magnitude pruning", 100 * (theirs - ours), NO_WORSE_POINTS)


def _small(work: Path) -> Task:
    specs = [TensorSpec(name, "int64", ("batch", 48)) for name in ("input_ids", "attention_mask")]
    file = edgekit.export(f"{HOME / 'model.py'}:build", out=work / "small.onnx", inputs=specs)
    with importable(HOME):
        data = load_file(HOME / "data.py")
        calibration, test = _together(data.calibration()), _together(data.evaluation())
    calibration.pop("labels", None)
    labels = test.pop("labels")
    return Task(io.load(file), calibration, test, labels == 1)


def _large(work: Path) -> Task:
    specs = [TensorSpec(name, "int64", ("batch", TOKENS)) for name in ("input_ids", "attention_mask")]
    file = edgekit.export(f"{HOME / 'model.py'}:build_large", out=work / "large.onnx", inputs=specs)
    model = io.load(file)
    rng = np.random.default_rng(SEED)
    calibration, test = (_random(rng, count) for count in (CALIBRATED, TESTED))
    margins = _margins(model, test)
    middle = float(np.median(margins))
    return Task(model, calibration, test, margins > middle, middle)


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


def _margins(model: ir.Model, data: Data) -> Floats:
    """The second output less the first."""
    with open_model(model, RunOptions()) as session:
        found = [next(iter(session.run(feeds).values())) for feeds in _batches(data)(64)]
    both = np.concatenate(found).astype(np.float64)
    return np.asarray(both[:, 1] - both[:, 0])


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


def _packed(work: Path) -> Rows:
    """How long OpenVINO takes with weights packed, of the time without."""
    onnx.save(_products(), work / "products.onnx")
    x = np.random.default_rng(SEED).standard_normal((64, WIDTH)).astype(np.float32)
    np.savez(work / "x.npz", allow_pickle=False, x=x)
    made = edgekit.quantize(
        work / "products.onnx",
        calibration_data=str(work / "x.npz"),
        out=work / "q.onnx",
        target="openvino-cpu",
        precision="w8a8",
        restore="none",
    )
    artifact = edgekit.compile(made, target="openvino-cpu", out=work / "made")
    settings = tuple(each for each in artifact.options.settings if each[0] != SPARSE_RATE)
    dense = replace(artifact, options=replace(artifact.options, settings=settings))
    with edgekit.open(artifact) as packed, edgekit.open(dense) as plain:
        sessions = {"plain": plain, "packed": packed}
        ratio = compare(sessions, {"x": x[:1]}, baseline="plain", seed=SEED).ratios["packed"]
    has_amx = "amx_int8" in str(machine_row().facts)
    found = {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, "zeros": ZEROS}
    return {"packed": {**found, "amx": float(has_amx)}}


def _products() -> onnx.ModelProto:
    rng = np.random.default_rng(SEED)
    nodes, weights, name = [], [], "x"
    for number in range(PRODUCTS):
        wide = (WIDTH, INNER) if number % 2 == 0 else (INNER, WIDTH)
        array = rng.standard_normal(wide) / np.sqrt(wide[0] * (1 - ZEROS))
        array[rng.random(wide) < ZEROS] = 0
        weights.append(numpy_helper.from_array(array.astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [f"p{number}"]))
        nodes.append(helper.make_node("Relu", [f"p{number}"], [f"y{number}"]))
        name = f"y{number}"
    x, y = (
        helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, ["batch", WIDTH]) for each in ("x", name)
    )
    graph = helper.make_graph(nodes, "products", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
