"""Every reference model with convolutions on GPU targets, on software Vulkan: numerics and placement.

    model --target, precision--> artifact --driver--> outputs, against the float graph on the CPU

The difference is the largest one as a part of the output's range; labels are the most likely class of each
sample, for models that have classes. int8 is held against the same file on the CPU, in steps of the output
too. A model that the target refuses is in the results with the nodes, and has no bar. Latency is not
measured: these drivers compute on the processor.

Needs EDGEKIT_VULKAN (tests/gpu/README.md). EDGEKIT_BENCH_MODELS and EDGEKIT_BENCH_TARGETS choose.
``python -m benchmarks.gpu_software`` prints and writes nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from benchmarks.litert_models import ROOT, names
from benchmarks.report import Bar, Report
from edgekit import dataset
from edgekit.backends import registry
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import DataSource
from edgekit.errors import EdgekitError, TargetRefusalError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.inspect.onnx_file import layers_of
from edgekit.recipe import CalibrationTable
from edgekit.spec import Array, Artifact, Feeds, Precision, RunOptions, Session, Silent
from tests.gpu import software_vulkan

CHOSEN = "EDGEKIT_BENCH_MODELS"
CALIBRATION_SAMPLES = 64  # float16 needs ranges: what leaves binary16 stays in float32
FEW = 2  # samples where one takes long
LARGEST_STEPS = 1.0
LARGE_MACS = 50_000_000  # of a sample that takes long: seconds on these drivers


@dataclass(frozen=True)
class Way:
    """How every model is run.

    Attributes:
        target, precision: of the artifact.
        driver: of ``tests.gpu.software_vulkan``.
        limit: largest difference as a part of the range.
        samples: of the evaluation data; where a sample takes long, ``large``.
        labels: least share of equal labels; 0 = no bar.
    """

    target: str
    precision: Precision
    driver: str
    limit: float
    samples: int
    large: int = FEW
    labels: float = 0.0


WAYS = (
    Way("gpu-webgpu", Precision.FP32, "swiftshader", 1e-4, samples=8),
    Way("gpu-webgpu", Precision.FP16, "lavapipe", 1e-2, samples=128, large=16, labels=0.99),
    Way("gpu-litert", Precision.FP32, "swiftshader", 1e-4, samples=8),
    Way("gpu-litert", Precision.W8A8, "swiftshader", 1e-4, samples=8, large=1),
    Way("gpu-litert", Precision.FP16, "lavapipe", 1e-2, samples=128, large=2, labels=0.99),
)


def run() -> Report:
    """Measure one model after the other; without the drivers there is nothing but the reason."""
    bars: list[Bar] = []
    raw: dict[str, Any] = {}
    absent = {each.driver for each in WAYS if not software_vulkan.environment(each.driver)}
    if absent:
        reason = f"no {', '.join(sorted(absent))}: tests/gpu/README.md says how to get it"
        return Report("gpu_software", (), {"skipped": reason})
    for name in _chosen(CHOSEN, names()):
        with tempfile.TemporaryDirectory() as folder:
            held, found = _measure(name, Path(folder))
        if found:
            bars += held
            raw[name] = found
            if not os.environ.get(CHOSEN):
                Report("gpu_software", tuple(bars), raw).write()  # what there is, should the rest be cut off
            print(name, found, file=sys.stderr, flush=True)
    return Report("gpu_software", tuple(bars), raw)


def _chosen(variable: str, known: Sequence[str]) -> list[str]:
    wanted = [each for each in os.environ.get(variable, "").split(",") if each]
    return [each for each in known if not wanted or each in wanted]


def _measure(name: str, folder: Path) -> tuple[list[Bar], dict[str, Any]]:
    """Bars and figures of one model; nothing where it has no convolution."""
    plan = plans.make(ROOT / name / "edgekit.toml")
    table = plan.recipe.model
    cache = Cache(folder / "cache")
    found = models.obtain(plan.request, tolerance=table.tolerance, cache=cache, progress=Silent())
    if found.quantized or not any(node.op_type.startswith("Conv") for node in found.model.graph):
        return [], {}
    source = folder / "float.onnx"
    io.save(found.model, source)

    def data(said: CalibrationTable, count: int) -> Iterator[Feeds]:
        where = DataSource(said.source, split=said.split, samples=count, seed=said.seed)
        steps = plan.recipe.data.preprocess
        loaded = dataset.load(where, inputs=found.inputs, base=plan.base, preprocess=steps)
        wanted = [spec.name for spec in found.inputs]
        return ({each: batch[each] for each in wanted} for batch in loaded.batches(1))

    large = _macs(found.model) > LARGE_MACS
    bars: list[Bar] = []
    facts: dict[str, Any] = {}
    targets = _chosen("EDGEKIT_BENCH_TARGETS", [each.target for each in WAYS])
    for way in (each for each in WAYS if each.target in targets):
        count = way.large if large else way.samples
        feeds = list(itertools.islice(data(plan.recipe.data.evaluation, count), count))
        ready = source
        if way.precision is not Precision.FP32 and plan.recipe.data.calibration is not None:
            ready = folder / f"{way.precision}.onnx"
            _quantized(source, data(plan.recipe.data.calibration, CALIBRATION_SAMPLES), way, ready, folder)
        with _driver(way.driver):
            held, facts[f"{way.target} {way.precision}"] = _run(way, found.model, ready, feeds, folder)
        bars += [Bar(f"{name}, {each.name}", each.measured, each.limit, each.at_most) for each in held]
    return bars, facts


def _quantized(source: Path, batches: Iterator[Feeds], way: Way, out: Path, folder: Path) -> None:
    found = list(itertools.islice(batches, CALIBRATION_SAMPLES))
    learning = folder / "calibration.npz"
    np.savez(learning, **{key: np.concatenate([batch[key] for batch in found]) for key in found[0]})
    with _driver("none"):  # ranges are the CPU's
        edgekit.quantize(
            source, calibration_data=str(learning), target=way.target, precision=str(way.precision), out=out
        )


def _run(
    way: Way, model: ir.Model, source: Path, feeds: Sequence[Feeds], folder: Path
) -> tuple[list[Bar], dict[str, Any]]:
    """Bars and figures of one artifact."""
    label = f"{way.target} {way.precision} on {way.driver}"
    try:
        artifact = edgekit.compile(source, target=way.target, out=folder / way.target / way.precision)
    except TargetRefusalError as error:
        nodes = [f"{each.node}: {each.reason}" for each in error.rejections]
        return [], {"refused": nodes, "on": way.driver}
    except EdgekitError as error:
        return [Bar(f"{label}: compiles", 0, 1, at_most=False)], {"failed": str(error)}
    try:
        with _reference(way, model, artifact) as reference, edgekit.open(artifact) as candidate:
            begin = time.monotonic()
            wanted, got = _outputs(reference, feeds), _outputs(candidate, feeds)
            took = time.monotonic() - begin
            facts = dict(candidate.facts)
    except EdgekitError as error:
        return [Bar(f"{label}: runs", 0, 1, at_most=False)], {"failed": str(error)}
    away = {name: _difference(got[name], wanted[name]) for name in wanted}
    bars = [Bar(f"{label}: largest difference / range", max(away.values()), way.limit)]
    steps = {} if way.precision is not Precision.W8A8 else _steps(got, wanted, io.load(source))
    if steps:
        bars.append(Bar(f"{label}: largest difference in steps", max(steps.values()), LARGEST_STEPS))
    equal = _equal_labels(got, wanted)
    if way.labels and equal is not None:
        bars.append(Bar(f"{label}: share of equal labels", equal, way.labels, at_most=False))
    said = {name: facts[name] for name in ("placed", "gpu", "driver", "software") if name in facts}
    figures = {"samples": len(feeds), "difference": away, "steps": steps, "labels": equal}
    return bars, {**figures, "seconds": round(took), **said}


def _reference(way: Way, model: ir.Model, artifact: Artifact) -> Session:
    """The float graph; of integers the same file, which has the plan's roundings as well."""
    if way.precision is Precision.W8A8:
        return registry.backend(artifact.backend).open(artifact, RunOptions())
    return open_model(model, RunOptions())


