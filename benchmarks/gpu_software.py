"""Every reference model with convolutions on GPU targets, on software Vulkan: numerics and placement.

    model --target, precision--> artifact --driver--> outputs, against the float graph on the CPU

The difference is the largest one as a part of the output's range; labels are the most likely class of each
sample (of each pixel, where the output is a map of classes), for models that have classes.

w8a8 is held against the same file on the CPU in steps of the output: 1 on 95 % of the values, 5 on 99.9 %, as
between runtimes on a CPU, because one integer on an edge becomes whole steps behind it. What stands for 1e-4
of the range is each operator alone, before it rounds (``gpu_integers``).

A model that the target refuses is in the results with the nodes, and has no bar; a trial that failed is no
refusal. Latency is not measured: these drivers compute on the processor.

Needs EDGEKIT_VULKAN (tests/gpu/README.md). EDGEKIT_BENCH_MODELS chooses models, the results of the others
stay; EDGEKIT_BENCH_TARGETS chooses targets, and with it nothing is written.
"""

from __future__ import annotations

import itertools
import json
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
from benchmarks.gpu_integers import STEPS_OF_RANGE, Reals
from benchmarks.litert_models import ROOT, names
from benchmarks.report import RESULTS, Bar, Report
from edgekit import dataset
from edgekit.backends import registry
from edgekit.backends.installed import installed_version
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker import call_in_worker
from edgekit.dataset import DataSource
from edgekit.errors import EdgekitError, InputError, TargetRefusalError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.inspect.onnx_file import layers_of
from edgekit.recipe import CalibrationTable
from edgekit.spec import Array, Artifact, Feeds, Precision, RunOptions, Session, Silent
from tests.gpu import software_vulkan

CHOSEN, TARGETS = "EDGEKIT_BENCH_MODELS", "EDGEKIT_BENCH_TARGETS"
CALIBRATION_SAMPLES = 64  # float16 needs ranges: what leaves binary16 stays in float32
FEW = 2  # samples where one takes long
SUITE = "gpu_software"
STEPS_95, STEPS_999 = 1.0, 5.0  # of the output: what runtimes on a CPU may differ by (issue 4)
ALONE_STEPS = 1.0  # of one operator over equal integers: the edge between two
ALONE_LIMIT = 1e-4  # of the range, before it rounds
_OF_CLASSES = ("top1", "miou")  # metrics whose output has a value for each class
_RUNTIMES = ("onnxruntime", "onnxruntime-ep-webgpu", "ai-edge-litert")
HERE = "here"  # the driver of the GPU that is installed
TIMED = 30  # inferences, on a real GPU alone
LARGE_MACS = 100_000_000  # of a sample that takes long: seconds on these drivers


