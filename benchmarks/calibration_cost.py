"""MobileNetV2 at 224 pixels, 128 photographs: what calibration costs, and what its sampling changes.

Time against float inference of the same data, scales against those of full histograms, memory against the
number of samples; ONNX Runtime's own calibrators beside. A round runs everything once, one after the other;
figures are medians over rounds of the ratio inside a round. Times are wall times of the whole job (start of
the worker, loading, all batches, finish) on both sides, and of the stream alone (from the first batch asked
for to the end). Same session options, same batch.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from benchmarks.report import Bar, Report
from edgekit import dataset, recipe
from edgekit.backends import worker_pool
from edgekit.backends.onnxruntime import open_model
from edgekit.calibration import collect as collecting
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.spec import Array, BatchStream, RunOptions, Session, TensorSpec

FOLDER = Path(__file__).parents[1] / "models" / "mobilenet_v2"
COUNT = 128
BATCH = collecting.DEFAULT_BATCH
ROUNDS = 3
PEER_ROUNDS = 1  # a peer takes 4 to 17 times as long
PEER_COUNT = {"MinMax": 128, "Entropy": 16}  # the entropy calibrator keeps every activation of every sample
METHODS = ("minmax", "moving-average", "percentile:99.99", "entropy", "mse")
HISTOGRAM_METHODS = METHODS[2:]
READ_AHEAD = 3  # batches that are read while the model is opened; then both sides stream (a peer asks once)
EVERYTHING = 10**9  # values of a tensor and sample: all of them
MEMORY_COUNTS = (32, 2048)


def run() -> Report:
    """Measure."""
    model, images = _model(), _images()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        io.save(model, path)
        np.save(Path(folder) / "images.npy", images)
        times = _times(model, images, path)
        memory = {count: _peak_mb(Path(folder), count) for count in MEMORY_COUNTS}
    differences = _differences(model, images)
    ratios = {name: _ratios(times, name) for name in times if name != "float"}
    bars = []
    for method in HISTOGRAM_METHODS:
        whole, stream, _ = ratios[method]
        bars.append(Bar(f"{method}: time of the whole job, of float inference", whole, 1.8))
        bars.append(Bar(f"{method}: time of the stream, of float inference", stream, 1.8))
        worst = max(differences[method].values())
        bars.append(Bar(f"{method}: largest difference of a scale from the full histogram's", worst, 0.02))
    small, large = (memory[count] for count in MEMORY_COUNTS)
    bars.append(Bar(f"peak memory at {MEMORY_COUNTS[1]} samples, of {MEMORY_COUNTS[0]}", large / small, 1.05))
    raw = {
        "seconds": times,
        "ratio to float: whole job, stream, processor time of the whole job": ratios,
        "difference of scales": {
            method: {
                "median": float(np.median(list(found.values()))),
                "95 %": float(np.percentile(list(found.values()), 95)),
                "largest": sorted(((v, k) for k, v in found.items()), reverse=True)[:5],
            }
            for method, found in differences.items()
        },
        "peak memory in MB, both processes": memory,
        "batch": BATCH,
        "values of a tensor and sample": collecting.SAMPLED,
        "load average": os.getloadavg(),
    }
    return Report("calibration_cost", tuple(bars), raw)


def _model() -> ir.Model:
    spec = TensorSpec("image", "float32", ("batch", 3, 224, 224))
    return canonicalize(load(SourceRequest("model.py:build", base=FOLDER, inputs=(spec,))).model)


def _images() -> Array:
    table = recipe.load(FOLDER).data
    assert table.calibration is not None
    spec = TensorSpec("image", "float32", ("batch", 3, 224, 224))
    source = dataset.DataSource(table.calibration.source)
    data = dataset.load(source, inputs=(spec,), base=FOLDER, preprocess=table.preprocess)
    return np.stack([sample["image"] for sample in data.samples()])[:COUNT]


def _stream(images: Array, count: int, asked: list[float] | None = None) -> BatchStream:
    """``count`` samples, in a circle; ``asked`` gets the time at which each batch was asked for."""

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            if asked is not None:
                asked.append(time.perf_counter())
            many = min(size, count - start)
            yield {"image": images[np.arange(start, start + many) % len(images)]}

    return batches


def _times(model: ir.Model, images: Array, path: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Seconds of each round: (whole job, stream, processor time of both processes)."""
    found: dict[str, list[tuple[float, float, float]]] = {}

    def timed(name: str, job: Callable[[list[float]], object]) -> None:
        asked: list[float] = []
        worker_pool.end()  # every job starts its own processes
        begin, used = time.perf_counter(), sum(os.times()[:4])
        job(asked)
        end = time.perf_counter()
        worker_pool.end()  # only of processes that ended the system says what they used
        found.setdefault(name, []).append(
            (end - begin, end - asked[min(READ_AHEAD, len(asked) - 1)], sum(os.times()[:4]) - used)
        )

    for number in range(ROUNDS):
        timed("float", lambda asked: _infer(model, _stream(images, COUNT, asked)))
        for method in METHODS:
            timed(method, lambda asked, m=method: _collect(model, images, COUNT, m, asked))
        for name, count in PEER_COUNT.items() if number < PEER_ROUNDS else ():
            label = f"onnxruntime {name}, {count} samples"
            timed(label, lambda asked, n=name, c=count: _peer(path, images, n, c, asked))
            timed(f"float, {count} samples", lambda asked, c=count: _infer(model, _stream(images, c, asked)))
    return found