def _steps(got: Mapping[str, Array], wanted: Mapping[str, Array], quantized: ir.Model) -> dict[str, float]:
    """Largest difference of each output that a DequantizeLinear makes, in its scale."""
    found = {}
    for value in quantized.graph.outputs:
        maker = value.producer()
        scale = None if maker is None or maker.op_type != "DequantizeLinear" else constant(maker.inputs[1])
        if scale is not None and value.name:
            away = np.abs(np.subtract(got[value.name], wanted[value.name])).max()
            found[value.name] = round(float(away / scale.max()), 3)  # steps are whole, scales are not
    return found


def _outputs(session: Session, feeds: Sequence[Feeds]) -> dict[str, Array]:
    found = [session.run(each) for each in feeds]
    return {name: np.concatenate([np.atleast_1d(each[name]) for each in found]) for name in found[0]}


def _difference(got: Array, wanted: Array) -> float:
    span = float(np.ptp(wanted.astype(np.float64))) or 1.0
    return float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()) / span


def _equal_labels(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> float | None:
    """Of the only output, where it is one value for each of several classes."""
    (name, *more) = wanted
    if more or wanted[name].ndim != 2 or wanted[name].shape[1] < 2:
        return None
    return float(np.mean(got[name].argmax(axis=1) == wanted[name].argmax(axis=1)))


def _macs(model: ir.Model) -> int:
    return sum(each.macs or 0 for each in layers_of(model))


@contextmanager
def _driver(name: str) -> Iterator[None]:
    found = software_vulkan.environment(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEKIT_SOFTWARE_GPU", raising=False)
        for variable, value in found.items():
            patch.setenv(variable, value)
        yield


if __name__ == "__main__":
    for bar in run().bars:
        print(bar)