@dataclass(frozen=True)
class Way:
    """How every model is run.

    Attributes:
        target, precision: of the artifact.
        driver: of ``tests.gpu.software_vulkan``, or HERE.
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
    Way("gpu-webgpu", Precision.FP16, "lavapipe", 1e-2, samples=128, large=32, labels=0.99),
    Way("gpu-litert", Precision.FP32, "swiftshader", 1e-4, samples=8),
    Way("gpu-litert", Precision.W8A8, "swiftshader", 0.0, samples=64, large=4),
    Way("gpu-litert", Precision.FP16, "lavapipe", 1e-2, samples=128, large=32, labels=0.99),
)


def run() -> Report:
    """Measure one model after the other; without the drivers there is nothing but the reason."""
    absent = {each.driver for each in WAYS if not software_vulkan.environment(each.driver)}
    if absent:
        reason = f"no {', '.join(sorted(absent))}: tests/gpu/README.md says how to get it"
        return Report(SUITE, (), {"skipped": reason})
    chosen = chosen_of(CHOSEN, names())
    return measured(SUITE, WAYS, chosen)


def measured(suite: str, ways: Sequence[Way], chosen: Sequence[str]) -> Report:
    """Each model in each way; the results of other models stay."""
    bars, raw = _kept(suite, set(names()) - set(chosen))
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            held, found = _measure(name, ways, Path(folder))
        if found:
            bars += held
            raw[name] = {**found, "versions": {each: installed_version(each) for each in _RUNTIMES}}
            if not os.environ.get(TARGETS):
                Report(suite, tuple(bars), raw).write()  # what there is, should the rest be cut off
            print(name, found, file=sys.stderr, flush=True)
    return Report(suite, tuple(bars), raw)


def _kept(suite: str, models: set[str]) -> tuple[list[Bar], dict[str, Any]]:
    """What the results say of models that are not measured now."""
    path = RESULTS / f"{suite}.json"
    said = json.loads(path.read_text()) if path.is_file() else {"bars": [], "raw": {}}
    bars = [Bar(*(each[key] for key in ("name", "measured", "limit", "at_most"))) for each in said["bars"]]
    mine = [each for each in bars if each.name.partition(",")[0] in models]
    return mine, {name: found for name, found in said["raw"].items() if name in models}


def chosen_of(variable: str, known: Sequence[str]) -> list[str]:
    """Those of ``known`` that the variable names, all without it.

    Raises:
        InputError: it names none of them: a suite that measures nothing would pass.
    """
    wanted = [each for each in os.environ.get(variable, "").split(",") if each]
    if wanted and not set(wanted) & set(known):
        raise InputError(
            f"{variable}={','.join(wanted)} chooses nothing",
            why="it is set for another suite, or misspelt",
            remedy=f"name some of {', '.join(dict.fromkeys(known))}, or unset it",
        )
    return [each for each in known if not wanted or each in wanted]


def _measure(name: str, ways: Sequence[Way], folder: Path) -> tuple[list[Bar], dict[str, Any]]:
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

    metric = str(plan.recipe.data.evaluation.metric)
    large = _macs(found.model) > LARGE_MACS
    bars: list[Bar] = []
    facts: dict[str, Any] = {}
    targets = chosen_of(TARGETS, [each.target for each in ways])
    for way in (each for each in ways if each.target in targets):
        count = way.large if large else way.samples
        feeds = list(itertools.islice(data(plan.recipe.data.evaluation, count), count))
        ready = source
        if way.precision is not Precision.FP32 and plan.recipe.data.calibration is not None:
            ready = folder / f"{way.precision}.onnx"
            _quantized(source, data(plan.recipe.data.calibration, CALIBRATION_SAMPLES), way, ready, folder)
        with _driver(way.driver):
            held, said = _run(way, found.model, ready, feeds, metric=metric, folder=folder)
            facts[f"{way.target} {way.precision}"] = said
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
    way: Way, model: ir.Model, source: Path, feeds: Sequence[Feeds], *, metric: str, folder: Path
) -> tuple[list[Bar], dict[str, Any]]:
    """Bars and figures of one artifact."""
    label = f"{way.target} {way.precision} on {way.driver}"
    try:
        artifact = edgekit.compile(source, target=way.target, out=folder / way.target / way.precision)
    except TargetRefusalError as error:
        nodes = [f"{each.node}: {each.reason}" for each in error.rejections]
        if all(each.node for each in error.rejections):
            return [], {"refused": nodes, "on": way.driver}
        # nothing of the model is to blame: the driver failed, on a busy machine by its time limit
        return [Bar(f"{label}: compiles", 0, 1, at_most=False)], {"failed": nodes, "on": way.driver}
    except EdgekitError as error:
        return [Bar(f"{label}: compiles", 0, 1, at_most=False)], {"failed": str(error)}
    try:
        with _reference(way, model, artifact) as reference, edgekit.open(artifact) as candidate:
            begin = time.monotonic()
            wanted, got = _outputs(reference, feeds), _outputs(candidate, feeds)
            took = time.monotonic() - begin
            facts = dict(candidate.facts)
            timed = way.driver == HERE
            fast = (
                {"p50_ms": _median(candidate, feeds[0]), "cpu_p50_ms": _median(reference, feeds[0])}
                if timed
                else {}
            )
    except EdgekitError as error:
        return [Bar(f"{label}: runs", 0, 1, at_most=False)], {"failed": str(error)}
    said = {name: facts[name] for name in ("placed", "gpu", "driver", "software") if name in facts}
    figures: dict[str, Any] = {"samples": len(feeds), "seconds": round(took), **said, **fast}
    away = {name: _difference(got[name], wanted[name]) for name in wanted if wanted[name].dtype.kind == "f"}
    equal = _equal_labels(got, wanted, metric)
    figures |= {"difference": away, "labels": equal}
    if way.precision is Precision.W8A8:
        bars, figures["steps"] = _in_steps(label, _steps(got, wanted, io.load(source)))
        more, figures["alone"] = _alone(label, way, source, feeds[0], folder)
        return [*bars, *more], figures
    bars = [Bar(f"{label}: largest difference / range", max(away.values()), way.limit)]
    if way.labels and equal is not None:
        bars.append(Bar(f"{label}: share of equal labels", equal, way.labels, at_most=False))
    return bars, figures


def _reference(way: Way, model: ir.Model, artifact: Artifact) -> Session:
    """The float graph; of integers the same file, which has the plan's roundings as well."""
    if way.precision is Precision.W8A8:
        return registry.backend(artifact.backend).open(artifact, RunOptions())
    return open_model(model, RunOptions())


