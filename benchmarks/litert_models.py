"""Every reference model -> .tflite in float32 and w8a8, against ONNX Runtime on the recipe's evaluation data.

    float   largest difference / range of the output, against the float graph
    w8a8    |difference| in output steps, against the QDQ graph that was compiled: 95 and 99.9 % of the values

XNNPACK, which is read back from the session. A step is the scale of the DequantizeLinear that makes the
output; an output without one is judged in steps of range / 255. A model that the compiler refuses is in the
results with the reason. ``python -m benchmarks.litert_models NAME...`` measures those and writes nothing.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from benchmarks.report import Bar, Report
from edgekit import dataset
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import DataSource
from edgekit.errors import EdgekitError
from edgekit.frontends import parity
from edgekit.frontends.parity import ParityReport
from edgekit.ir import io
from edgekit.ir.graph import constant, is_onnx
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline.cache import Cache
from edgekit.recipe import CalibrationTable
from edgekit.spec import Artifact, Feeds, RunOptions, Silent, TensorSpec

ROOT = Path(__file__).parents[1] / "models"
TARGET = "litert-cpu"
SAMPLES, BATCH = 64, 8  # of the evaluation data
CALIBRATION_SAMPLES = 128  # how good the scales are is no matter here
FLOAT_LIMIT, STEPS_95, STEPS_999 = 1e-4, 1.0, 5.0  # issue 5


def names() -> tuple[str, ...]:
    """Every reference model."""
    return tuple(sorted({path.parent.name for path in ROOT.glob("*/edgekit.toml")} - {"ci_example"}))


def run(only: Sequence[str] = ()) -> Report:
    """Measure one model after the other."""
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    for name in only or names():
        with tempfile.TemporaryDirectory() as folder:
            judged, raw[name] = _measure(name, Path(folder))
        bars += judged
        print(name, raw[name], file=sys.stderr, flush=True)
    return Report("litert_models", tuple(bars), raw)


def _measure(name: str, folder: Path) -> tuple[list[Bar], dict[str, object]]:
    plan = plans.make(ROOT / name / "edgekit.toml")
    table = plan.recipe.model
    cache = Cache(folder / "cache")
    found = models.obtain(plan.request, tolerance=table.tolerance, cache=cache, progress=Silent())
    source = folder / "float.onnx"
    io.save(found.model, source)

    def data(said: CalibrationTable, count: int) -> Iterator[Feeds]:
        where = DataSource(said.source, split=said.split, samples=count, seed=said.seed)
        steps = plan.recipe.data.preprocess
        loaded = dataset.load(where, inputs=found.inputs, base=plan.base, preprocess=steps)
        return _inputs_alone(loaded.batches(_batch(found.inputs)), found.inputs)

    feeds = list(itertools.islice(data(plan.recipe.data.evaluation, SAMPLES), SAMPLES // BATCH))
    bars: list[Bar] = []
    facts: dict[str, object] = {}
    try:
        report, facts["float"] = _compared(source, feeds, folder / "float")
        bars.append(Bar(f"{name}, float: largest difference / range", report.worst.relative, FLOAT_LIMIT))
    except EdgekitError as error:
        facts["float"] = str(error)
    if plan.recipe.data.calibration is None or found.quantized:
        return bars, facts
    learning = folder / "calibration.npz"
    _store(data(plan.recipe.data.calibration, CALIBRATION_SAMPLES), learning)
    quantized = folder / "w8a8.onnx"
    try:
        edgekit.quantize(
            source, calibration_data=str(learning), target=TARGET, precision="w8a8", out=quantized
        )
        report, facts["w8a8"] = _compared(quantized, feeds, folder / "w8a8", steps=True)
    except EdgekitError as error:
        facts["w8a8"] = str(error)
        return bars, facts
    for share, limit, values in (
        ("95", STEPS_95, [each.steps_95 for each in report.outputs]),
        ("99.9", STEPS_999, [each.steps_999 for each in report.outputs]),
    ):
        worst = round(max(value for value in values if value is not None), 3)  # steps are whole, scales not
        bars.append(Bar(f"{name}, w8a8: steps on {share} % of the values", worst, limit))
    return bars, facts


def _batch(inputs: Sequence[TensorSpec]) -> int:
    """How many samples a batch has: as many as the model says, where it does."""
    return next((spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)), BATCH)


def _inputs_alone(batches: Iterator[Feeds], inputs: Sequence[TensorSpec]) -> Iterator[Feeds]:
    return ({spec.name: batch[spec.name] for spec in inputs} for batch in batches)


def _store(batches: Iterator[Feeds], path: Path) -> None:
    found = list(itertools.islice(batches, CALIBRATION_SAMPLES))
    np.savez(path, **{key: np.concatenate([batch[key] for batch in found]) for key in found[0]})


def _compared(
    source: Path, feeds: Sequence[Feeds], folder: Path, *, steps: bool = False
) -> tuple[ParityReport, dict[str, object]]:
    """The compiled file against the ONNX file that it was compiled from."""
    artifact = edgekit.compile(source, target=TARGET, out=folder)
    model = io.load(source)
    with open_model(model, RunOptions()) as reference, edgekit.open(artifact.path) as candidate:
        report = parity.check(
            reference,
            candidate,
            tolerance=FLOAT_LIMIT,
            seed=0,
            cases=0,
            data=feeds,
            output_steps=_steps(model) if steps else None,
        )
        kernels = candidate.facts["kernels"]
    return report, {"kernels": kernels, "outputs": _figures(report), **_form(artifact)}


def _steps(model: ir.Model) -> dict[str, float]:
    """The quantization step of each output that has one."""
    found = {}
    for value in model.graph.outputs:
        producer = value.producer()
        scale = constant(producer.inputs[1]) if producer and is_onnx(producer, "DequantizeLinear") else None
        if scale is not None and scale.size == 1:
            found[value.name or ""] = float(scale.reshape(-1)[0])
    return found


def _figures(report: ParityReport) -> Mapping[str, object]:
    return {
        each.name: {"relative": each.relative, "steps_95": each.steps_95, "steps_99.9": each.steps_999}
        for each in report.outputs
    }


def _form(artifact: Artifact) -> Mapping[str, object]:
    return {"bytes": artifact.size_bytes, "notes": len(artifact.notes)}


if __name__ == "__main__":
    for bar in run(sys.argv[1:]).bars:
        print(f"{bar.name}: {bar.measured:.3g} (limit {bar.limit:g})")