def _ratios(times: dict[str, list[tuple[float, float, float]]], name: str) -> tuple[float, float, float]:
    """Medians of (whole job, stream, processor time) against float inference of as many samples."""
    base = next((key for key in times if key.startswith("float, ") and name.endswith(key[5:])), "float")
    pairs = list(zip(times[name], times[base], strict=False))
    whole, stream, used = (statistics.median(one[i] / other[i] for one, other in pairs) for i in range(3))
    return whole, stream, used


def _infer(model: ir.Model, batches: BatchStream) -> None:
    with open_model(model, RunOptions()) as session:
        for feeds in batches(BATCH):
            session.run(feeds)


def _collect(
    model: ir.Model, images: Array, count: int, method: str, asked: list[float] | None = None
) -> collecting.Calibration:
    stream = _stream(images, count, asked)
    return collecting.collect(
        model, open_model=open_model, batches=stream, count=count, method=method, batch_size=BATCH
    )


def _peer(path: Path, images: Array, name: str, count: int, asked: list[float]) -> None:
    """ONNX Runtime's own calibrator, as ``quantize_static`` uses it, on one thread like ours."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # an untyped package
        def __init__(self) -> None:
            self._rows = iter(range(count))

        def get_next(self) -> dict[str, Any] | None:
            index = next(self._rows, None)
            return None if index is None else {"image": images[index : index + 1]}

    options, made = onnxruntime.SessionOptions, onnxruntime.InferenceSession

    def single(*args: Any, **named: Any) -> Any:
        session_options = named.get("sess_options") or options()
        session_options.intra_op_num_threads = 1
        named["sess_options"] = session_options
        return made(*args, **named)

    onnxruntime.InferenceSession = single
    try:
        with tempfile.TemporaryDirectory() as folder:
            asked.append(time.perf_counter())
            calibrator = create_calibrator(
                str(path),
                augmented_model_path=str(Path(folder) / "augmented.onnx"),
                calibrate_method=CalibrationMethod[name],
            )
            calibrator.collect_data(Reader())
            calibrator.compute_data()
            del calibrator
    finally:
        onnxruntime.InferenceSession = made


def _differences(model: ir.Model, images: Array) -> dict[str, dict[str, float]]:
    """Per histogram method and tensor: how far a scale is from that of the full histogram."""
    found = {}
    sampled = collecting.SAMPLED
    some = {method: _collect(model, images, COUNT, method) for method in HISTOGRAM_METHODS}
    try:
        collecting.SAMPLED = EVERYTHING
        full = {method: _collect(model, images, COUNT, method) for method in HISTOGRAM_METHODS}
    finally:
        collecting.SAMPLED = sampled
    for method in HISTOGRAM_METHODS:
        widths = [
            {name: max(each.high, 0.0) - min(each.low, 0.0) for name, each in one[method].tensors.items()}
            for one in (some, full)
        ]
        found[method] = {name: abs(width / widths[1][name] - 1) for name, width in widths[0].items()}
    return found


def _peak_mb(folder: Path, count: int) -> float:
    """Peak resident memory of a process that calibrates with ``count`` samples, and of its worker."""
    command = [sys.executable, "-c", "from benchmarks.calibration_cost import report_peak; report_peak()"]
    done = subprocess.run(
        [*command, str(folder), str(count)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    return float(done.stdout)


def report_peak() -> None:
    """The other side of ``_peak_mb``."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    model, images = io.load(folder / "model.onnx"), np.load(folder / "images.npy")[:32]
    processes, peaks = [os.getpid()], [0.0]

    def opening(opened: ir.Model, options: RunOptions) -> Session:
        session = open_model(opened, options)
        processes.append(cast("Any", session).pid)
        return session

    def batches(size: int) -> Iterator[dict[str, Array]]:
        yield from _stream(images, count)(size)
        peaks.append(sum(_high_water_mb(each) for each in processes))

    collecting.collect(
        model, open_model=opening, batches=batches, count=count, method="mse", batch_size=BATCH
    )
    print(max(peaks))


def _high_water_mb(process: int) -> float:
    """Linux's own figure; that of getrusage starts with what the parent had when it forked."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