def _steps(got: Mapping[str, Array], wanted: Mapping[str, Array], quantized: ir.Model) -> dict[str, Reals]:
    """|difference| of each output, in steps: the scale of its DequantizeLinear, or range / 255."""
    found = {}
    for value in quantized.graph.outputs:
        name, maker = value.name or "", value.producer()
        scale = None if maker is None or maker.op_type != "DequantizeLinear" else constant(maker.inputs[1])
        step = float(np.ptp(wanted[name])) / STEPS_OF_RANGE if scale is None else float(scale.max())
        away = np.subtract(np.asarray(got[name], np.float64), np.asarray(wanted[name], np.float64))
        found[name] = np.abs(away) / (step or 1.0)
    return found


def _in_steps(label: str, steps: Mapping[str, Reals]) -> tuple[list[Bar], dict[str, Any]]:
    figures = {
        name: {
            "values": away.size,
            "differ": float(np.mean(away > 0.5)),
            "95": round(float(np.percentile(away, 95)), 3),
            "99.9": round(float(np.percentile(away, 99.9)), 3),
            "largest": round(float(away.max()), 3),
        }
        for name, away in steps.items()
    }
    return [
        Bar(
            f"{label}: steps on {share} % of the values", max(each[share] for each in figures.values()), limit
        )
        for share, limit in (("95", STEPS_95), ("99.9", STEPS_999))
    ], figures


def _alone(
    label: str, way: Way, source: Path, feeds: Feeds, folder: Path
) -> tuple[list[Bar], dict[str, Any]]:
    sample = folder / "sample.npz"
    np.savez(sample, **dict(feeds))
    found = call_in_worker(
        "benchmarks.gpu_integers:measure",
        {"model": str(source), "sample": str(sample)},
        subject=way.target,
        doing="running each operator alone",
    )
    beyond = max(each["gpu"] or 0.0 for each in found.values())
    return [
        Bar(f"{label}: an operator alone, steps", max(each["steps"] for each in found.values()), ALONE_STEPS),
        Bar(f"{label}: an operator alone, before it rounds / range", beyond / STEPS_OF_RANGE, ALONE_LIMIT),
    ], found


def _median(session: Session, feeds: Feeds) -> float:
    return float(np.median(session.time_ms(feeds, runs=TIMED)))


def _outputs(session: Session, feeds: Sequence[Feeds]) -> dict[str, Array]:
    found = [session.run(each) for each in feeds]
    return {name: np.concatenate([np.atleast_1d(each[name]) for each in found]) for name in found[0]}


def _difference(got: Array, wanted: Array) -> float:
    span = float(np.ptp(wanted.astype(np.float64))) or 1.0
    return float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()) / span


def _equal_labels(got: Mapping[str, Array], wanted: Mapping[str, Array], metric: str) -> float | None:
    """Share of equal classes: the likeliest of each sample or pixel (..., classes), or integers."""
    for name, value in wanted.items():
        if value.dtype.kind == "i":
            return float(np.mean(got[name] == value))
    if metric not in _OF_CLASSES:
        return None
    (value,), (given,) = wanted.values(), got.values()
    return float(np.mean(given.argmax(axis=-1) == value.argmax(axis=-1)))


def _macs(model: ir.Model) -> int:
    return sum(each.macs or 0 for each in layers_of(model))


@contextmanager
def _driver(name: str) -> Iterator[None]:
    found = {} if name == HERE else software_vulkan.environment(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGEKIT_SOFTWARE_GPU", raising=False)
        for variable, value in found.items():
            patch.setenv(variable, value)
        yield


if __name__ == "__main__":
    for bar in run().bars:
        print(bar)
