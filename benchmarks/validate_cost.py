"""`validate` of 2,000 CIFAR images on three runtimes: its time, as a multiple of bare inference.

    bare    the three int8 artifacts of resnet20, one after the other: every image through each, in the
            sessions that edgekit opens, nothing else done
    first   what `edgekit validate A B C` does with open sessions: reading and checking the data, the float
            reference, the three artifacts, the metric with its interval, drift, matrix, classes
    again   the same once the reference's outputs on this data are known (``known_outputs``)

All in one process, alternately, five times; starting processes and importing are in none. Sessions have one
thread each, as targets have by default. The reference is an inference of 2,000 images more, and in float,
which takes two thirds of the time of the three int8 artifacts together. ``bare`` does not hold it: ``first``
needs a second processor that is free, as ``validate`` runs everything at once. The load is in the results.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import edgekit
from benchmarks.report import Bar, Report
from edgekit import recipe as recipes
from edgekit import settings
from edgekit.backends.onnxruntime import open_model
from edgekit.ir import io
from edgekit.pipeline import known_outputs, steps, validate
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import load_labelled
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.spec import Runner, RunOptions, Session, Silent
from edgekit.validation.budget import Budget
from edgekit.validation.metrics import task_metric
from edgekit.validation.streaming import run_in_batches

HOME = Path(__file__).parent / "resnet20"
RUNTIMES = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
ROUNDS = 5
LARGEST = 1.3


def run() -> Report:
    """Compile once, then both alternately."""
    if settings.data_dir() is None:
        return Report("validate_cost", (), {"skipped": "EDGEKIT_DATA is not set"})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        float_onnx, held = _artifacts(Path(folder))
        model = io.load(float_onnx)
        sessions = [stack.enter_context(open_model(model, RunOptions()))]
        sessions += [stack.enter_context(open_artifact(each.artifact)) for each in held]
        table = recipes.load(HOME / "edgekit.toml").data
        source = f"{HOME.parent.parent}/models/cifar10.py:evaluation"
        done_first = steps.read(HOME / "edgekit.toml")
        asked = validate.Asked(task_metric(table.evaluation.metric), Budget(max_drop_pp=1.0))

        known = known_outputs.of_model(
            model,
            load_labelled(source, sessions[0].inputs, preprocess=done_first),
            cache=Cache(Path(folder) / "cache"),
        )

        def whole(truth: Runner) -> None:
            data = load_labelled(source, sessions[0].inputs, preprocess=done_first)
            validate.compared(
                held,
                (truth, *sessions[1:]),
                data,
                asked=asked,
                reference=str(float_onnx),
                progress=Silent(),
                known=known,
            )

        def again() -> None:
            replay = known.runner()
            assert replay is not None
            whole(replay)

        batches = list(load_labelled(source, sessions[0].inputs, preprocess=done_first).batches(32))

        def through(session: Session) -> None:
            for feeds in batches:
                run_in_batches(session, feeds)

        def bare() -> None:
            for session in sessions[1:]:
                through(session)

        bare()  # warm
        whole(sessions[0])
        times: dict[str, list[float]] = {"bare": [], "first": [], "again": []}
        for _ in range(ROUNDS):
            times["bare"].append(_seconds(bare))
            times["first"].append(_seconds(lambda: whole(sessions[0])))
            times["again"].append(_seconds(again))
        single = {
            name: _seconds(lambda session=session: through(session))
            for name, session in zip(("reference", *RUNTIMES), sessions, strict=True)
        }
        loads = os.getloadavg()
    images = sum(len(next(iter(feeds.values()))) for feeds in batches)
    bars = tuple(
        Bar(
            f"validate of {images} images on three runtimes, {words}, times bare inference",
            statistics.median(each / alone for alone, each in zip(times["bare"], times[name], strict=True)),
            LARGEST,
        )
        for name, words in (("first", "the first time"), ("again", "the reference known"))
    )
    raw = {"seconds": times, "images": images, "seconds of one pass": single, "load": loads}
    return Report("validate_cost", bars, raw)


def _artifacts(folder: Path) -> tuple[Path, list[validate.Held]]:
    """The float model, and one int8 artifact for each runtime."""
    table = recipes.load(HOME / "edgekit.toml")
    inputs = [each.spec() for each in table.model.inputs]
    float_onnx = edgekit.export(f"{HOME}/model.py:build", inputs=inputs, out=folder / "float.onnx")
    quantized = edgekit.quantize(
        float_onnx,
        calibration_data=f"{HOME.parent.parent}/models/cifar10.py:calibration",
        preprocess=HOME / "edgekit.toml",
        target="portable",
        precision="w8a8",
        out=folder / "int8.onnx",
    )
    held = []
    for runtime in RUNTIMES:
        path = edgekit.compile(quantized, target=runtime, out=folder / runtime).path
        held.append(validate.Held(str(path), artifact_at(path), ()))
    return float_onnx, held


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
